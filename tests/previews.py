"""Helpers for tests of previews: create campaigns, read their previews, and read the messages that they then made."""

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.engine import number
from tests.stack import Connection

NOW = "2026-10-23 12:00+00"
"""A Friday; on Sunday clocks go back in Europe."""
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")

Row = dict[str, Any]
Line = tuple[str, str, str]
"""Recipient, time and text; or recipient, no time and the reason."""


def campaign(db: Connection, **columns: Any) -> None:
    values = {"name": "c", "template": "hi", "schedule": "once", "starts_at": NOW, **columns}
    marks = ", ".join("%s" + {"offsets": "::interval[]", "window_days": "::smallint[]"}.get(key, "") for key in values)
    db.execute(f"insert into public.outbox_campaigns ({', '.join(values)}) values ({marks})", list(values.values()))


def member(
    db: Connection, external_id: str, recipient: str, zone: str | None = "UTC", event_at: str | None = None, *, more: str = ""
) -> None:
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)"
        " values ('c', %s, %s, %s, %s, jsonb_build_object('name', %s::text))",
        [external_id, recipient, zone, event_at, external_id.title() + more],
    )


def preview(db: Connection, most: int = 1000) -> list[Row]:
    answer: Any = db.execute("select public.outbox_preview_campaign('c', %s)", [most]).fetchone()
    return list(answer[0])


def next_at(db: Connection) -> str | None:
    """When the list of campaigns says that the next message goes out."""
    answer: Any = db.execute("select public.outbox_list_campaigns()").fetchone()
    (listed,) = answer[0]
    return None if listed["next_at"] is None else str(listed["next_at"])


def random_campaign(db: Connection, chance: random.Random) -> None:
    schedule = chance.choice(["once", "reminder", "reminder", "cron"])
    window = chance.choice([(None, None), ("09:00", "17:30"), ("21:00", "02:00")])
    campaign(
        db,
        schedule=schedule,
        starts_at="2026-10-24 03:00+00",
        offsets=chance.choice([["-1 day", "-1 hour"], ["-2 days", "-90 minutes", "3 hours"]]),
        cron_expression=chance.choice(["30 2 * * *", "0 9,18 * * *", "15 12 * * sun"]),
        timezone=chance.choice([None, "Europe/Berlin"]) if schedule == "cron" else None,
        window_start=window[0],
        window_end=window[1],
        window_days=chance.choice([None, None, [1, 2, 3, 4, 5]]),
        late_policy=chance.choice(["send", "skip"]),
        late_limit=chance.choice(["1 hour", "12 hours", "3 days"]),
        daily_cap=chance.choice([None, 1]),
        weekly_cap=chance.choice([None, None, 2]),
        budget_parts=chance.choice([None, None, 7]),
        daily_budget_parts=chance.choice([None, None, 4]),
    )
    for n in range(12):
        event = f"2026-10-{chance.randint(23, 27)} {chance.randint(0, 23):02d}:{chance.choice([0, 15, 40]):02d}+00"
        recipient = "+4915112345678" if n == 11 else number(chance.randint(101, 109))
        more = " x" * chance.choice([0, 0, 80, 160])  # one part, two, three
        member(db, f"m{n:02d}", recipient, chance.choice(ZONES), None if n == 10 else event, more=more)
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'STOP')", [number(103)])


def what_happened(db: Connection, until: str = "infinity") -> Counter[Line]:
    """Each occurrence that is decided before ``until``, with its outcome."""
    rows = db.execute(
        "select o.external_id, to_jsonb(x.sent_at) #>> '{}', x.body, coalesce(o.reason, x.error)"
        " from public.outbox_campaign_occurrences o left join public.outbox x on x.id = o.outbox_id"
        " where greatest(o.occurs_at, x.due_at) < %s and x.queue is null",
        [until],
    ).fetchall()
    return Counter(_line(*row) for row in rows)


def lines(rows: Iterable[Row]) -> Counter[Line]:
    return Counter(_line(row["external_id"], row["send_at"], row["body"], row["problem"]) for row in rows)


def _line(who: object, at: object, body: object, problem: object) -> Line:
    # Which of two limits is named first depends on the other rows of the same claim.
    problem = "a limit" if str(problem).endswith(("of the campaign reached", "for this recipient")) else problem
    return (str(who), "", str(problem)) if problem else (str(who), str(at), str(body))
