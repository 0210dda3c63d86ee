"""Which windows of the provider's lists are read, and when they are read again."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.calls import accept
from tests.engine import insert, later, statuses
from tests.stack import Connection

NOON = datetime.fromisoformat("2026-11-24T12:00:00+00:00")


@pytest.fixture(autouse=True)
def _noon(db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = %s", [NOON])


def window(answer: dict[str, Any] | None) -> list[timedelta] | None:
    """Its start and its end, relative to noon."""
    return None if answer is None else [datetime.fromisoformat(answer[name]) - NOON for name in ("start", "end")]


def claim_replies(db: Connection, *, plan: str = "p") -> list[timedelta] | None:
    """The window of replies to read, where they are read once a minute."""
    answer: Any = db.execute("select public.outbox_claim_inbound_window('sinch', %s, 60)", [plan]).fetchone()
    return window(answer[0])


def finish_replies(db: Connection, until: timedelta) -> None:
    db.execute("select public.outbox_finish_inbound_window('sinch', 'p', %s)", [NOON + until])


def claim_asks(db: Connection, *, plan: str = "p", limit: int = 10) -> dict[str, Any]:
    answer: Any = db.execute("select public.outbox_claim_reconciliation('sinch', %s, %s::smallint)", [plan, limit]).fetchone()
    return dict(answer[0])


def finish_asks(db: Connection, *batches: str, plan: str = "p") -> None:
    db.execute("select public.outbox_finish_reconciliation('sinch', %s, %s, true)", [plan, list(batches)])


def send(db: Connection, batch: str, *, n: int = 0, plan: str = "p") -> None:
    insert(db, first=n, body=f"text {n}")
    dispatches: Any = db.execute(
        "select public.outbox_claim_due(gen_random_uuid(), 'w', 'sinch', %s, 'h', 'c', 60, 20, 8::smallint, 1000::smallint,"
        " 100, null, 600, null, false) -> 'dispatches'",
        [plan],
    ).fetchone()
    accept(db, dispatches[0][0], batch)


def minutes(*values: float) -> list[timedelta]:
    return [timedelta(minutes=value) for value in values]


def test_the_first_window_of_replies_is_a_day(db: Connection) -> None:
    assert claim_replies(db) == minutes(-24 * 60, 0)


def test_a_window_of_replies_overlaps_the_last_one(db: Connection) -> None:
    """The listing may be minutes behind."""
    claim_replies(db)
    finish_replies(db, timedelta())
    later(db, "1 minute")

    assert claim_replies(db) == minutes(-10, 1)


def test_unread_window_is_read_again(db: Connection) -> None:
    claim_replies(db)
    finish_replies(db, timedelta())
    for _ in range(2):
        later(db, "1 minute")
        claim_replies(db)
    later(db, "1 minute")

    assert claim_replies(db) == minutes(-10, 3)


def test_older_window_does_not_move_reading_back(db: Connection) -> None:
    """A slow process finishes after a quick one."""
    claim_replies(db)
    finish_replies(db, timedelta(minutes=5))
    finish_replies(db, timedelta(minutes=2))
    later(db, "6 minutes")

    assert claim_replies(db) == minutes(-5, 6)


@pytest.mark.parametrize(("after", "read"), [("59.999 seconds", False), ("60 seconds", True)])
def test_replies_are_read_once_an_interval(db: Connection, after: str, read: bool) -> None:
    claim_replies(db)
    later(db, after)

    assert (claim_replies(db) is not None) == read
    assert claim_replies(db, plan="another") is not None


def test_rejected_callbacks_have_replies_read_at_once(db: Connection) -> None:
    claim_replies(db)

    db.execute("select public.outbox_record_rejected_callbacks(1)")

    assert claim_replies(db) is not None


def test_the_feed_begins_before_the_oldest_acceptance(db: Connection) -> None:
    """The provider's clock may be behind."""
    send(db, "B1")
    later(db, "1 minute")
    send(db, "B2", n=1)
    later(db, "5 minutes")

    answer = claim_asks(db)

    assert (window(answer["feed"]), sorted(answer["feed"]["batches"])) == (minutes(-10, 6), ["B1", "B2"])


