"""Calls about messages that an operator picked, or writes."""

import psycopg
import pytest

from tests.engine import column, insert
from tests.outgoing import call
from tests.stack import Connection

LATER = "2150-01-01T00:00:00+00:00"


def audited(db: Connection) -> list[tuple[object, ...]]:
    return db.execute("select action, target from outbox_engine.audit order by id").fetchall()


def test_reschedule_moves_only_what_waits(db: Connection) -> None:
    first, second = insert(db, 2)
    db.execute("update public.outbox set status = 'cancelled' where id = %s", [second])

    preview = call(db, "reschedule_messages", [first, second, 4711], LATER, True)
    assert [(one["id"], one["done"], one["outcome"]) for one in preview] == [
        (first, True, "changed"),
        (second, False, "cancelled"),
    ]
    assert column(db, "status", first) == "pending"
    assert audited(db) == []

    call(db, "reschedule_messages", [first, second], LATER, False)
    assert column(db, "status", first) == "scheduled"
    assert audited(db) == [("reschedule_messages", str(first))]


def test_test_message_is_inserted_once(db: Connection) -> None:
    message = {"recipient": "+14155550123", "body": "Hello", "idempotency_key": "form-1"}

    number = call(db, "send_test_message", message)

    assert call(db, "send_test_message", message) == number
    assert column(db, "metadata", number) == {"test": True}
    assert audited(db) == [("send_test_message", str(number))]
    with pytest.raises(psycopg.DatabaseError, match="recipient"):
        call(db, "send_test_message", {"recipient": "0770", "body": "Hello"})
