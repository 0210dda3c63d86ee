"""Lookups of ambiguous requests: when they are due, in which order, and which of them count."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from sandbox.simulator import control as faults
from tests.calls import (
    DEADLINE_SECONDS,
    LEASE_SECONDS,
    accept,
    claim,
    claim_all,
    claim_answer,
    claim_lookups,
    find_nothing,
    mark_ambiguous,
    record_lookup,
    release,
    renew,
    report,
)
from tests.engine import Clocks, Rig, insert, later, number, stand_still, statuses
from tests.stack import Connection


@pytest.fixture(autouse=True)
def _still(db: Connection) -> None:
    stand_still(db)


def lost(db: Connection, n: int = 0) -> dict[str, Any]:
    """A dispatch of the nth number whose lookup is due."""
    insert(db, first=n, body=f"text {n}")
    dispatch = claim(db)
    mark_ambiguous(db, dispatch)
    later(db, "1 second")
    return dispatch


def fail(db: Connection, lookup: dict[str, Any]) -> None:
    """The lookup proves nothing."""
    db.execute(
        "select public.outbox_record_failed_lookup(%s::uuid, %s, 'no answer', 5)",
        [lookup["dispatch_id"], lookup["lease_token"]],
    )


def names(lookups: list[dict[str, Any]]) -> list[str]:
    return [str(lookup["dispatch_id"]) for lookup in lookups]


def test_a_lookup_of_an_accepted_request_decides_nothing(db: Connection) -> None:
    dispatch = lost(db)
    (lookup,) = claim_lookups(db)
    accept(db, dispatch, "B1")

    for _ in range(2):
        assert record_lookup(db, lookup, [], []) == "overtaken"
        later(db, "30 seconds")

    assert statuses(db) == {"sent": 1}
    assert claim_lookups(db) == []


def test_an_overtaken_lookup_that_found_nothing_decides_nothing(db: Connection) -> None:
    """Another process claimed the lookup after the first one's lease had ended."""
    lost(db)
    (first,) = claim_lookups(db)
    later(db, "1 second")
    (second,) = claim_lookups(db)

    assert record_lookup(db, first, [], []) == "overtaken"
    later(db, "30 seconds")
    assert record_lookup(db, second, [], []) == "missed"

    assert statuses(db) == {"sending": 1}


def test_an_overtaken_lookup_that_found_a_batch_counts(db: Connection) -> None:
    dispatch = lost(db)
    (first,) = claim_lookups(db)
    later(db, "1 second")
    claim_lookups(db)

    assert record_lookup(db, first, ["B1"], dispatch["recipients"]) == "found"
    assert statuses(db) == {"sent": 1}


def test_leased_lookup_is_not_claimed_again(db: Connection) -> None:
    lost(db)

    assert len(claim_lookups(db)) == 1
    later(db, "999 milliseconds")
    assert claim_lookups(db) == []


@pytest.mark.parametrize(
    ("passed", "before_claim"), [("0", "7 days"), ("5 days", "7 days"), ("10 days", "3 days"), ("12 days 23 hours", "12 hours")]
)
def test_lookup_reads_from_days_before_the_claim(db: Connection, passed: str, before_claim: str) -> None:
    """The clocks of provider and database may differ. The provider's list reaches back fourteen days."""
    lost(db)
    later(db, passed)

    (lookup,) = claim_lookups(db)

    row: Any = db.execute("select claimed_at - %s::interval from outbox_engine.dispatches", [before_claim]).fetchone()
    assert abs(datetime.fromisoformat(lookup["since"]) - row[0]) < timedelta(minutes=1)


@pytest.mark.parametrize("ahead", ["1 hour", "1 day"])
async def test_request_of_a_wrong_clock_is_found(db: Connection, rig: Rig, clocks: Clocks, ahead: str) -> None:
    """The database's clock was ahead at the claim, and is right again at the lookup."""
    clocks.set("2026-11-24 12:00+00")
    later(db, ahead)
    insert(db, expires_at="2026-11-26 00:00+00")
    rig.simulator.add(faults.reset_after_accepting())
    await rig.tick("dispatch")
    db.execute("update outbox_engine.clock set shift = '0'")

    later(db, "1 minute")
    db.execute("update outbox_engine.dispatches set lookup_at = outbox_engine.now()")
    await rig.tick("recover")

    assert statuses(db) == {"sent": 1}
    assert rig.simulator.summary().sent_twice == 0


