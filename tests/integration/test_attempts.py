"""A message with several attempts: the reports of one attempt do not mix with those of the others."""

from datetime import datetime
from typing import Any

import pytest

from tests.calls import SentReport, accept, claim, find_nothing, look_up, mark_ambiguous, refuse, release, report, report_all
from tests.engine import column, history, insert, later, number, stand_still
from tests.stack import Connection

OLDER, NEWER = "B1", "B2"
NAMES = ("status", "batch_id", "sent_at", "attempts", "finalized_at")


def state(db: Connection, row: int) -> dict[str, Any]:
    return {name: column(db, name, row) for name in NAMES}


@pytest.fixture
def row(db: Connection) -> int:
    stand_still(db)
    (inserted,) = insert(db)
    return inserted


def lose(db: Connection) -> dict[str, Any]:
    """A request that two lookups did not find, so that its row is sent again."""
    lost = claim(db)
    find_nothing(db)
    return lost


def send_back(db: Connection, batch: str) -> None:
    """The provider accepts the request and reports that the message may be tried again."""
    accept(db, claim(db), batch)
    report(db, batch, number(0), "aborted", 404)
    later(db, "1 hour")


@pytest.mark.parametrize("then", ["sent", "failed"])
def test_older_acceptance_does_not_displace_a_newer_one(db: Connection, row: int, then: str) -> None:
    lost = lose(db)
    accept(db, claim(db), NEWER)
    if then == "failed":
        report(db, NEWER, number(0), "failed", 15)
    before = state(db, row)
    later(db, "1 second")

    accept(db, lost, OLDER)

    assert before["status"] == then
    assert state(db, row) == before
    assert history(db, row)[-1] == "duplicate_send"


def test_older_acceptance_ends_the_wait_for_a_retry(db: Connection, row: int) -> None:
    """The newer one came to nothing, and the message would be sent a third time."""
    lost = lose(db)
    accept(db, claim(db), NEWER)
    report(db, NEWER, number(0), "aborted", 404)
    assert column(db, "status", row) == "pending"

    accept(db, lost, OLDER)

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", OLDER)
    assert "duplicate_send" in history(db, row)


def test_older_acceptance_does_not_settle_an_open_request(db: Connection, row: int) -> None:
    lost = lose(db)
    newer = claim(db)

    accept(db, lost, OLDER)
    db.execute("select public.outbox_upkeep(90, null, 1000)")

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sending", None)
    accept(db, newer, NEWER)
    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", NEWER)


def test_late_acceptance_never_overwrites_delivered(db: Connection, row: int) -> None:
    """The older attempt is reported delivered while the newer one is in a request."""
    send_back(db, OLDER)
    newer = claim(db)
    report(db, OLDER, number(0), "delivered")
    before = state(db, row)
    later(db, "1 second")

    accept(db, newer, NEWER)

    assert (before["status"], before["batch_id"]) == ("delivered", OLDER)
    assert state(db, row) == before
    assert history(db, row)[-1] == "duplicate_send"


def test_returned_row_found_later_is_sent(db: Connection, row: int) -> None:
    """Its lost request is found before the row is sent again, so there is no duplicate send."""
    lost = lose(db)
    assert column(db, "error", row) == "the provider never got the request"

    accept(db, lost, OLDER)

    assert [column(db, name, row) for name in ("status", "batch_id", "error", "queue")] == ["sent", OLDER, None, None]


def test_late_acceptance_of_an_ended_row_is_kept(db: Connection, row: int) -> None:
    """The row was cancelled before its lost request was found. Reports of that request then decide its status."""
    lost = lose(db)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [row])
    later(db, "1 second")

    accept(db, lost, OLDER)

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("cancelled", OLDER)
    assert column(db, "sent_at", row) > column(db, "finalized_at", row)


def test_only_a_delivery_changes_what_was_cancelled(db: Connection, row: int) -> None:
    lost = lose(db)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [row])
    accept(db, lost, OLDER)

    report(db, OLDER, number(0), "failed", 15)
    assert (column(db, "status", row), column(db, "status_code", row)) == ("cancelled", None)
    report(db, OLDER, number(0), "delivered")
    assert column(db, "status", row) == "delivered"


def test_delivery_of_a_found_attempt_keeps_its_time(db: Connection, row: int) -> None:
    """The newer attempt came to nothing, so the message takes the batch of the older one."""
    db.execute("update outbox_engine.clock set frozen_at = '2026-11-24T12:00:00Z'")
    db.execute("update public.outbox set send_at = '2026-11-24T12:00:00Z', expires_at = '2026-11-26T12:00:00Z'")
    lost = lose(db)
    newer = claim(db)
    accept(db, lost, OLDER)
    db.execute("update outbox_engine.clock set frozen_at = '2026-11-24T12:10:00Z', shift = '0'")
    report(db, OLDER, number(0), "delivered", at="2026-11-24T12:05:00Z")
    release(db, newer)

    db.execute("select public.outbox_upkeep(90000, null, 1000)")

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("delivered", OLDER)
    assert column(db, "finalized_at", row) == datetime.fromisoformat("2026-11-24T12:05:00+00:00")
    report(db, OLDER, number(0), "delivered", at="2026-11-24T12:04:00Z")
    assert column(db, "finalized_at", row) == datetime.fromisoformat("2026-11-24T12:04:00+00:00")


