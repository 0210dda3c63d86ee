"""Campaigns that are due at the same time take turns, so that a large one does not delay the others."""

import pytest

from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks, Rig
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)


def crowd(db: Connection, count: int, *, to: str) -> None:
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, parameters)"
        " select %s, n::text, '+1202555' || (1000 + n), 'UTC', '{\"name\": \"Ada\"}' from generate_series(1, %s) n",
        [to, count],
    )


def expand(db: Connection, most: int = 10) -> str | None:
    """Expand one chunk. Returns the name of its campaign."""
    row = db.execute("select public.outbox_expand_campaigns(%s) ->> 'campaign'", [most]).fetchone()
    assert row is not None
    return None if row[0] is None else str(row[0])


def test_due_campaigns_take_turns_most_urgent_first(db: Connection, clocks: Clocks) -> None:
    for name, priority, count in (("a", 200, 40), ("b", 200, 20), ("low", 300, 20), ("urgent", 100, 20)):
        campaign(db, name, schedule="once", starts_at=NOW, priority=priority)
        crowd(db, count, to=name)

    first = [expand(db) for _ in range(4)]
    second = [expand(db) for _ in range(4)]

    assert first == second == ["urgent", "a", "b", "low"]
    assert [expand(db) for _ in range(3)] == ["a", "a", None]


def test_newly_due_campaign_waits_one_chunk_of_others(db: Connection, clocks: Clocks) -> None:
    """It gets no extra turns for the time in which it was not due."""
    campaign(db, "a", schedule="once", starts_at=NOW)
    crowd(db, 60, to="a")
    assert [expand(db) for _ in range(3)] == ["a", "a", "a"]

    campaign(db, "z", schedule="once", starts_at=NOW, priority=300)
    crowd(db, 30, to="z")

    assert [expand(db) for _ in range(6)] == ["z", "a", "z", "a", "z", "a"]


def test_campaign_due_longest_begins_among_equals(db: Connection, clocks: Clocks) -> None:
    for name, at in (("a", "12:01"), ("b", "12:00")):
        campaign(db, name, schedule="cron", cron_expression=f"{at[3:]} 12 * * *", late_limit="1 hour")
        member(db, to=name)
    while expand(db) is not None:
        pass
    clocks.set("2026-11-25 12:05+00")

    assert [expand(db), expand(db)] == ["b", "a"]


async def test_skip_misses_nothing_behind_a_large_campaign(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """Each chunk takes ten seconds, as on a busy database: the large campaign takes minutes."""
    campaign(db, "crowd", schedule="once", starts_at=NOW, late_policy="skip", priority=100)
    crowd(db, 200, to="crowd")
    campaign(db, "visits", offsets=["-1 hour"], late_policy="skip")
    member(db, to="visits", event_at="2026-11-24 13:00:30+00")

    while expand(db) is not None:
        clocks.move("10 seconds")
        if clocks.now().minute >= 1:
            break
    await rig.tick("dispatch")

    assert ("visits", "sent") in rows(db, "campaign, status")
    assert db.execute("select reason from public.outbox_campaign_occurrences where campaign = 'visits'").fetchall() == [(None,)]


def test_deleted_campaign_leaves_no_turn_behind(db: Connection, clocks: Clocks) -> None:
    campaign(db, schedule="once", starts_at=NOW)
    member(db)
    expand(db)
    assert db.execute("select campaign from outbox_engine.campaign_turns").fetchall() == [("c",)]

    db.execute("delete from public.outbox_campaigns")

    assert db.execute("select count(*) from outbox_engine.campaign_turns").fetchone() == (0,)
