"""Outgoing events by the calls of the database functions, for tests that choose the order themselves."""

import json
from typing import Any

from psycopg.types.json import Jsonb

from tests.calls import accept, claim
from tests.engine import insert
from tests.stack import Connection


def call(db: Connection, name: str, *values: object, **named: object) -> Any:
    """What this function of the outbox answers."""
    marks = ["%s"] * len(values) + [f"{argument} => %s" for argument in named]
    given = [Jsonb(value) if isinstance(value, dict) else value for value in (*values, *named.values())]
    row = db.execute(f"select public.outbox_{name}({', '.join(marks)})".encode(), given).fetchone()
    assert row is not None
    return row[0]


def add(db: Connection, name: str = "app", **named: object) -> dict[str, Any]:
    endpoint: dict[str, Any] = call(db, "add_event_endpoint", name, f"https://{name}.example.com/hooks", **named)
    return endpoint


def take(db: Connection, *, most: int = 32, worker: str = "w", busy: bool = False) -> dict[str, Any]:
    """The answer of a claim."""
    answer: dict[str, Any] = call(db, "claim_events", worker, most, 60, busy)
    return answer


def deliveries(db: Connection, **settings: Any) -> list[dict[str, Any]]:
    """What a claim leases."""
    leased: list[dict[str, Any]] = take(db, **settings)["deliveries"]
    return leased


def record(db: Connection, *taken: dict[str, Any], status: int | None = 200, **more: object) -> dict[str, Any]:
    """Record the same result for each of these deliveries."""
    results = [{"id": one["id"], "lease": one["lease"], "status": status, **more} for one in taken]
    answer: dict[str, Any] = call(db, "record_event_results", json.dumps(json.dumps(results)))
    return answer


def told(db: Connection, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Deliver all that there is: the type and the data of each event in the order of the deliveries."""
    found = []
    while taken := deliveries(db, **settings):
        record(db, *taken)
        found += [(one["type"], json.loads(one["payload"])["data"]) for one in taken]
    return found


def said(db: Connection) -> list[tuple[str, str | None]]:
    """The same with the status of the message only."""
    return [(kind, data.get("status")) for kind, data in told(db)]


def sent(db: Connection, batch: str = "B1", **columns: Any) -> int:
    """A message that was accepted in this batch."""
    (row,) = insert(db, **columns)
    accept(db, claim(db), batch)
    return row


def cancelled(db: Connection, first: int = 0, **columns: Any) -> int:
    """A message that was cancelled: the cheapest one that is announced."""
    (row,) = insert(db, first=first, **columns)
    db.execute("update public.outbox set status = 'cancelled' where id = %s", [row])
    return row


def delivery(db: Connection, delivery_id: int) -> dict[str, Any]:
    row = db.execute("select to_jsonb(d) from public.outbox_event_deliveries d where id = %s", [delivery_id]).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def endpoints(db: Connection) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in call(db, "event_endpoints_status")}
