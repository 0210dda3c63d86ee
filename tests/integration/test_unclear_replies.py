"""Replies that may be opt-outs: they change nothing, wait for a person, and count as the person decides."""

from typing import Any

import psycopg
import pytest

from tests.engine import SENDER, Clocks, insert, number, statuses
from tests.integration.replies import NOW, PHONE, suppressed, text_in
from tests.stack import Connection

UNCLEAR = "please don't stop"


@pytest.fixture(autouse=True)
def noon(clocks: Clocks) -> None:
    clocks.set(NOW)


def decide(db: Connection, *ids: str, opt_out: bool = True, dry_run: bool = False) -> list[tuple[str, bool]]:
    """The outcome of each, by id."""
    rows = db.execute("select public.outbox_decide_replies(%s, %s, %s)", [list(ids), opt_out, dry_run]).fetchall()[0][0]
    return [(row["outcome"], row["done"]) for row in rows]  # type: ignore[attr-defined]


def listed(db: Connection, *, unclear: bool = True, before: tuple[object, object] = (None, None), most: int = 10) -> list[Any]:
    row = db.execute("select public.outbox_list_replies(%s, %s, %s, %s)", [unclear, *before, most]).fetchone()
    assert row is not None
    return list(row[0])  # type: ignore[call-overload, no-any-return]


def test_unclear_reply_changes_nothing_and_is_listed(db: Connection) -> None:
    insert(db, first=1)
    text_in(db, UNCLEAR, name="a")
    text_in(db, "See you", name="b")

    assert (suppressed(db), statuses(db)) == ([], {"pending": 1})
    assert [(row["id"], row["sender"], row["body"], row["unclear"]) for row in listed(db)] == [("a", PHONE, UNCLEAR, True)]
    assert [row["id"] for row in listed(db, unclear=False)] == ["b", "a"]


def test_unclear_start_lifts_nothing(db: Connection) -> None:
    text_in(db, "STOP", ago=60)
    text_in(db, "please start again next week")
    assert suppressed(db) == [(PHONE, "replied STOP")]


def test_decided_opt_out_counts_as_stop(db: Connection) -> None:
    insert(db, first=1)
    text_in(db, UNCLEAR, name="a", ago=60)

    assert decide(db, "a", dry_run=True) == [("opted_out", True)]
    assert suppressed(db) == []
    assert decide(db, "a") == [("opted_out", True)]

    assert (suppressed(db), statuses(db), listed(db)) == ([(PHONE, "replied STOP")], {"suppressed": 1}, [])
    text_in(db, "START", ago=30)
    assert suppressed(db) == []


def test_decision_counts_from_the_replys_time(db: Connection) -> None:
    text_in(db, UNCLEAR, ago=60, name="a")
    text_in(db, "START", ago=30)
    assert decide(db, "a") == [("superseded", True)]
    assert suppressed(db) == []


def test_repeated_decisions_change_nothing(db: Connection) -> None:
    for name in "ab":
        text_in(db, UNCLEAR, name=name, phone=number(ord(name)))

    assert decide(db, "a", "a", "b") == [("opted_out", True)] * 2
    assert decide(db, "b", "a") == [("opted_out", True)] * 2
    assert decide(db, "a", opt_out=False) == [("is_opt_out", False)]
    assert len(suppressed(db)) == 2


def test_dismissed_reply_may_still_become_an_opt_out(db: Connection) -> None:
    text_in(db, UNCLEAR, name="a")
    assert decide(db, "a", opt_out=False) == [("dismissed", True)]
    assert decide(db, "a", opt_out=False) == [("dismissed", True)]
    assert (suppressed(db), listed(db)) == ([], [])

    assert decide(db, "a") == [("opted_out", True)]
    assert suppressed(db) == [(PHONE, "replied STOP")]


