"""One round of all checks: side by side, each with a time limit of its own, and their findings in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.examining.findings import Finder, Finding
from jobs.gateway.errors import FunctionMissing, GatewayError
from scheduler.doctor import (
    auth_check,
    callbacks_check,
    provider_check,
    schema_check,
    sending_check,
    settings_check,
    storage_check,
    supabase_check,
    wakeups_check,
)
from scheduler.doctor.installation import Installation, NotConnected

Look = Callable[[Installation], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    """``seconds`` bound it: what takes longer has failed."""

    name: str
    seconds: float
    look: Look


CHECKS: Final = (
    Check("settings", 20, settings_check.look),
    Check("supabase", 20, supabase_check.look),
    Check("schema", 20, schema_check.look),
    Check("wakeups", 20, wakeups_check.look),
    Check("provider", 60, provider_check.look),
    Check("callbacks", 45, callbacks_check.look),
    Check("sending", 20, sending_check.look),
    Check("auth", 20, auth_check.look),
    Check("storage", 20, storage_check.look),
)
"""In the order in which they are shown: what comes first explains what follows."""


async def examine(installation: Installation, checks: Sequence[Check] = CHECKS) -> AsyncIterator[Finding]:
    """Run all checks at once and yield their findings in the order of the checks, each as soon as it is its turn."""
    tasks = [asyncio.create_task(run(check, installation)) for check in checks]
    try:
        for task in tasks:
            for finding in await task:
                yield finding
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(check: Check, installation: Installation) -> Sequence[Finding]:
    """The findings of one check. Whatever it raises becomes a finding."""
    find = Finder(check.name)
    try:
        async with asyncio.timeout(check.seconds):
            return await check.look(installation)
    except NotConnected:
        return [find.skipped("needs SUPABASE_URL and SUPABASE_SECRET_KEY, see settings")]
    except FunctionMissing:
        return [find.skipped("needs a newer schema in the database, see schema")]
    except GatewayError:
        return [find.skipped("needs an answer of Supabase, see supabase")]
    except TimeoutError:
        return [find.failed(f"no result within {check.seconds:g} s", "run the command again, with less load")]
    except Exception as error:  # noqa: BLE001  # one check that breaks must not hide what the others find
        return [find.failed(f"the check itself failed: {type(error).__name__}: {error}", "please report this")]
