"""How long a plan waits after a failure: longer after each further try, up to a maximum, and once for simultaneous ones."""

from typing import Any

import pytest

from tests.calls import accept, claim, claim_all, pauses, refuse, report
from tests.engine import insert, later, number, stand_still
from tests.stack import Connection


@pytest.fixture(autouse=True)
def _still(db: Connection) -> None:
    stand_still(db)


def seconds_paused(db: Connection) -> float:
    row: Any = db.execute(
        "select extract(epoch from until - outbox_engine.now())::float8 from outbox_engine.plan_pauses"
    ).fetchone()
    return float(row[0])


def test_zero_retry_after_still_makes_waits_grow(db: Connection) -> None:
    """``Retry-After: 0``, or a date that has passed."""
    insert(db)
    waits = []
    for _ in range(4):
        refuse(db, claim(db), "throttled", retry_after=0)
        assert claim_all(db) == []
        waits.append(seconds_paused(db))
        later(db, f"{waits[-1]} seconds")

    assert waits == sorted(waits)
    assert waits[-1] >= 6 * 0.75


def test_an_unanswered_probe_holds_the_next_back(db: Connection) -> None:
    """As long as the wait would be if it were refused."""
    insert(db, 5)
    refuse(db, claim(db), "account")

    for seconds in (20, 40, 80):
        later(db, "80 seconds")
        probe = claim(db)
        assert seconds_paused(db) == seconds
        refuse(db, probe, "account")


def test_failures_at_once_back_off_once(db: Connection) -> None:
    """Several requests in flight that fail together count as one failure."""
    for n in range(4):
        insert(db, first=n, body=f"text {n}")
    for dispatch in claim_all(db):
        refuse(db, dispatch, "unreachable")
    later(db, "2 seconds")

    refuse(db, claim_all(db)[0], "unreachable")

    assert 1.5 <= seconds_paused(db) <= 2, "the second wait"


@pytest.mark.parametrize(("why", "most"), [("unreachable", 30), ("throttled", 60), ("account", 300)])
def test_the_wait_grows_to_a_maximum(db: Connection, why: str, most: int) -> None:
    """After an account or a setting was refused, each further try is a probe that is refused."""
    waits = []
    for n in range(9):
        insert(db, first=n)
        refuse(db, claim(db), why)
        waits.append(seconds_paused(db))
        later(db, f"{most} seconds")

    assert waits[0] < waits[1] < waits[2] < waits[3]
    assert 0.75 * most <= waits[-1] <= most


def test_wait_grows_while_reports_carry_blocked_codes(db: Connection) -> None:
    waits = []
    for n in range(4):
        insert(db, first=n)
        accept(db, claim(db), f"B{n}")
        report(db, f"B{n}", number(n), "aborted", 413)
        waits.append(seconds_paused(db))
        later(db, "5 minutes")

    assert waits == sorted(waits)
    assert waits[-1] >= 60


def test_any_number_of_tries_is_counted(db: Connection) -> None:
    insert(db)
    refuse(db, claim(db), "unreachable")
    db.execute("update outbox_engine.plan_pauses set tries = 32767")
    later(db, "1 minute")

    refuse(db, claim(db), "unreachable")

    assert pauses(db) == ["unreachable"]
    assert claim_all(db) == []
