"""What the demo puts into the outbox, and what has to become of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from supabase import Client

READY = "order_ready"
STOPPER = "+15555550199"
"""Replies STOP while a message to it still waits."""
_ROWS_A_CALL = 500
_SPREAD_SECONDS = 30
_FAILING = ("9990402", "9990411", "9990034", "9990062")
"""Numbers with these suffixes end at the simulator with the code in the last three digits. Area code 555 is nobody's."""
_REFUSED = "9990001"


@dataclass(slots=True)
class Work:
    """Rows to insert, and by (number, text) what the provider's books must say: accepted once, or never."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    once: set[tuple[str, str]] = field(default_factory=set)
    never: set[tuple[str, str]] = field(default_factory=set)

    def add(self, recipient: str, text: str, *, sent: bool = True, **columns: Any) -> None:
        body = {} if "template" in columns else {"body": text}
        self.rows.append({"recipient": recipient, **body, **columns})
        (self.once if sent else self.never).add((recipient, text))


def plan_work(messages: int, *, now: datetime | None = None) -> Work:
    """Work for ``messages`` rows: texts many share, names, one-time codes, later ones, and from 20 on a few that go wrong."""
    began = now or datetime.now(UTC)
    work = Work()
    for place in range(max(0, messages - 7) if messages >= 20 else messages):
        _add_ordinary(work, place, began)
    if len(work.rows) < messages:
        _add_trouble(work, began)
    return work


def _add_ordinary(work: Work, place: int, began: datetime) -> None:
    recipient = number(place)
    if place % 10 == 1:
        work.add(recipient, f"Your code is {100000 + place}.", priority=0)
    elif place % 10 in (2, 3):
        values = {"name": ("Ada", "Grace", "Edsger", "Barbara")[place % 4], "order": str(place)}
        text = f"Hi {values['name']}, order {values['order']} is ready to pick up."
        work.add(recipient, text, template=READY, parameters=values)
    elif place % 10 >= 6:
        send_at = began + timedelta(seconds=1 + place % _SPREAD_SECONDS)
        work.add(recipient, "Your appointment is tomorrow at 9:00.", send_at=send_at.isoformat(), priority=200)
    else:
        work.add(recipient, "Your table is ready.")


def _add_trouble(work: Work, began: datetime) -> None:
    for suffix in _FAILING:
        work.add(f"+1555{suffix}", "Your table is ready.")
    work.add(f"+1555{_REFUSED}", "Your table is ready.", sent=False)
    in_a_while = (began + timedelta(seconds=25)).isoformat()
    work.add(STOPPER, "Your appointment is tomorrow at 9:00.", sent=False, send_at=in_a_while)
    work.add("+15555550198", "To be cancelled.", sent=False, send_at=in_a_while, idempotency_key="demo-cancelled")


def number(place: int) -> str:
    """Numbers that the North American plan reserves for fiction: 555-01xx in every area; beyond those, area 555, nobody's."""
    area, line = divmod(place, 100)
    fictional_areas = 700
    return f"+1{201 + area}55501{line:02d}" if area < fictional_areas else f"+1555{place:07d}"


def put(client: Client, work: Work) -> None:
    """Insert everything as an app would, in bulk, once too often where an idempotency key guards."""
    client.table("templates").upsert({"name": READY, "body": "Hi {{name}}, order {{order}} is ready to pick up."}).execute()
    for rows in _calls(work.rows):
        client.table("outbox").insert(rows).execute()
    for row in work.rows:
        if "idempotency_key" in row:
            client.table("outbox").upsert(row, on_conflict="idempotency_key", ignore_duplicates=True).execute()
            client.table("outbox").update({"status": "cancelled"}).eq("idempotency_key", row["idempotency_key"]).execute()


def _calls(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    # PostgREST wants the same keys in every row of a call; null means the default.
    keys = {key for row in rows for key in row}
    for start in range(0, len(rows), _ROWS_A_CALL):
        yield [{key: row.get(key) for key in keys} for row in rows[start : start + _ROWS_A_CALL]]
