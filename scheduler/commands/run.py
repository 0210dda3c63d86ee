"""`outbox run`: settings, then telemetry, then the jobs, then the process."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog

from jobs.runtime import environment, liveness, settings, telemetry
from jobs.runtime.accounts import AccountSettings
from jobs.runtime.waking import Wakings
from jobs.schema import releases
from jobs.schema.admission import SchemaUnfit
from jobs.schema.releases import BrokenPackage, Releases
from scheduler.assemble import RunSettings, assembled, listener, scraped
from scheduler.commands.terminal import Failed
from scheduler.process import Process
from scheduler.signals import on_stop

log = structlog.get_logger()


def run(*, once: bool, plans: Sequence[str] = ()) -> int:
    """Run the scheduler for all configured accounts, or those that ``plans`` names. Return the exit code.

    Raises SettingsError before anything has begun, and :class:`Failed` where the database's schema does not fit this package.
    """
    chosen = RunSettings.load(plans)
    telemetry.configure(chosen.telemetry, component="scheduler")
    log.info("scheduler.starting", supabase=chosen.supabase.supabase_url, once=once)
    environment.warn_of_misspelled(settings.names())
    try:
        return asyncio.run(_run(chosen, releases.packaged(), once=once))
    except (SchemaUnfit, BrokenPackage) as error:
        raise Failed(str(error)) from None


async def _run(chosen: RunSettings, known: Releases, *, once: bool) -> int:
    wakings = Wakings()
    wakeup = listener(chosen, wakings)
    _say_what_is_allowed(chosen)
    for account in chosen.accounts.values():
        warn_of_account(account)
    async with assembled(chosen, known, wakings, once=once) as engine:
        process = Process(
            engine.jobs,
            listener=None if once else wakeup,
            admission=engine.admission.require,
            has_ready=engine.gateway.has_ready,
        )
        on_stop(process.stop, exit_code=1 if once else 0)
        if once:
            return 0 if await process.run_once() else 1
        async with (
            liveness.answering("scheduler", chosen.process.outbox_run_dir, process.problem),
            scraped(chosen, engine, known),
        ):
            await process.run()
    return 0


def _say_what_is_allowed(chosen: RunSettings) -> None:
    if chosen.engine.allowed_recipients is not None:
        log.info("recipients.restricted", setting="ALLOWED_RECIPIENTS", numbers=len(chosen.engine.allowed_recipients))
    elif chosen.engine.allowed_countries is None:
        log.warning("countries.unrestricted", setting="ALLOWED_COUNTRIES", meaning="texts may go to any country")


def warn_of_account(chosen: AccountSettings) -> None:
    """Log warnings of settings that are right for some: no default sender, and a callback path that a proxy has to map."""
    # Imported here, because it imports the providers' clients and errors in settings should be reported at once.
    from jobs.providers.registry import account, callback_paths

    found = account(chosen)
    if found.sender is None:
        log.warning(
            "sender.missing",
            setting=found.sender_setting,
            plan=found.plan,
            meaning="it is not set: messages that name no sender are refused, unless the account has a default sender",
        )
    paths = callback_paths(found.provider)
    if found.callback_url is not None and not urlsplit(found.callback_url).path.rstrip("/").endswith(paths):
        log.warning(
            "callbacks.path",
            setting=found.callback_setting,
            meaning=f"its path is not {paths[0]}: callbacks get lost unless a proxy maps the path",
        )
