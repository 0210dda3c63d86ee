"""Calls of the database functions, one dispatch at a time, for tests that choose the order themselves."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from tests.engine import column, later
from tests.stack import Connection

LEASE_SECONDS, DEADLINE_SECONDS = 6, 2


def claim_answer(
    db: Connection,
    *,
    provider: str = "sinch",
    plan: str = "p",
    claim_id: UUID | None = None,
    dispatches: int = 8,
    recipients: int = 1000,
    rows: int = 100,
    rate: float | None = None,
    requests: int = 6000,
    countries: list[str] | None = None,
    share: bool = False,
    position: int | None = None,
    tick: float | None = 1,
) -> dict[str, Any]:
    """The answer of one claim of up to ``rows`` rows. ``rate`` is in messages a second, ``requests`` in requests a minute.

    ``position`` is the place of the account in its process, None where that has one only. ``tick`` is in seconds, None in a
    single run.
    """
    limits = [dispatches, recipients, rows, rate, requests]
    row = db.execute(
        "select public.outbox_claim_due(%s, 'w', %s, %s, 'h', 'c', %s, %s, %s::smallint, %s::smallint, %s, %s, %s,"
        " %s::text[], %s, p_position => %s::smallint, p_tick_seconds => %s)",
        [claim_id or uuid4(), provider, plan, LEASE_SECONDS, DEADLINE_SECONDS, *limits, countries, share, position, tick],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def plan_claim(
    db: Connection,
    *,
    plan: str = "p",
    rows: int = 100,
    project: str | None = None,
    highest_lease_token: str | None = None,
    known_dispatch: str | None = None,
    heartbeat_at: str | None = None,
    timeline: str | None = None,
    sleep_seconds: float | None = None,
) -> dict[str, Any]:
    """The answer of a claim of a process that names its project, or what it has seen of the database."""
    since = heartbeat_at, timeline, sleep_seconds
    row = db.execute(
        "select public.outbox_claim_due(%s, 'w', 'sinch', %s, 'h', 'c', %s, %s, 8::smallint, 1000::smallint, %s, null, 6000,"
        " null, false, p_project => %s, p_highest_lease_token => %s, p_known_dispatch => %s,"
        " p_heartbeat_at => %s, p_timeline => %s, p_sleep_seconds => %s)",
        [uuid4(), plan, LEASE_SECONDS, DEADLINE_SECONDS, rows, project, highest_lease_token, known_dispatch, *since],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def claim_all(db: Connection, **settings: Any) -> list[dict[str, Any]]:
    """The dispatches of one claim. ``settings`` are those of :func:`claim_answer`."""
    return list(claim_answer(db, **settings)["dispatches"])


def claim(db: Connection, **settings: Any) -> dict[str, Any]:
    """The one dispatch of a claim. ``settings`` are those of :func:`claim_answer`."""
    (dispatch,) = claim_all(db, **settings)
    return dispatch


def accept(db: Connection, dispatch: dict[str, Any], batch: str) -> list[dict[str, Any]]:
    """Returns the dispatches that the caller may send next."""
    row = db.execute(
        "select public.outbox_accept(array[%s::uuid], array[%s], 'w', %s, 300)", [dispatch["dispatch_id"], batch, LEASE_SECONDS]
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return list(row[0]["dispatches"])


def release(db: Connection, dispatch: dict[str, Any]) -> None:
    db.execute("select public.outbox_release(array[%s::uuid], array[%s])", [dispatch["dispatch_id"], dispatch["lease_token"]])


def renew(db: Connection, dispatch: dict[str, Any], *, token: str | None = None) -> list[str]:
    """Returns the ids of the dispatches that the caller still holds."""
    row = db.execute(
        "select public.outbox_renew(array[%s::uuid], array[%s], %s)",
        [dispatch["dispatch_id"], token or dispatch["lease_token"], LEASE_SECONDS],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], list)
    return row[0]


def mark_ambiguous(db: Connection, dispatch: dict[str, Any]) -> None:
    db.execute(
        "select public.outbox_mark_ambiguous(array[%s::uuid], array[%s], array['timeout'], 1)",
        [dispatch["dispatch_id"], dispatch["lease_token"]],
    )


def refuse(
    db: Connection,
    dispatch: dict[str, Any],
    why: str = "recipient",
    error: str = "HTTP 400 no",
    *,
    http_status: int = 400,
    retry_after: float | None = None,
) -> list[dict[str, Any]]:
    """Returns the dispatches that replace it. ``retry_after`` is in seconds."""
    row = db.execute(
        "select public.outbox_refuse(%s::uuid, %s, %s, %s, %s::smallint, %s, 'w', %s)",
        [dispatch["dispatch_id"], dispatch["lease_token"], why, error, http_status, retry_after, LEASE_SECONDS],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return list(row[0]["dispatches"])


def claim_lookups(
    db: Connection, *, provider: str = "sinch", plan: str = "p", host: str = "h", limit: int = 100
) -> list[dict[str, Any]]:
    asked = [provider, plan, host, limit]
    row = db.execute("select public.outbox_claim_lookups(%s, %s, %s, 1, %s::smallint)", asked).fetchone()
    assert row is not None
    assert isinstance(row[0], list)
    return row[0]


def record_lookup(db: Connection, lookup: dict[str, Any], batches: list[str], recipients: list[str]) -> str:
    """``lookup`` is one that :func:`claim_lookups` returned. Returns the decision."""
    row = db.execute(
        "select public.outbox_record_lookup(%s::uuid, %s, %s::text[], %s::text[], 20, 300)",
        [lookup["dispatch_id"], lookup["lease_token"], batches, [" ".join(recipients)] * len(batches)],
    ).fetchone()
    assert row is not None
    return str(row[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class SentReport:
    """A report as a provider sends it. An empty ``at`` means that the provider gives no time."""

    batch: str
    recipient: str
    status: str
    code: int = 0
    at: str = ""
    reference: str = ""
    raw: str = "{}"


def report(db: Connection, batch: str, recipient: str, status: str, code: int = 0, **more: str) -> None:
    report_all(db, SentReport(batch=batch, recipient=recipient, status=status, code=code, **more))


def report_all(db: Connection, *reports: SentReport, source: str = "webhook") -> None:
    """Records several reports in one call."""
    db.execute(
        "select public.outbox_record_reports(%s, %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],"
        " %s::text[])",
        [
            source,
            [one.batch for one in reports],
            [one.recipient for one in reports],
            [one.status for one in reports],
            [str(one.code) for one in reports],
            [one.at for one in reports],
            [one.reference for one in reports],
            [one.raw for one in reports],
        ],
    )


def look_up(db: Connection, dispatch: dict[str, Any], batches: list[str]) -> None:
    """Records a lookup of the dispatch that found these batches, or none."""
    taken = {lookup["dispatch_id"]: lookup for lookup in claim_lookups(db)}
    lookup = taken.get(dispatch["dispatch_id"], {**dispatch, "lease_token": "0"})
    record_lookup(db, lookup, batches, dispatch["recipients"])


def pauses(db: Connection) -> list[object]:
    """The kinds of pause that stop a plan or limit it to a probe."""
    return [kind for (kind,) in db.execute("select kind from outbox_engine.plan_pauses order by 1")]


def find_nothing(db: Connection) -> None:
    """Two lookups of all ambiguous dispatches, a settling time apart, find nothing. Their rows return to the queue."""
    for _ in range(2):
        later(db, "30 seconds")
        for lookup in claim_lookups(db):
            record_lookup(db, lookup, [], [])


def sent_to(dispatches: list[dict[str, Any]]) -> set[str]:
    return {recipient for dispatch in dispatches for recipient in dispatch["recipients"]}


def cancel(db: Connection, row: int) -> None:
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [row])


def expire(db: Connection, row: int) -> None:
    db.execute("update public.outbox set expires_at = outbox_engine.now() where id = %s", [row])


def suppress(db: Connection, row: int) -> None:
    db.execute(
        "insert into public.outbox_suppressions (recipient, reason) values (%s, 'asked')", [column(db, "recipient", row)]
    )
