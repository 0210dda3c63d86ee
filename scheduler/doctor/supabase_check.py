"""Check 2: Supabase answers, the key is a server's and is accepted, and the clocks agree."""

from collections.abc import Iterator, Sequence
from typing import Final

from jobs.examining.findings import Finder, Finding
from jobs.gateway.errors import FunctionMissing, GatewayError, GatewayFault, KeyNotAccepted
from jobs.runtime.keys import KeyKind, kind_of, project_of
from jobs.runtime.settings import SupabaseSettings
from scheduler.doctor.installation import Answered, Installation

find = Finder("supabase")
_HOSTED: Final = ".supabase.co"
_CLOCK_SECONDS: Final = 2.0
_GET_KEY: Final = "take a secret key (sb_secret_…) from Project Settings → API Keys for SUPABASE_SECRET_KEY"


async def look(installation: Installation) -> Sequence[Finding]:
    chosen = installation.environment.supabase
    if chosen is None:
        return [find.skipped("SUPABASE_URL or SUPABASE_SECRET_KEY is missing or wrong, see settings")]
    key = chosen.supabase_secret_key.get_secret_value()
    kind, host = kind_of(key), installation.environment.host
    if not kind.is_servers:
        return [find.failed(f"SUPABASE_SECRET_KEY holds {_a(kind)}, which may not call the outbox", _GET_KEY)]
    try:
        answered = await installation.answered()
    except FunctionMissing:
        return [find.ok(f"{host} answers and takes the {kind}"), *key_of(chosen, kind)]
    except KeyNotAccepted as error:
        return [find.failed(f"{host} answers, and refuses the {kind}: {_said(error)}", _GET_KEY)]
    except GatewayFault as error:
        return [find.failed(f"{host} answers with an error: {error}", "see the project's logs, and its status page")]
    except GatewayError as error:
        return [find.failed(f"{host} does not answer: {error}", "check SUPABASE_URL; restore a paused project")]
    found = find.ok(f"{host} takes the {kind} and answers in {answered.seconds * 1000:.0f} ms")
    return [found, *key_of(chosen, kind), *clock(answered)]


def _said(error: KeyNotAccepted) -> str:
    return str(error).partition("accepted: ")[2] or str(error)


def _a(kind: KeyKind) -> str:
    return f"{'an' if kind.value[0] in 'aeiou' else 'a'} {kind}"


def key_of(chosen: SupabaseSettings, kind: KeyKind) -> Iterator[Finding]:
    """Legacy keys name their project."""
    named = project_of(chosen.supabase_secret_key.get_secret_value())
    host = chosen.supabase_url.partition("//")[2]
    if kind is KeyKind.SERVICE_ROLE and named and host.endswith(_HOSTED) and host.removesuffix(_HOSTED) != named:
        yield find.failed("the key belongs to another project than SUPABASE_URL", _GET_KEY)


def clock(answered: Answered) -> Iterator[Finding]:
    """A clock that is off makes times of rows and callbacks hard to read. The engine measures by the database's."""
    if abs(answered.clock_ahead) <= _CLOCK_SECONDS + answered.seconds:
        yield find.ok(f"the clocks agree within {max(abs(answered.clock_ahead), answered.seconds / 2):.1f} s")
    else:
        side = "behind" if answered.clock_ahead > 0 else "ahead of"
        yield find.warning(
            f"this machine's clock is {abs(answered.clock_ahead):.0f} s {side} the database's", "switch on time synchronisation"
        )
