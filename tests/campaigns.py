"""Helpers for tests of campaigns: create campaigns and members in one line each, and read what became of them."""

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from tests.engine import number
from tests.stack import Connection

_CASTS = {"offsets": "::interval[]", "window_days": "::smallint[]"}


def template(db: Connection, name: str = "hi", body: str = "Hello {{name}}", **columns: Any) -> None:
    values = {"name": name, "body": body, **columns}
    _insert(db, "outbox_templates", {key: Jsonb(value) if isinstance(value, dict) else value for key, value in values.items()})


def campaign(db: Connection, name: str = "c", **columns: Any) -> None:
    """An active reminder a day and an hour before each event, unless ``columns`` say otherwise."""
    values = {"name": name, "template": "hi", "schedule": "reminder", "status": "active", **columns}
    if values["schedule"] == "reminder":
        values.setdefault("offsets", ["-1 day", "-1 hour"])
    _insert(db, "outbox_campaigns", values)


def member(
    db: Connection,
    external_id: str = "m",
    *,
    n: int = 1,
    event_at: str | datetime | None = None,
    zone: str | None = "UTC",
    to: str = "c",
    parameters: dict[str, Any] | None = None,
) -> None:
    """The nth test number, called Ada unless ``parameters`` say otherwise."""
    _insert(
        db,
        "outbox_campaign_members",
        {
            "campaign": to,
            "external_id": external_id,
            "recipient": number(n),
            "timezone": zone,
            "event_at": event_at,
            "parameters": Jsonb({"name": "Ada"} if parameters is None else parameters),
        },
    )


def rows(db: Connection, columns: str = "status") -> list[tuple[Any, ...]]:
    return db.execute(f"select {columns} from public.outbox order by id").fetchall()


def reasons(db: Connection) -> list[str | None]:
    found = db.execute("select reason from public.outbox_campaign_occurrences order by occurs_at").fetchall()
    return [None if reason is None else str(reason) for (reason,) in found]


def _insert(db: Connection, table: str, values: dict[str, Any]) -> None:
    marks = ", ".join("%s" + _CASTS.get(key, "") for key in values)
    db.execute(f"insert into public.{table} ({', '.join(values)}) values ({marks})", list(values.values()))
