"""Limits that four processes share, by the simulator's own books."""

import asyncio
from collections import deque
from itertools import islice

import pytest

from sandbox.simulator import control as faults
from sandbox.simulator.control import Control
from tests.engine import MakeRig, Rig, column, insert, later, statuses
from tests.nightly import at_night
from tests.stack import Connection

PROCESSES = 4


async def four(make_rig: MakeRig, **limits: float) -> list[Rig]:
    return [await make_rig(sinch_settings=limits) for _ in range(PROCESSES)]


async def tick_together(rigs: list[Rig]) -> None:
    """A tick of each process's dispatch job, all at the same time."""
    await asyncio.gather(*(rig.tick("dispatch") for rig in rigs))


def stand_still(db: Connection) -> None:
    """The database's clock moves only when told to, so that no limit refills between two lines of a test."""
    db.execute("update outbox_engine.clock set frozen_at = now()")


def campaign(db: Connection, count: int, *, body: str = "'campaign'") -> None:
    """So many rows of a campaign, to numbers of an area code that does not exist. ``body`` is SQL over ``n``."""
    db.execute(
        "insert into public.outbox (recipient, body, priority)"
        f" select '+1555' || lpad(n::text, 7, '0'), {body}, 200 from generate_series(0, {count - 1}) n"
    )


@pytest.mark.parametrize(("seconds", "minutes_begun"), [(70, 2), at_night(130, 3)])
async def test_four_processes_together_stay_within_both_limits_at_every_moment(
    make_rig: MakeRig, db: Connection, seconds: int, minutes_begun: int
) -> None:
    per_second, per_minute = 40, 30
    rigs = await four(make_rig, sinch_messages_per_second=per_second, sinch_requests_per_minute=per_minute)
    campaign(db, 4000, body="'text ' || n % 7")
    stand_still(db)
    books = rigs[0].simulator
    requests: deque[int] = deque(maxlen=61)
    seen = messages = 0

    for second in range(seconds):
        await tick_together(rigs)
        asked = list(books.asked(after=seen))
        seen += len(asked)
        messages += sum(request.accepted for request in asked)
        requests.append(len(asked))
        assert sum(request.accepted for request in asked) <= per_second
        assert messages <= per_second * (second + 1)
        assert sum(requests) <= per_minute
        later(db, "1 second")

    assert books.summary().sent_twice == 0
    assert messages == statuses(db)["sent"]
    # The limits are there to be used, also in the minute of 61 seconds that has only begun.
    assert seen == minutes_begun * per_minute


async def test_what_four_processes_may_send_in_a_second_is_sent_in_that_second(make_rig: MakeRig, db: Connection) -> None:
    rigs = await four(make_rig, sinch_messages_per_second=25)
    campaign(db, 500)
    stand_still(db)

    sent = []
    for _ in range(10):
        await tick_together(rigs)
        sent.append(statuses(db)["sent"])
        later(db, "1 second")

    assert sent == [25 * second for second in range(1, 11)]


async def test_a_429_stops_four_processes_at_once_and_for_as_long_as_it_says(make_rig: MakeRig, db: Connection) -> None:
    rigs = await four(make_rig)
    campaign(db, 3000)
    stand_still(db)
    rigs[0].simulator.add(faults.throttle(retry_after="30"))

    await rigs[0].tick("dispatch")
    asked = rigs[0].simulator.summary().requests["send"]
    for _ in range(3):
        await tick_together(rigs)
        later(db, "9 seconds")
    assert rigs[0].simulator.summary().requests["send"] == asked
    later(db, "4 seconds")
    await tick_together(rigs)

    assert statuses(db) == {"sent": 3000}
    assert db.execute("select distinct attempts from public.outbox").fetchall() == [(1,)]


async def test_a_429_in_the_middle_of_four_busy_processes_lets_nobody_begin_another_claim(
    make_rig: MakeRig, db: Connection
) -> None:
    rigs = await four(make_rig)
    campaign(db, 2000, body="'text ' || n % 100")
    stand_still(db)
    rigs[0].simulator.change(latency=0.05)
    rigs[0].simulator.add(faults.throttle(retry_after="60"))

    await tick_together(rigs)
    asked = rigs[0].simulator.summary().requests["send"]
    await tick_together(rigs)

    assert rigs[0].simulator.summary().requests["send"] == asked, "what was in flight ended, and nothing else began"
    assert asked <= 8 * PROCESSES, "eight requests may be open in each process"
    assert statuses(db)["pending"] > 0


@pytest.mark.parametrize("waiting", [20_000, at_night(100_000)])
async def test_urgent_rows_overtake_a_campaign_within_one_tick(make_rig: MakeRig, db: Connection, waiting: int) -> None:
    rig = await make_rig(sinch_settings={"sinch_messages_per_second": 50})
    campaign(db, waiting)
    stand_still(db)
    await rig.tick("dispatch")
    codes = insert(db, 5, body="Your code is 1234", priority=0)

    later(db, "1 second")
    await rig.tick("dispatch")

    assert {column(db, "status", code) for code in codes} == {"sent"}
    assert bodies(rig.simulator, after=1)[:5] == ["Your code is 1234"] * 5
    assert statuses(db)["sent"] == 100


def test_polling_gets_a_fifth_of_the_requests_and_looks_what_is_left(db: Connection) -> None:
    db.execute(
        "insert into outbox_engine.plans (provider, plan, host, requests_per_minute, tokens, refilled_at)"
        " values ('sinch', 'p', 'h', 50, 1, now())"
    )
    stand_still(db)

    assert [draw(db, "poll", 7), draw(db, "poll", 7)] == [7, 3]
    assert [draw(db, "lookup", 30), draw(db, "lookup", 30)] == [30, 10]
    later(db, "59 seconds")
    assert [draw(db, "poll", 1), draw(db, "lookup", 1)] == [0, 0]
    later(db, "3 seconds")
    assert draw(db, "poll", 50) == 10


def draw(db: Connection, kind: str, wanted: int) -> int:
    row = db.execute("select public.outbox_draw_requests('sinch', 'p', %s, %s::smallint)", [kind, wanted]).fetchone()
    assert row is not None
    return int(str(row[0]))


def bodies(simulator: Control, *, after: int) -> list[str]:
    """The texts that were accepted, in order, leaving out the first batches."""
    return [accepted.body for accepted in islice(simulator.accepted(after=after), 100)]
