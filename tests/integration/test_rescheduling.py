"""`outbox_reschedule` answers whether it came in time, and revives what was never in a request."""

from datetime import datetime, timedelta

import psycopg
import pytest

from tests.calls import accept, claim, claim_all, refuse
from tests.changes import change, in_hours, reschedule
from tests.engine import column, history, insert, later, number, stand_still
from tests.races import overlap
from tests.stack import Connection


@pytest.mark.parametrize("app_first", [True, False])
def test_reschedule_during_a_claim_says_who_won(db: Connection, app: Connection, app_first: bool) -> None:
    (row,) = insert(db)
    tomorrow = in_hours(db, 24)

    if app_first:
        answer, during = overlap(app, lambda: reschedule(app, id=row, send_at=tomorrow), lambda: claim_all(db))
    else:
        during, answer = overlap(db, lambda: claim_all(db), lambda: reschedule(app, id=row, send_at=tomorrow))

    assert (answer["in_time"], answer["status"], len(during)) == (
        (True, "scheduled", 0) if app_first else (False, "sending", 1)
    )
    assert column(db, "send_at", row) == tomorrow if app_first else column(db, "send_at", row) < tomorrow


def test_moved_appointment_keeps_its_key(db: Connection, app: Connection) -> None:
    stand_still(db)
    (row,) = insert(db, send_at=in_hours(db, 1), expires_at=in_hours(db, 5), idempotency_key="appointment-42")
    change(app, row, status="cancelled")
    moved = in_hours(db, 30)

    answer = reschedule(app, idempotency_key="appointment-42", send_at=moved, body="Tomorrow at 9:00")

    # PostgreSQL leaves out zeros at the end of a fraction, so the times are compared as times.
    answer |= {name: datetime.fromisoformat(answer[name]) for name in ("send_at", "expires_at")}
    assert answer == {
        "id": row,
        "in_time": True,
        "outcome": "revived",
        "status": "scheduled",
        "send_at": moved,
        "expires_at": moved + timedelta(hours=4),
        "reason": None,
        "hint": None,
    }
    assert history(db, row) == ["cancelled", "revived"]
    later(db, "31 hours")
    assert claim(db)["body"] == "Tomorrow at 9:00"


def test_revived_message_without_a_time_goes_now(db: Connection, app: Connection) -> None:
    (row,) = insert(db)
    change(app, row, status="cancelled")
    later(db, "10 days")

    answer = reschedule(app, id=row)

    assert (answer["outcome"], answer["status"]) == ("revived", "pending")
    assert claim(db)["recipients"] == [number(0)]


def test_past_time_given_again_revives_too(db: Connection, app: Connection) -> None:
    (row,) = insert(db)
    stored = column(db, "send_at", row)
    change(app, row, status="cancelled")
    later(db, "10 days")

    answer = reschedule(app, id=row, send_at=stored)

    assert (answer["outcome"], answer["status"]) == ("revived", "pending")
    assert column(db, "expires_at - send_at", row) == timedelta(days=3)
    later(db, "1 second")
    assert reschedule(app, id=row, send_at=stored)["outcome"] == "unchanged"


@pytest.mark.parametrize(("expiry", "moved_to"), [("infinity", "2198-01-04"), ("2199-12-31", "2199-12-31 23:59:59.999999")])
def test_expiry_moves_within_the_calendar(db: Connection, app: Connection, expiry: str, moved_to: str) -> None:
    """Release 0.1.0 took messages that never expire."""
    (row,) = insert(db, send_at=in_hours(db, 1))
    db.execute("alter table public.outbox disable trigger user")
    try:
        db.execute("update public.outbox set expires_at = %s where id = %s", [expiry, row])
    finally:
        db.execute("alter table public.outbox enable trigger user")

    answer = reschedule(app, id=row, send_at="2198-01-01 00:00+00")

    assert answer["outcome"] == "changed"
    assert column(db, f"expires_at = '{moved_to}+00'", row) is True


def test_message_that_was_in_a_request_stays_cancelled(db: Connection, app: Connection) -> None:
    (row,) = insert(db, idempotency_key="k")
    dispatch = claim(db)
    change(app, row, status="cancelled")
    refuse(db, dispatch, "throttled")

    answer = reschedule(app, idempotency_key="k", send_at=in_hours(db, 1))

    assert (answer["in_time"], answer["outcome"], answer["status"]) == (False, "was_in_request", "cancelled")
    assert f"message {row} was in a request" in answer["reason"]


def test_reschedule_answers_that_it_is_too_late(db: Connection, app: Connection) -> None:
    (row,) = insert(db, idempotency_key="k")
    accept(db, claim(db), "B")

    answer = reschedule(app, idempotency_key="k", send_at=in_hours(db, 1))

    assert (answer["in_time"], answer["outcome"], answer["status"]) == (False, "too_late", "sent")
    assert answer["reason"] == f"message {row} is sent: it is too late to change it"


def test_reschedule_of_an_unknown_key_says_so(app: Connection) -> None:
    answer = reschedule(app, idempotency_key="nowhere")

    assert (answer["in_time"], answer["outcome"], answer["id"]) == (False, "missing", None)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no message is named"):
        reschedule(app, body="x")


def test_reschedule_without_changes_leaves_no_history(db: Connection, app: Connection) -> None:
    (row,) = insert(db)

    assert reschedule(app, id=row, body="hello")["outcome"] == "unchanged"
    assert history(db, row) == []
