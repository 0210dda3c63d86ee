"""What the processes ask of the database, one dispatch at a time, for tests that choose the order themselves."""

from typing import Any
from uuid import UUID, uuid4

from tests.engine import later
from tests.stack import Connection

LEASE_SECONDS, DEADLINE_SECONDS = 6, 2


def claim_all(db: Connection, *, plan: str = "p", claim_id: UUID | None = None) -> list[dict[str, Any]]:
    """The dispatches of one claim, of up to a hundred rows."""
    row = db.execute(
        "select public.outbox_claim(%s, 'w', 'sinch', %s, 'h', 'c', %s, %s, 8::smallint, 1000::smallint, 100, null, 6000, null,"
        " false)",
        [claim_id or uuid4(), plan, LEASE_SECONDS, DEADLINE_SECONDS],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return list(row[0]["dispatches"])


def claim(db: Connection) -> dict[str, Any]:
    """The one dispatch of a claim."""
    (dispatch,) = claim_all(db)
    return dispatch


def accept(db: Connection, dispatch: dict[str, Any], batch: str) -> None:
    db.execute(
        "select public.outbox_accept(array[%s::uuid], array[%s], 'w', %s, 300)", [dispatch["dispatch_id"], batch, LEASE_SECONDS]
    )


def release(db: Connection, dispatch: dict[str, Any]) -> None:
    db.execute("select public.outbox_release(array[%s::uuid], array[%s])", [dispatch["dispatch_id"], dispatch["lease_token"]])


def doubt(db: Connection, dispatch: dict[str, Any]) -> None:
    db.execute(
        "select public.outbox_mark_ambiguous(array[%s::uuid], array[%s], array['timeout'], 1)",
        [dispatch["dispatch_id"], dispatch["lease_token"]],
    )


def refuse(
    db: Connection, dispatch: dict[str, Any], why: str = "recipient", error: str = "HTTP 400 no"
) -> list[dict[str, Any]]:
    """Answers the dispatches that take its place."""
    row = db.execute(
        "select public.outbox_refuse(%s::uuid, %s, %s, %s, 400::smallint, null, 'w', %s)",
        [dispatch["dispatch_id"], dispatch["lease_token"], why, error, LEASE_SECONDS],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return list(row[0]["dispatches"])


def take_looks(db: Connection, *, plan: str = "p") -> list[dict[str, Any]]:
    row = db.execute("select public.outbox_claim_lookups('sinch', %s, 'h', 1, 100::smallint)", [plan]).fetchone()
    assert row is not None
    assert isinstance(row[0], list)
    return row[0]


def record_look(db: Connection, looked: dict[str, Any], batches: list[str], recipients: list[str]) -> None:
    """``looked`` is what :func:`take_looks` gave."""
    db.execute(
        "select public.outbox_record_lookup(%s::uuid, %s, %s::text[], %s::text[], 20, 300)",
        [looked["dispatch_id"], looked["lease_token"], batches, [" ".join(recipients)] * len(batches)],
    )


def report(db: Connection, batch: str, recipient: str, status: str, code: int = 0) -> None:
    db.execute(
        "select public.outbox_record_reports('webhook', array[%s], array[%s], array[%s], array[%s], array[''], array[''],"
        " array['{}'])",
        [batch, recipient, status, str(code)],
    )


def look(db: Connection, dispatch: dict[str, Any], batches: list[str]) -> None:
    """As if the list had shown these batches for the dispatch, or none."""
    taken = {looked["dispatch_id"]: looked for looked in take_looks(db)}
    looked = taken.get(dispatch["dispatch_id"], {**dispatch, "lease_token": "0"})
    record_look(db, looked, batches, dispatch["recipients"])


def find_nothing(db: Connection) -> None:
    """Two looks at all that is doubtful, a settling time apart, find nothing: it goes back."""
    for _ in range(2):
        later(db, "30 seconds")
        for looked in take_looks(db):
            record_look(db, looked, [], [])
