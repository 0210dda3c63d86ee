"""Batches of the provider's list that a restored database adopts, given to the database one by one."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.gateway.values import letters_digest
from scheduler.cli import run_command_line
from tests.calls import accept, claim, claim_all, plan_claim, report
from tests.engine import column, history, insert, later, number, statuses
from tests.integration.test_restored import V4
from tests.stack import Connection


def listed(
    db: Connection,
    *recipients: str,
    text: str | None = "hello",
    batch: str = "b",
    at: str = "now",
    reference: Callable[[str], str | None] = str,
) -> dict[str, Any]:
    """Adopt a batch of this installation that the database does not know. Each recipient got ``text``; ``at`` is its time.

    ``reference`` makes of its reference what the list shows.
    """
    (own,) = db.execute("select outbox_engine.new_dispatch_id()::text").fetchone() or ()
    digest = None if text is None else hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    letters = None if text is None else letters_digest(text)
    row = db.execute(
        "select public.outbox_adopt_batches('sinch', 'p', 'h', 'c', jsonb_build_array(jsonb_build_object("
        " 'batch_id', %s::text, 'reference', %s::text, 'created_at', %s::timestamptz,"
        " 'recipients', %s::jsonb, 'digests', %s::jsonb, 'letters', %s::jsonb))::text, false, '{}', false)",
        [
            batch,
            reference(str(own)),
            at,
            *(json.dumps(one) for one in (recipients, [digest] * len(recipients), [letters] * len(recipients))),
        ],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def alarms(db: Connection) -> list[object]:
    return [kind for (kind,) in db.execute("select kind from outbox_engine.alarms order by id")]


def claimed(db: Connection) -> set[int]:
    """The messages that one claim takes."""
    claim_all(db)
    return {int(str(id_)) for (id_,) in db.execute("select id from public.outbox where status = 'sending'")}


def make_end(db: Connection, row: int, end: str) -> None:
    if end == "expired":
        db.execute("select public.outbox_upkeep(90, 90, 100)")
    elif end == "cancelled":
        db.execute("update public.outbox set status = 'cancelled' where id = %s", [row])
    else:
        db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'asked')", [number(0)])


def test_readable_part_of_a_batch_is_adopted(db: Connection) -> None:
    readable, unreadable, other_text = insert(db) + insert(db, first=1) + insert(db, first=2, body="other")

    done = listed(db, number(0), "")

    assert (done["adopted"], done["remembered"], done["unreadable"]) == (1, 0, 1)
    assert alarms(db) == ["adoption.numbers_unreadable"]
    assert claimed(db) == {other_text}
    assert (history(db, readable), history(db, unreadable)) == (["accepted"], ["held"])


def test_unreadable_number_holds_each_number_once(db: Connection) -> None:
    listed(db, number(0), "", "")
    first = insert(db, first=1) + insert(db, first=2)
    (named,) = insert(db)
    assert claimed(db) == set()

    db.execute("select public.outbox_send_held(%s, false)", [[*first, named]])
    second = insert(db) + insert(db, first=1)

    assert claimed(db) == {*first, named, *second}


def test_number_written_in_another_way_is_held(db: Connection) -> None:
    """Once for each remembered message, unless the text differs."""
    listed(db, f"+1{number(0)[1:]}")
    held, second, other_text = insert(db) + insert(db) + insert(db, body="another")

    assert claimed(db) == {second, other_text}
    assert db.execute("select outbox_id from outbox_engine.adopted_messages").fetchall() == [(held,)]


def test_number_that_its_batch_names_is_its_own(db: Connection) -> None:
    insert(db)
    listed(db, number(0), f"+1{number(0)[1:]}")

    again = set(insert(db))
    assert claimed(db) == again


@pytest.mark.parametrize("recipient", [number(0), f"+1{number(0)[1:]}", ""])
@pytest.mark.parametrize(
    ("sent", "shown"), [("At 9, Ada\u2019s \r\n", "at 9 Ada's"), ("\u0434\u0430\u00a0!", "\u0434\u0430 !")]
)
def test_text_shown_in_another_way_is_held(db: Connection, sent: str, shown: str, recipient: str) -> None:
    """A text without ASCII letters is compared only where its number is known, and with what waited then."""
    due, later, other = insert(db, body=sent) + insert(db, body=sent) + insert(db, first=2, body="another")
    db.execute("update public.outbox set send_at = now() + interval '1 hour' where id = %s", [later])
    db.execute("update public.outbox set due_at = now() where id = %s", [later])

    assert listed(db, recipient, text=shown)["adopted"] == 0

    is_told = shown.isascii() or recipient != ""
    assert claimed(db) == ({later, other} if is_told else {due, later, other})


NO_REFERENCES: dict[str, Callable[[str], str | None]] = {
    "none": lambda _: None,
    "blank": lambda _: " ",
    "cut short": lambda own: own[:11],
    "written around": lambda own: f"<{own.upper()}>",
}


@pytest.mark.parametrize("reference", NO_REFERENCES.values(), ids=NO_REFERENCES)
def test_batch_without_its_reference_holds_messages(db: Connection, reference: Callable[[str], str | None]) -> None:
    ids = insert(db) + insert(db) + insert(db, first=1) + insert(db, body="another")

    done = listed(db, number(0), number(5), reference=reference)
    again = listed(db, number(0), number(5), reference=reference)

    assert (done["doubtful"], done["adopted"], done["remembered"], done["held"]) == (1, 0, 2, 1)
    assert (again["known"], again["doubtful"], again["remembered"]) == (1, 0, 0)
    assert claimed(db) == set(ids[1:])
    assert history(db, ids[0]) == ["held"]


def test_reference_that_is_shown_later_adopts(db: Connection) -> None:
    insert(db)
    listed(db, number(0), reference=lambda _: None)
    assert claimed(db) == set()

    assert listed(db, number(0))["adopted"] == 1

    assert statuses(db) == {"sent": 1}
    (again,) = insert(db)
    assert claimed(db) == {again}


def test_report_on_a_remembered_batch_pauses_nothing(db: Connection) -> None:
    """It carries the reference that the list left out."""
    (own,) = db.execute("select outbox_engine.new_dispatch_id()::text").fetchone() or ()
    listed(db, number(0), reference=lambda _: None)

    report(db, "b", number(0), "delivered", reference=str(own))

    assert "paused" not in plan_claim(db)
    report(db, "another", number(0), "delivered", reference=str(own))
    assert plan_claim(db)["paused"] == "restored"


def test_other_batches_hold_no_message(db: Connection) -> None:
    """Those with a reference of another application, and those that the database knows by their id."""
    insert(db)
    accept(db, claim(db), "known")
    (again,) = insert(db)

    assert listed(db, number(0), batch="a", reference=lambda _: "order 7")["other"] == 1
    assert listed(db, number(0), batch="b", reference=lambda _: V4)["other"] == 1
    assert listed(db, number(0), batch="known", reference=lambda _: None)["known"] == 1
    assert claimed(db) == {again}


@pytest.mark.parametrize("text", [None, "x"])
def test_unknown_texts_hold_what_was_due_then(db: Connection, text: str | None) -> None:
    due, later = insert(db) + insert(db, first=1, body="for tomorrow")
    db.execute("update public.outbox set send_at = now() + interval '1 day' where id = %s", [later])
    db.execute("update public.outbox set due_at = now() where id = %s", [later])

    listed(db, "", text=text)

    assert claimed(db) == ({later} if text is None else {due, later})


def test_forgotten_batch_holds_nothing_more(project: None, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    listed(db, number(5), "")

    assert run_command_line(["held", "--forget", "b", "--send-all"]) == 2
    assert run_command_line(["held", "--forget", "b"]) == 0
    assert "batch b holds no more messages" in capsys.readouterr().out
    assert run_command_line(["held", "--forget", "b"]) == 1

    ids = insert(db) + insert(db, first=5)
    assert claimed(db) == {ids[0]}
    assert statuses(db) == {"sending": 1, "scheduled": 1}


def test_reports_of_remembered_batches_match_no_message(db: Connection) -> None:
    listed(db, number(0), "")
    report(db, "b", number(0), "delivered")
    report(db, "b", number(1), "delivered")
    report(db, "another", number(0), "delivered")

    row = db.execute("select public.outbox_status() -> 'requests' -> 'unmatched_reports'").fetchone()
    assert row == (1,)


@pytest.mark.parametrize("end", ["expired", "cancelled", "suppressed"])
def test_ended_message_that_was_sent_becomes_sent(db: Connection, end: str) -> None:
    (row,) = insert(db, expires_at=datetime.now(UTC) + timedelta(hours=1))
    sent_at = datetime.now(UTC).isoformat()
    later(db, "61 minutes")
    make_end(db, row, end)
    assert column(db, "status", row) == end

    assert listed(db, number(0), at=sent_at, batch="a")["adopted"] == 1
    assert listed(db, number(0), at=sent_at, batch="b")["remembered"] == 1

    assert (column(db, "status", row), column(db, "batch_id", row), column(db, "finalized_at", row)) == ("sent", "a", None)
    assert (history(db, row)[-2:], column(db, "error", row)) == ([end, "accepted"], None)
    report(db, "a", number(0), "delivered")
    assert column(db, "status", row) == "delivered"


def test_expired_message_comes_before_younger_one(db: Connection) -> None:
    (older,) = insert(db, expires_at=datetime.now(UTC) + timedelta(hours=1))
    (younger,) = insert(db)
    sent_at = datetime.now(UTC).isoformat()
    later(db, "61 minutes")
    make_end(db, older, "expired")

    assert [listed(db, number(0), at=sent_at, batch=batch)["taken"] for batch in "ab"] == [[older], [younger]]


@pytest.mark.parametrize("case", ["ended before", "another text", "sent before"])
def test_other_ended_messages_stay_as_they_are(db: Connection, case: str) -> None:
    (row,) = insert(db, expires_at=datetime.now(UTC) + timedelta(hours=1))
    if case == "sent before":
        accept(db, claim(db), "earlier")
    later(db, "61 minutes")
    if case == "sent before":
        report(db, "earlier", number(0), "expired")
    else:
        make_end(db, row, "expired")
    at = datetime.now(UTC) + timedelta(hours=2 if case == "ended before" else 0)

    done = listed(db, number(0), at=at.isoformat(), text="other" if case == "another text" else "hello")

    assert (done["adopted"], done["remembered"], column(db, "status", row)) == (0, 1, "expired")
