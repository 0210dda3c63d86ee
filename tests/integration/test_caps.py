"""Caps: how many messages of campaigns one recipient may get in a day and in a week."""

import pytest

from tests.calls import accept, claim, release, report
from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks, Rig, number
from tests.stack import Connection

NOON = "2026-11-24 12:00+00"
"""A Tuesday."""


@pytest.fixture(autouse=True)
def _noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOON)
    template(db)


def once(db: Connection, name: str, at: str, **caps: int) -> None:
    """A campaign with one message, to the same recipient as all others here."""
    campaign(db, name, schedule="once", starts_at=at, **caps)
    member(db, to=name)


def foreseen(db: Connection, name: str) -> list[str | None]:
    found = db.execute("select jsonb_array_elements(public.outbox_preview_campaign(%s, 100)) ->> 'problem'", [name]).fetchall()
    return [None if problem is None else str(problem) for (problem,) in found]


async def test_cap_counts_messages_in_a_request(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The first message is in a request that has no answer yet."""
    once(db, "first", NOON)
    once(db, "second", "2026-11-24 12:05+00", daily_cap=1)
    await rig.tick("campaigns")
    claim(db)
    clocks.move("5 minutes")

    assert foreseen(db, "second") == ["daily_cap 1 reached for this recipient"]
    await rig.tick("campaigns", "dispatch")

    assert rows(db, "status, error") == [("sending", None), ("suppressed", "daily_cap 1 reached for this recipient")]


async def test_cap_ignores_messages_that_came_back(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """Its campaign was paused while it was in a request that was never made."""
    once(db, "first", NOON)
    once(db, "second", "2026-11-24 12:05+00", daily_cap=1)
    await rig.tick("campaigns")
    release(db, claim(db))
    db.execute("update public.outbox_campaigns set status = 'paused' where name = 'first'")
    clocks.move("5 minutes")

    assert foreseen(db, "second") == [None]
    await rig.tick("campaigns", "dispatch")

    assert sorted(rows(db, "campaign, status")) == [("first", "scheduled"), ("second", "sent")]


async def test_cap_does_not_count_its_own_earlier_attempt(db: Connection, rig: Rig, clocks: Clocks) -> None:
    once(db, "c", NOON, daily_cap=1)
    await rig.tick("campaigns")
    accept(db, claim(db), "B1")
    report(db, "B1", number(1), "aborted", 404)
    clocks.move("10 minutes")

    await rig.tick("dispatch")

    assert rows(db, "status, attempts") == [("sent", 2)]


@pytest.mark.parametrize(("next_at", "status"), [("2026-11-29 12:00+00", "suppressed"), ("2026-11-30 12:00+00", "sent")])
async def test_weekly_cap_counts_from_monday(db: Connection, rig: Rig, clocks: Clocks, next_at: str, status: str) -> None:
    once(db, "first", NOON)
    await rig.tick("campaigns", "dispatch")
    clocks.set(next_at)
    once(db, "second", next_at, weekly_cap=1)

    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",), (status,)]


@pytest.mark.parametrize(("cap", "foretold"), [("daily_cap", [None, None]), ("weekly_cap", [None, "weekly_cap 1"])])
def test_preview_counts_coming_days_apart(db: Connection, cap: str, foretold: list[str | None]) -> None:
    campaign(db, offsets=["-1 day", "-1 hour"])
    db.execute(f"update public.outbox_campaigns set {cap} = 1")
    member(db, event_at="2026-11-26 12:00+00")

    problems = [problem and problem.removesuffix(" reached for this recipient") for problem in foreseen(db, "c")]

    assert problems == foretold


async def test_cap_counts_the_day_of_the_sent_attempt(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """An attempt before midnight was not sent, and the next one was sent after midnight."""
    clocks.set("2026-11-24 23:59+00")
    once(db, "first", "2026-11-24 23:59+00")
    await rig.tick("campaigns")
    release(db, claim(db))
    clocks.set("2026-11-25 00:10+00")
    await rig.tick("dispatch")
    once(db, "second", "2026-11-25 00:20+00", daily_cap=1)
    clocks.set("2026-11-25 00:20+00")

    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",), ("suppressed",)]