def test_other_replies_can_be_decided_too(db: Connection) -> None:
    """A person reads more than the list of words."""
    text_in(db, "leave me alone", name="a")
    text_in(db, "leave me alone", name="b", phone="Acme")
    text_in(db, UNCLEAR, name="c", phone="12345")
    assert listed(db) == []

    assert decide(db, "a", opt_out=False) == [("not_unclear", False)]
    assert decide(db, "a", "b", "c", "d") == [
        ("opted_out", True), ("no_number", False), ("no_number", False), ("missing", False),
    ]  # fmt: skip
    assert suppressed(db) == [(PHONE, "replied STOP")]


def test_pages_of_replies_follow_each_other(db: Connection, clocks: Clocks) -> None:
    for n in range(6):
        text_in(db, UNCLEAR, name=f"r{n}", phone=number(n))
        if n % 2:
            clocks.move("1 second")
    seen: list[str] = []
    before: tuple[object, object] = (None, None)
    while page := listed(db, before=before, most=2):
        seen += [row["id"] for row in page]
        before = (page[-1]["recorded_at"], page[-1]["id"])
    assert seen == [f"r{n}" for n in reversed(range(6))]


def test_operators_hear_of_unclear_replies(db: Connection, clocks: Clocks) -> None:
    """At most once in six hours when one comes, and once a day while one waits."""

    def alarms() -> int:
        return len(db.execute("select from outbox_engine.alarms where kind = 'reply.unclear'").fetchall())

    def tend(hours: int) -> int:
        clocks.move(f"{hours} hours")
        db.execute("select public.outbox_upkeep(90, null, 1000)")
        return alarms()

    text_in(db, UNCLEAR, name="a")
    text_in(db, UNCLEAR, name="b")
    assert alarms() == 1
    assert (tend(7), tend(16), tend(2)) == (1, 1, 2)
    text_in(db, UNCLEAR, name="c")
    assert alarms() == 2
    status = db.execute("select public.outbox_status() -> 'unclear_replies'").fetchall()[0][0]
    assert (status["count"], status["oldest_at"][:16]) == (3, f"{NOW:%Y-%m-%dT%H:%M}")  # type: ignore[index]

    decide(db, "a", "b", "c", opt_out=False)
    assert tend(48) == 2
    assert db.execute("select public.outbox_status() -> 'unclear_replies' ->> 'count'").fetchone() == ("0",)


@pytest.mark.parametrize("to", ["", "12345", SENDER])
def test_stop_without_time_counts_from_its_arrival(db: Connection, to: str) -> None:
    text_in(db, "START", ago=60, name="before")
    record = (
        "select public.outbox_record_inbounds('webhook', '{sinch}', '{a}', '{text}', array[%s], array[%s], '{STOP}', '{\"\"}',"
        " '{\"\"}', '{\"{}\"}')"
    )
    db.execute(record, [PHONE, to])

    assert suppressed(db) == [(PHONE, "replied STOP")]
    assert db.execute("select received_at from public.outbox_inbound where id = 'a'").fetchone() == (NOW,)


def test_help_without_our_number_is_not_answered(db: Connection) -> None:
    """The answer would come from another number than was written to."""
    db.execute("update public.outbox_opt_out_words set reply = 'Acme' where word = 'HELP'")
    text_in(db, "HELP", to="")
    assert statuses(db) == {}


def test_two_people_may_decide_at_once(db: Connection, other: Connection) -> None:
    text_in(db, UNCLEAR, name="a")
    text_in(db, UNCLEAR, name="b", phone=number(2))
    with db.transaction():
        decide(db, "b", "a")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("set lock_timeout = '50ms'; select public.outbox_decide_replies('{a,b}', true, false)")
    other.execute("reset lock_timeout")
    assert decide(other, "a", "b") == [("opted_out", True)] * 2


def test_retention_leaves_a_reply_being_decided(db: Connection, other: Connection, clocks: Clocks) -> None:
    text_in(db, UNCLEAR, name="a")
    clocks.move("91 days")
    with other.transaction():
        decide(other, "a")
        db.execute("select public.outbox_upkeep(90, null, 1000)")
    assert db.execute("select count(*) from public.outbox_inbound").fetchone() == (1,)
