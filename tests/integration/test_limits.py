"""Limits that four processes share, counted in the simulator's records."""

import asyncio
from collections import deque
from itertools import islice

import pytest

from sandbox.simulator import control as faults
from sandbox.simulator.control import Control
from tests.calls import accept, claim_all, claim_answer, claim_lookups, mark_ambiguous
from tests.engine import MakeRig, Rig, column, insert, later, stand_still, statuses
from tests.nightly import at_night
from tests.stack import Connection

PROCESSES = 4


async def four(make_rig: MakeRig, **limits: float) -> list[Rig]:
    return [await make_rig(sinch_settings=limits) for _ in range(PROCESSES)]


async def tick_together(rigs: list[Rig]) -> None:
    """A tick of each process's dispatch job, all at the same time."""
    await asyncio.gather(*(rig.tick("dispatch") for rig in rigs))


def campaign(db: Connection, count: int, *, body: str = "'campaign'") -> None:
    """This many rows of a campaign, to numbers of an area code that does not exist. ``body`` is SQL over ``n``."""
    db.execute(
        "insert into public.outbox (recipient, body, priority)"
        f" select '+1555' || lpad(n::text, 7, '0'), {body}, 200 from generate_series(0, {count - 1}) n"
    )


@pytest.mark.parametrize(("seconds", "minutes_begun"), [(70, 2), at_night(130, 3)])
async def test_four_processes_stay_within_both_limits(
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
    # Limits may be used fully, also in the minute of 61 seconds that has only begun.
    assert seen == minutes_begun * per_minute


async def test_four_processes_use_the_full_rate(make_rig: MakeRig, db: Connection) -> None:
    rigs = await four(make_rig, sinch_messages_per_second=25)
    campaign(db, 500)
    stand_still(db)

    sent = []
    for _ in range(10):
        await tick_together(rigs)
        sent.append(statuses(db)["sent"])
        later(db, "1 second")

    assert sent == [25 * second for second in range(1, 11)]


async def test_throttling_stops_four_processes_for_retry_after(make_rig: MakeRig, db: Connection) -> None:
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


async def test_throttling_during_sending_starts_no_other_claim(make_rig: MakeRig, db: Connection) -> None:
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
async def test_urgent_rows_overtake_a_campaign_within_one_run(make_rig: MakeRig, db: Connection, waiting: int) -> None:
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


def know_plan(db: Connection, *, requests_per_minute: int) -> None:
    """Register the plan, as a claim without rows does, and stop the clock."""
    stand_still(db)
    db.execute(
        "insert into outbox_engine.plans (provider, plan, host, requests_per_minute, tokens, refilled_at)"
        " values ('sinch', 'p', 'h', %s, 1, now())",
        [requests_per_minute],
    )


def test_polling_gets_a_fifth_and_lookups_the_rest(db: Connection) -> None:
    know_plan(db, requests_per_minute=50)

    assert [draw(db, "poll", 7), draw(db, "poll", 7)] == [7, 3]
    assert [draw(db, "lookup", 30), draw(db, "lookup", 30)] == [30, 10]
    later(db, "59 seconds")
    assert [draw(db, "poll", 1), draw(db, "lookup", 1)] == [0, 0]
    later(db, "3 seconds")
    assert draw(db, "poll", 50) == 10


def test_lookups_take_nothing_from_the_polling_share(db: Connection) -> None:
    know_plan(db, requests_per_minute=50)

    assert [draw(db, "lookup", 30), draw(db, "poll", 50)] == [30, 10]


def test_lookups_resume_after_throttling(db: Connection) -> None:
    know_plan(db, requests_per_minute=50)
    db.execute("select public.outbox_pause_plan('sinch', 'p', 'throttled', 'c', 'HTTP 429', 30)")

    assert draw(db, "lookup", 1) == 0
    later(db, "30 seconds")
    assert draw(db, "lookup", 1) == 1


def test_idle_plan_saves_at_most_one_second(db: Connection) -> None:
    stand_still(db)
    insert(db, 8)
    assert claimed(db, rate=3) == 3
    later(db, "1 minute")

    assert claimed(db, rate=3) == 3


@pytest.mark.parametrize(("rate", "allowed"), [(3, 0), (9, 0), (None, 5)])
def test_a_changed_rate_allows_nothing_at_once(db: Connection, rate: float | None, allowed: int) -> None:
    """A process with another setting joins within the same second. A rate of null is no limit."""
    stand_still(db)
    insert(db, 8)
    assert claimed(db, rate=3) == 3

    assert claimed(db, rate=rate) == allowed


def test_a_lowered_rate_counts_at_once(db: Connection) -> None:
    stand_still(db)
    insert(db, 8)
    assert claimed(db, rate=5) == 5
    later(db, "1 second")

    assert claimed(db, rate=2) == 2


def test_upkeep_forgets_no_request_that_counts(db: Connection) -> None:
    stand_still(db)
    insert(db, 2, body="one")
    insert(db, 2, body="two", first=2)
    insert(db, 2, body="three", first=4)
    for dispatch in claim_all(db, requests=2):
        accept(db, dispatch, f"batch {dispatch['dispatch_id']}")
    assert statuses(db) == {"sent": 4, "pending": 2}
    later(db, "59 seconds")
    db.execute("select public.outbox_upkeep(90, null, 1000)")

    assert claim_answer(db, requests=2)["limited"] == "requests_per_minute"
    later(db, "3 seconds")
    assert len(claim_all(db, requests=2)) == 1


def claimed(db: Connection, *, rate: float | None) -> int:
    """How many rows one claim takes."""
    return sum(len(dispatch["recipients"]) for dispatch in claim_all(db, rate=rate))


@pytest.mark.parametrize("lost", ["ambiguous", "silent"])
def test_lookups_due_are_reserved_before_sending(db: Connection, lost: str) -> None:
    stand_still(db)
    insert(db)
    (dispatch,) = claim_all(db, requests=2)
    if lost == "ambiguous":
        mark_ambiguous(db, dispatch)
    later(db, "10 seconds")
    insert(db, first=1)

    answer = claim_answer(db, requests=2)

    assert (answer["dispatches"], answer["limited"]) == ([], "requests_per_minute")
    assert [lookup["dispatch_id"] for lookup in claim_lookups(db)] == [dispatch["dispatch_id"]]


def draw(db: Connection, kind: str, wanted: int) -> int:
    row = db.execute("select public.outbox_draw_requests('sinch', 'p', %s, %s::smallint)", [kind, wanted]).fetchone()
    assert row is not None
    return int(str(row[0]))


def bodies(simulator: Control, *, after: int) -> list[str]:
    """The accepted texts in order, without those of the first batches."""
    return [accepted.body for accepted in islice(simulator.accepted(after=after), 100)]
