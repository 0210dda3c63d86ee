"""Check 4: OUTBOX_DB_URL leads to the same database, over a connection that hears notices."""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from jobs.examining.findings import Finder, Finding
from jobs.gateway.doctor import Facts
from jobs.gateway.errors import GatewayError
from jobs.runtime.settings import SettingsError
from jobs.runtime.waking import Wakings
from scheduler.doctor.installation import Installation, NotConnected
from scheduler.wakeup import Deaf, Wakeup, reason

find = Finder("wakeups")
_TRANSACTION_POOLER: Final = "6543"
_HEARING_SECONDS: Final = 3.0
_CONNECT_SECONDS: Final = 4
_SAME_SECONDS: Final = 0.001
_QUESTION: Final = (
    "select extract(epoch from pg_postmaster_start_time())::float8, current_database()::text,"
    " coalesce((select has_function_privilege(to_regprocedure('public.outbox_has_ready(boolean)'), 'execute')), false)"
)
_SESSION: Final = "set OUTBOX_DB_URL to the direct connection or the session pooler (port 5432)"


async def look(installation: Installation) -> Sequence[Finding]:
    url = installation.environment.db_url
    if url is None:
        return [find.skipped("OUTBOX_DB_URL is not set: new rows wait up to DISPATCH_INTERVAL_SECONDS")]
    try:
        found = await Wakeup(url, Wakings(), self_test_seconds=_HEARING_SECONDS, connect_seconds=_CONNECT_SECONDS).try_once(
            _QUESTION
        )
    except SettingsError as error:
        return [find.failed(str(error), _SESSION)]
    except Deaf:
        is_pooler = _port(url) == _TRANSACTION_POOLER
        why = "port 6543 is the transaction pooler" if is_pooler else "a transaction pooler, it seems"
        return [find.failed(f"OUTBOX_DB_URL connects, and no notice arrives: {why}", _SESSION)]
    except (psycopg.Error, OSError) as error:
        return [find.failed(f"OUTBOX_DB_URL does not connect: {reason(error)}", "check its host, port, user and password")]
    try:
        facts = await installation.facts()
    except (GatewayError, NotConnected):
        facts = None
    return [judge(found, facts)]


def judge(found: tuple[object, ...] | None, facts: Facts | None) -> Finding:
    """``found`` is the answer to the question: the server's start, the database's name, and whether its user may look."""
    started, name, may_look = found or (None, None, False)
    if facts is not None and not (
        isinstance(started, float) and abs(started - facts.server) < _SAME_SECONDS and name == facts.database
    ):
        return find.failed("OUTBOX_DB_URL leads to another database than SUPABASE_URL", "take both from one project")
    if not may_look:
        return find.failed(
            "the user of OUTBOX_DB_URL may not execute public.outbox_has_ready",
            "connect as postgres, or grant execute on function public.outbox_has_ready to that user",
        )
    return find.ok("OUTBOX_DB_URL hears notices: new rows are sent at once")


def _port(url: SecretStr) -> str:
    return str(conninfo_to_dict(url.get_secret_value()).get("port", ""))
