"""MAX_MESSAGES_PER_DAY: at most so many messages a day (UTC), through all plans and processes together."""

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.calls import DEADLINE_SECONDS, LEASE_SECONDS, accept, refuse, release
from tests.engine import Clocks, MakeRig, insert, later, statuses
from tests.stack import Connection

DAY = "2027-03-01"
CAP = 10


@pytest.fixture(autouse=True)
def noon(db: Connection) -> None:
    at(db, f"{DAY} 12:00Z")


def at(db: Connection, moment: str) -> None:
    db.execute("update outbox_engine.clock set frozen_at = %s, shift = '0'", [moment])


def claim(db: Connection, *, plan: str = "p", cap: int | None = CAP, recipients: int = 1000) -> dict[str, Any]:
    row = db.execute(
        "select public.outbox_claim_due(%s, 'w', 'sinch', %s, 'h', 'c', %s, %s, 8::smallint, %s::smallint, 100, null, 6000,"
        " null, false, p_messages_per_day => %s)",
        [uuid4(), plan, LEASE_SECONDS, DEADLINE_SECONDS, recipients, cap],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def claimed(answer: dict[str, Any]) -> int:
    return sum(len(dispatch["recipients"]) for dispatch in answer["dispatches"])


def alarms(db: Connection) -> list[str]:
    rows = db.execute("select kind from outbox_engine.alarms where kind like 'daily_cap.%' order by id").fetchall()
    return [str(kind) for (kind,) in rows]


def test_messages_over_the_cap_wait(db: Connection) -> None:
    insert(db, CAP + 1)

    assert claimed(claim(db)) == CAP
    answer = claim(db)

    assert answer["dispatches"] == []
    assert (answer["limited"], answer["wait_seconds"]) == ("messages_per_day", 12 * 60 * 60)
    assert statuses(db) == {"sending": CAP, "pending": 1}


def test_next_day_begins_at_midnight_utc(db: Connection) -> None:
    insert(db, 3 * CAP)
    claim(db)

    at(db, f"{DAY} 23:59:59.9Z")
    assert claimed(claim(db)) == 0
    at(db, "2027-03-02 00:00Z")
    assert claimed(claim(db)) == CAP


def test_most_urgent_messages_go_first(db: Connection) -> None:
    insert(db, CAP)
    db.execute("insert into public.outbox (recipient, body, priority) values ('+14155550199', 'code', 0)")

    (dispatch, *_) = claim(db, cap=1)["dispatches"]

    assert dispatch["recipients"] == ["+14155550199"]


def test_cap_bounds_all_plans_together(db: Connection) -> None:
    insert(db, 2 * CAP)
    db.execute("update public.outbox set body = 'another' where id in (select id from public.outbox order by id limit 6)")

    first = claimed(claim(db, plan="one", cap=6))

    assert first + claimed(claim(db, plan="two")) == CAP
    assert claim(db, plan="three")["limited"] == "messages_per_day"


def test_claims_of_two_plans_take_turns(db: Connection, other: Connection) -> None:
    insert(db, 2 * CAP)
    other.execute("set lock_timeout = '100ms'")

    with db.transaction():
        assert claimed(claim(db, plan="one", cap=6)) == 6
        with pytest.raises(psycopg.errors.LockNotAvailable):
            claim(other, plan="two")

    assert claimed(claim(other, plan="two")) == CAP - 6


def test_without_a_cap_everything_goes(db: Connection) -> None:
    insert(db, 2 * CAP)
    claim(db)

    assert claimed(claim(db, cap=None)) == CAP


def test_cap_that_comes_later_counts_earlier_messages(db: Connection) -> None:
    insert(db, 2 * CAP)
    claim(db, cap=None)

    assert claim(db)["dispatches"] == []


@pytest.mark.parametrize("give_back", [lambda db, one: refuse(db, one, "throttled", http_status=429), release])
def test_messages_never_sent_count_no_longer(db: Connection, give_back: Any) -> None:
    insert(db, CAP)
    for dispatch in claim(db)["dispatches"]:
        give_back(db, dispatch)
    db.execute("delete from outbox_engine.plan_pauses")

    assert claimed(claim(db)) == CAP
    insert(db, 1)
    assert claim(db)["limited"] == "messages_per_day"


def test_yesterdays_returns_do_not_raise_todays_cap(db: Connection) -> None:
    insert(db, CAP)
    at(db, f"{DAY} 23:59:59Z")
    (dispatch,) = claim(db)["dispatches"]
    at(db, "2027-03-02 00:00:01Z")
    insert(db, CAP)
    assert claimed(claim(db)) == CAP

    release(db, dispatch)

    assert claimed(claim(db)) == 0


def test_clock_set_back_does_not_raise_the_cap(db: Connection) -> None:
    insert(db, CAP)
    claim(db)

    at(db, "2027-02-28 23:00Z")
    insert(db, 1)

    assert claimed(claim(db)) == 0


def test_day_seen_twice_has_one_cap(db: Connection) -> None:
    insert(db, 3 * CAP)
    claim(db, cap=6)
    at(db, "2027-02-28 23:55Z")
    assert claimed(claim(db)) == CAP - 6

    at(db, f"{DAY} 00:05Z")

    assert claimed(claim(db)) == 0


@pytest.mark.parametrize("of_a_resting_plan", [False, True])
def test_clock_once_far_ahead_shuts_two_days(db: Connection, of_a_resting_plan: bool) -> None:
    at(db, "2031-01-01 12:00Z")
    insert(db, CAP)
    claim(db, plan="rests" if of_a_resting_plan else "p")

    for day, expected in ((1, 0), (2, 0), (3, CAP), (4, CAP)):
        at(db, f"2027-03-0{day} 12:00Z")
        insert(db, CAP)
        assert claimed(claim(db)) == expected


def test_yesterdays_halves_do_not_raise_todays_cap(db: Connection) -> None:
    insert(db, CAP)
    at(db, f"{DAY} 23:59:59Z")
    (dispatch,) = claim(db)["dispatches"]
    at(db, "2027-03-02 00:00:01Z")
    halves = refuse(db, dispatch, "recipient")
    insert(db, 2 * CAP)
    assert claimed(claim(db)) == CAP

    for half in halves:
        release(db, half)

    assert claimed(claim(db)) == 0


def test_accepted_messages_stay_counted(db: Connection) -> None:
    insert(db, CAP)
    for number, dispatch in enumerate(claim(db)["dispatches"]):
        accept(db, dispatch, f"b{number}")
    later(db, "1 hour")
    insert(db, 1)

    assert claimed(claim(db)) == 0


@pytest.mark.parametrize(("messages", "raised"), [(7, []), (8, ["daily_cap.near"]), (10, ["daily_cap.near"])])
def test_alarm_comes_at_80_percent(db: Connection, messages: int, raised: list[str]) -> None:
    insert(db, messages)

    claim(db)

    assert alarms(db) == raised


def test_alarms_come_once_a_day(db: Connection) -> None:
    insert(db, 3 * CAP)
    for _ in range(3):
        claim(db)
    assert alarms(db) == ["daily_cap.near", "daily_cap.reached"]

    at(db, "2027-03-02 00:00Z")
    for _ in range(3):
        claim(db)
    assert alarms(db) == ["daily_cap.near", "daily_cap.reached"] * 2


def test_raised_cap_raises_its_own_alarms(db: Connection) -> None:
    insert(db, 3 * CAP)
    for cap in (CAP, CAP, 2 * CAP, 2 * CAP):
        claim(db, cap=cap)
    claim(db, cap=2 * CAP)

    assert alarms(db) == ["daily_cap.near", "daily_cap.reached"] * 2


async def test_four_processes_stay_below_the_cap(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    clocks.set(f"{DAY} 12:00Z")
    rigs = [await make_rig(max_messages_per_day=2500) for _ in range(4)]
    insert(db, 4000)

    for _ in range(3):
        await asyncio.gather(*(rig.tick("dispatch") for rig in rigs))

    assert statuses(db) == {"sent": 2500, "pending": 1500}
    assert rigs[0].simulator.summary().messages == 2500
    assert db.execute("select public.outbox_status() #> '{plans,0,messages_today}'").fetchone() == (2500,)