@pytest.mark.parametrize("shown", [["+447700900123"], [], ["+12025550100", "+12025550101", "+447700900123"]])
def test_batch_with_our_reference_is_the_request(db: Connection, shown: list[str]) -> None:
    """Whatever numbers it shows: a provider may write them in another way. An operator learns of it."""
    insert(db, 2)
    dispatch = claim(db)
    mark_ambiguous(db, dispatch)
    later(db, "1 second")
    (lookup,) = claim_lookups(db)

    assert record_lookup(db, lookup, ["B1"], shown) == "found"

    assert statuses(db) == {"sent": 2}
    alarm: Any = db.execute("select kind, detail ->> 'messages' from outbox_engine.alarms").fetchall()
    assert alarm == [("lookup.numbers_differ", "2")]


def test_lookup_that_proves_nothing_is_repeated_ever_later(db: Connection) -> None:
    """After an hour an operator learns of it, once."""
    dispatch = lost(db)
    waits: list[Any] = []
    for passed in ("0", "10 minutes", "1 hour", "1 hour"):
        later(db, passed)
        (lookup,) = claim_lookups(db)
        fail(db, lookup)
        waits += db.execute(
            "select (extract(epoch from lookup_at - outbox_engine.now()) / 10)::int from outbox_engine.dispatches"
        )

    assert [wait for (wait,) in waits] == [1, 8, 53, 60]
    assert statuses(db) == {"sending": 1}
    alarms: Any = db.execute("select kind, detail ->> 'dispatch', detail ->> 'why' from outbox_engine.alarms").fetchall()
    assert alarms == [("lookup.undecided", dispatch["dispatch_id"], "no answer")]


def test_outdated_failed_lookup_changes_nothing(db: Connection) -> None:
    lost(db)
    (first,) = claim_lookups(db)
    later(db, "1 second")
    (second,) = claim_lookups(db)
    before = db.execute("select lookup_at from outbox_engine.dispatches").fetchone()

    fail(db, first)

    assert db.execute("select lookup_at from outbox_engine.dispatches").fetchone() == before
    assert record_lookup(db, second, [], []) == "missed"


@pytest.mark.parametrize(
    ("came", "reference", "n", "counts"),
    [
        ("after the claim", "", 0, False),
        ("after the claim", "a reference of another app", 0, False),
        ("after the claim", "0a1b2c3d-0000-4000-8000-000000000001", 0, True),
        ("after the claim", "", 1, True),
        ("long before it", "", 0, True),
    ],
)
def test_waiting_report_keeps_absence_from_being_concluded(
    db: Connection, came: str, reference: str, n: int, counts: bool
) -> None:
    """It may be about the request: it names one of its numbers, an unknown batch, and no request of ours."""
    if came == "long before it":
        report(db, "UNKNOWN", number(n), "delivered", reference=reference)
        later(db, "2 hours")
    lost(db)
    if came == "after the claim":
        report(db, "UNKNOWN", number(n), "delivered", reference=reference)

    find_nothing(db)

    assert statuses(db) == {"pending" if counts else "sending": 1}


def test_waiting_report_is_applied_with_its_batch(db: Connection) -> None:
    dispatch = lost(db)
    report(db, "B1", number(0), "delivered")
    find_nothing(db)
    later(db, "10 minutes")
    (lookup,) = claim_lookups(db)

    assert record_lookup(db, lookup, ["B1"], dispatch["recipients"]) == "found"
    assert statuses(db) == {"delivered": 1}


def test_the_lookup_due_longest_is_made_first(db: Connection) -> None:
    dispatches = [lost(db, n) for n in range(3)]

    made = [names(claim_lookups(db, limit=1)) for _ in range(3)]

    assert made == [[dispatch["dispatch_id"]] for dispatch in dispatches]