@pytest.mark.parametrize("older_first", [True, False])
def test_older_report_does_not_hide_a_newer_one(db: Connection, row: int, older_first: bool) -> None:
    """One call brings reports of both attempts, and the older attempt's outranks the other."""
    send_back(db, OLDER)
    accept(db, claim(db), NEWER)
    said = [
        SentReport(batch=OLDER, recipient=number(0), status="failed", code=15),
        SentReport(batch=NEWER, recipient=number(0), status="dispatched", code=401),
    ]

    report_all(db, *(said if older_first else reversed(said)))

    assert (column(db, "status", row), column(db, "status_code", row)) == ("dispatched", 401)


def test_older_delivery_outranks_a_newer_report(db: Connection, row: int) -> None:
    send_back(db, OLDER)
    accept(db, claim(db), NEWER)

    report_all(
        db,
        SentReport(batch=NEWER, recipient=number(0), status="failed", code=15),
        SentReport(batch=OLDER, recipient=number(0), status="delivered"),
    )

    assert column(db, "status", row) == "delivered"


def test_second_delivery_of_older_attempt_changes_nothing(db: Connection, row: int) -> None:
    send_back(db, OLDER)
    accept(db, claim(db), NEWER)
    report(db, NEWER, number(0), "delivered", at="2026-11-24T12:10:00Z")
    before = state(db, row)

    report(db, OLDER, number(0), "delivered", 15, at="2026-11-24T12:05:00Z")

    assert state(db, row) == before
    assert (column(db, "status_code", row), history(db, row)[-1]) == (0, "duplicate_send")


def test_delivery_before_the_acceptance_is_no_duplicate(db: Connection, row: int) -> None:
    """The older attempt is reported delivered while the newer one is ambiguous."""
    send_back(db, OLDER)
    newer = claim(db)

    report(db, OLDER, number(0), "delivered")

    assert "duplicate_send" not in history(db, row)
    accept(db, newer, NEWER)
    assert "duplicate_send" in history(db, row)


def test_history_names_the_request_that_failed(db: Connection, row: int) -> None:
    lost = lose(db)
    refused = claim(db)
    refuse(db, refused)

    told = db.execute("select event, dispatch_id::text from public.outbox_events where outbox_id = %s order by id", [row])

    assert told.fetchall() == [("not_found", lost["dispatch_id"]), ("refused", refused["dispatch_id"])]


@pytest.mark.parametrize("older_last", [True, False])
def test_duplicate_send_is_logged_once(db: Connection, row: int, older_last: bool) -> None:
    lost = lose(db)
    found = [(lost, OLDER), (claim(db), NEWER)]

    for dispatch, batch in (found[::-1] if older_last else found) * 2:
        accept(db, dispatch, batch)
    assert duplicates_recorded(db, row) == (1, 1)
    accept(db, found[1][0], "B3")

    assert duplicates_recorded(db, row) == (2, 2), "another batch of the newer request, at the same instant"


def duplicates_recorded(db: Connection, row: int) -> tuple[int, int]:
    """How often a duplicate send is in the history, and how often an alarm was raised."""
    alarms: Any = db.execute("select count(*) from outbox_engine.alarms where kind = 'message.duplicate_send'").fetchone()
    return history(db, row).count("duplicate_send"), alarms[0]


def test_duplicate_send_is_logged_when_both_are_accepted(db: Connection, row: int) -> None:
    """The older attempt alone is no duplicate send: the provider may still refuse the newer one."""
    lost = lose(db)
    newer = claim(db)

    accept(db, lost, OLDER)
    accept(db, lost, OLDER)
    assert "duplicate_send" not in history(db, row)
    accept(db, newer, NEWER)

    assert history(db, row)[-1] == "duplicate_send"


def test_the_first_batch_of_a_request_counts(db: Connection, row: int) -> None:
    """A lookup finds two batches: something in the network repeated the request."""
    dispatch = claim(db)
    mark_ambiguous(db, dispatch)
    later(db, "1 second")

    look_up(db, dispatch, [OLDER, NEWER])

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", OLDER)
    assert "duplicate_send" in history(db, row)


def test_temporary_failure_after_dispatched_is_sent_again(db: Connection, row: int) -> None:
    """Sinch says of the code that the phone never got the text."""
    accept(db, claim(db), "B1")
    for status, code in (("dispatched", 401), ("aborted", 404)):
        report(db, "B1", number(0), status, code)

    assert column(db, "status", row) == "pending"


@pytest.mark.parametrize(("attempts", "least", "most"), [(1, 45, 75), (2, 90, 150), (3, 180, 300), (4, 360, 600)])
def test_retry_delays_grow_with_each_attempt(db: Connection, row: int, attempts: int, least: int, most: int) -> None:
    """From about a minute, doubled each time."""
    for attempt in range(1, attempts):
        accept(db, claim(db), f"B{attempt}")
        report(db, f"B{attempt}", number(0), "aborted", 404)
        later(db, "1 hour")

    accept(db, claim(db), "last")
    now = clock(db)
    report(db, "last", number(0), "aborted", 404)

    assert least <= (column(db, "due_at", row) - now).total_seconds() <= most


def clock(db: Connection) -> datetime:
    answer: Any = db.execute("select outbox_engine.now()").fetchone()
    assert isinstance(answer[0], datetime)
    return answer[0]
