"""Lookups of ambiguous requests: when they are due, in which order, and which of them count."""

from datetime import datetime, timedelta
from typing import Any

import pytest

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
)
from tests.engine import insert, later, stand_still, statuses
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


def test_lookup_reads_from_an_hour_before_the_claim(db: Connection) -> None:
    """The provider's clock may be behind."""
    now: Any = db.execute("select outbox_engine.now()").fetchone()
    lost(db)

    (lookup,) = claim_lookups(db)

    assert datetime.fromisoformat(lookup["since"]) == now[0] - timedelta(hours=1)


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

    waits = []
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