@pytest.mark.parametrize(("messages", "alone"), [(49, False), (50, True)])
def test_batch_that_lacks_many_is_requested_alone(db: Connection, messages: int, alone: bool) -> None:
    insert(db, messages - 1, first=1, body="text 0")
    send(db, "B1")
    later(db, "5 minutes")

    answer = claim_asks(db)

    assert (answer["batches"], answer["feed"] is None) == (["B1"] if alone else [], alone)


def test_batch_with_a_summary_is_requested_alone(db: Connection) -> None:
    """The list of reports may lack what a summary counts."""
    send(db, "B1")

    db.execute("select public.outbox_reconcile_soon('{B1}')")

    assert claim_asks(db) == {"batches": ["B1"], "feed": None, "more": False}


def test_leased_batch_is_not_claimed_again(db: Connection) -> None:
    send(db, "B1")
    later(db, "5 minutes")
    assert claim_asks(db)["feed"]["batches"] == ["B1"]

    later(db, "119.999 seconds")
    assert claim_asks(db)["feed"] is None
    later(db, "1 millisecond")
    assert claim_asks(db)["feed"]["batches"] == ["B1"]


def test_more_is_true_while_batches_are_due(db: Connection) -> None:
    for n in range(3):
        send(db, f"B{n}", n=n)
    later(db, "5 minutes")

    assert [claim_asks(db, limit=2)["more"] for _ in range(2)] == [True, False]


def test_finished_batch_counts_only_for_its_plan(db: Connection) -> None:
    """Batches of two plans may have the same id."""
    send(db, "B1")
    later(db, "5 minutes")
    claim_asks(db)

    finish_asks(db, "B1", plan="another")

    later(db, "2 minutes")
    assert claim_asks(db)["feed"]["batches"] == ["B1"]
    finish_asks(db, "B1")
    later(db, "1 minute")
    assert claim_asks(db)["batches"] == ["B1"]


@pytest.mark.parametrize(("hours", "status"), [(18, "sent"), (19, "unknown")])
def test_last_answer_must_follow_the_expiry_closely(db: Connection, hours: int, status: str) -> None:
    """A report may still come in the eighteen hours after the expiry."""
    send(db, "B1")
    later(db, f"3 days {hours} hours")
    claim_asks(db)
    finish_asks(db, "B1")
    later(db, "1 day")

    claim_asks(db)

    assert statuses(db) == {status: 1}


@pytest.mark.parametrize(("hours", "status"), [(24, "sent"), (25, "unknown")])
def test_upkeep_ends_what_was_unasked_a_day(db: Connection, hours: int, status: str) -> None:
    """No process is configured for the plan any more."""
    send(db, "B1")
    later(db, "3 days 10 hours")
    claim_asks(db)
    finish_asks(db, "B1")
    for _ in range(hours):
        later(db, "1 hour")
        db.execute("select public.outbox_upkeep(90, null, 1000)")

    assert statuses(db) == {status: 1}


@pytest.mark.parametrize(("days", "status"), [(13, "sent"), (15, "unknown")])
def test_reports_beyond_the_list_end_at_once(db: Connection, days: int, status: str) -> None:
    """Also where no upkeep job has run for an hour. The provider's list reaches back fourteen days."""
    send(db, "B1")
    later(db, f"{days} days")

    db.execute("select public.outbox_upkeep(90, null, 1000)")

    assert statuses(db) == {status: 1}


def test_rejected_callbacks_advance_no_old_batch(db: Connection) -> None:
    """Anybody can send them. Batches of more than a day ago keep their pace."""
    send(db, "B1")
    later(db, "5 minutes")
    for _ in range(4):
        claim_asks(db)
        finish_asks(db, "B1")
        later(db, "6 hours")
    claim_asks(db)
    finish_asks(db, "B1")
    later(db, "10 minutes")

    db.execute("select public.outbox_record_rejected_callbacks(1)")

    assert claim_asks(db) == {"batches": [], "feed": None, "more": False}