@pytest.mark.parametrize(("by", "looked_for"), [("its worker", False), ("another", True)])
def test_a_renewed_lease_puts_the_lookup_off(db: Connection, by: str, looked_for: bool) -> None:
    insert(db)
    dispatch = claim(db)
    later(db, f"{LEASE_SECONDS} seconds")

    kept = renew(db, dispatch, token=None if by == "its worker" else "0")
    later(db, f"{LEASE_SECONDS + DEADLINE_SECONDS - 0.001} seconds")

    assert kept == ([] if looked_for else [dispatch["dispatch_id"]])
    assert len(claim_lookups(db)) == looked_for


def test_ambiguous_request_is_not_renewed(db: Connection) -> None:
    dispatch = lost(db)

    assert renew(db, dispatch) == []


def test_accepted_request_is_neither_renewed_nor_released(db: Connection) -> None:
    """Its worker may be behind with its own books."""
    insert(db)
    dispatch = claim(db)
    accept(db, dispatch, "B1")

    assert renew(db, dispatch) == []
    release(db, dispatch)

    assert db.execute("select state from outbox_engine.dispatches").fetchall() == [("accepted",)]


@pytest.mark.parametrize(("token", "postponed"), [("its own", True), ("another", False)])
def test_only_its_holder_postpones_a_lookup(db: Connection, token: str, postponed: bool) -> None:
    lost(db)
    (lookup,) = claim_lookups(db)
    held = lookup["lease_token"] if token == "its own" else "0"

    answer = db.execute("select public.outbox_postpone_lookup(%s::uuid, %s, 60)", [lookup["dispatch_id"], held]).fetchone()
    later(db, "59 seconds")

    assert answer == (postponed,)
    assert len(claim_lookups(db)) == (0 if postponed else 1)


def test_settled_lookup_is_not_postponed(db: Connection) -> None:
    """The request turned up while its lookup was made."""
    dispatch = lost(db)
    accept(db, dispatch, "B1")

    answer = db.execute(
        "select public.outbox_postpone_lookup(id, lease_token::text, 60) from outbox_engine.dispatches"
    ).fetchone()

    assert answer == (False,)
    assert db.execute("select lookup_at from outbox_engine.dispatches").fetchall() == [(None,)]


def test_a_returned_request_is_watched_for_hours(db: Connection) -> None:
    """If it is found later, an operator must learn of the duplicate send. The intervals grow fivefold."""
    lost(db)
    find_nothing(db)
    assert statuses(db) == {"pending": 1}

    waits: list[Any] = []
    for minutes in range(1000):
        for lookup in claim_lookups(db):
            waits.append(minutes)
            assert record_lookup(db, lookup, [], []) == "watched"
        later(db, "1 minute")

    assert waits == [1, 6, 31, 156]


@pytest.mark.parametrize("lost_by", ["ambiguous", "silence"])
def test_another_hosts_lookups_take_no_requests(db: Connection, lost_by: str) -> None:
    """A batch is looked up at the host to which it was sent."""
    insert(db)
    dispatch = claim(db)
    if lost_by == "ambiguous":
        mark_ambiguous(db, dispatch)
    db.execute("update outbox_engine.dispatches set host = 'elsewhere'")
    later(db, "10 seconds")
    insert(db, first=1)

    answer = claim_answer(db, requests=2)

    assert "recover" not in answer["due"]
    assert len(answer["dispatches"]) == 1
    assert claim_lookups(db) == []
    later(db, "2 minutes")
    assert names(claim_lookups(db, host="elsewhere")) == [dispatch["dispatch_id"]]


@pytest.mark.parametrize(("days", "status"), [(12.9, "sending"), (13.1, "unknown")])
def test_request_too_old_for_the_list_stays_unknown(db: Connection, days: float, status: str) -> None:
    """The provider's list reaches back fourteen days. Nothing is sent again on a guess."""
    lost(db)
    later(db, f"{days} days")

    claim_lookups(db)

    assert statuses(db) == {status: 1}
    assert claim_all(db) == []
