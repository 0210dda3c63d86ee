"""Pairs of calls that lock the same things. Each pair deadlocked before both took one order (docs/decisions/0008)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.local.processes import wait_until
from tests.calls import accept, claim, claim_all, claim_lookups, find_nothing, mark_ambiguous, refuse, release, renew
from tests.engine import column, insert, later, number, statuses
from tests.integration.replies import NOW, carrier_blocks, suppressed, text_in
from tests.races import is_waited_for, overlap
from tests.stack import Connection, as_engine

LOCK = "select from public.outbox where id = %s for update"


def cross(holder: Connection, first: Callable[[], object], meanwhile: Callable[[], object], then: Callable[[], object]) -> None:
    """``holder`` runs ``first`` and ``then`` in one transaction. ``meanwhile`` runs in between, on another connection."""
    with ThreadPoolExecutor(1) as thread:
        with holder.transaction():
            first()
            later = thread.submit(meanwhile)
            assert wait_until(lambda: later.done() or is_waited_for(holder), 10)
            then()
        later.result(10)


def cross_messages(db: Connection, ids: list[int], meanwhile: Callable[[], object]) -> None:
    """Lock messages by id, as every call that locks several of them does, while ``meanwhile`` runs."""
    low, high = sorted(ids)
    cross(db, lambda: db.execute(LOCK, [low]), meanwhile, lambda: db.execute(f"{LOCK} nowait".encode(), [high]))


def insert_high_number_first(db: Connection, **columns: Any) -> list[int]:
    """Two messages whose order by id is not their order by number."""
    return [row for n in (2, 1) for row in insert(db, first=n, **columns)]


# Messages by id


def test_suppressions_import_waits_for_no_message(db: Connection, other: Connection) -> None:
    low, high = insert_high_number_first(db, send_at="2099-01-01")
    numbers = [number(1), number(2)]

    cross_messages(
        db,
        [low, high],
        lambda: other.execute("select public.outbox_import_suppressions(%s, '{\"\",\"\"}', '{reply,operator}')", [numbers]),
    )

    assert [recipient for recipient, _ in suppressed(db)] == numbers
    assert (column(db, "status", low), column(db, "status", high)) == ("scheduled", "suppressed")


def test_claim_suppresses_rows_that_an_import_left(db: Connection, other: Connection) -> None:
    (row,) = insert(db)

    overlap(
        db,
        lambda: db.execute(LOCK, [row]),
        lambda: other.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(0)]),
    )

    assert claim_all(db) == []
    assert column(db, "status", row) == "suppressed"


@pytest.mark.parametrize("texts", ["hello", "a text of its own"])
def test_refused_halves_lock_messages_by_id(db: Connection, other: Connection, texts: str) -> None:
    rows = [row for n in (4, 3, 2, 1) for row in insert(db, first=n)]
    halves = refuse(db, claim(db), "shared")
    db.execute("update outbox_engine.dispatches set texts_differ = %s", [texts != "hello"])
    refuse(db, halves[0], "shared")

    cross_messages(db, rows[:2], lambda: refuse(other, halves[1], "shared"))

    assert {column(db, "status", row) for row in rows} == {"sending" if texts == "hello" else "pending"}


def test_given_up_lookup_locks_messages_by_id(db: Connection, other: Connection) -> None:
    rows = insert_high_number_first(db)
    mark_ambiguous(db, claim(db))
    later(db, "14 days")

    cross_messages(db, rows, lambda: other.execute("select public.outbox_claim_lookups('sinch', 'p', 'h', 1, 100::smallint)"))

    assert {column(db, "status", row) for row in rows} == {"unknown"}


def test_missing_reports_are_given_up_without_waiting(db: Connection, other: Connection) -> None:
    rows = insert_high_number_first(db)
    accept(db, claim(db), "B1")
    later(db, "20 days")

    cross_messages(db, rows, lambda: other.execute("select public.outbox_claim_reconciliation('sinch', 'p', 10::smallint)"))


def test_upkeep_prunes_without_waiting(db: Connection, other: Connection) -> None:
    rows = insert(db, 2)
    db.execute("update public.outbox set cancel_requested_at = now()")
    claim_all(db)
    later(db, "100 days")
    upkeep = "select public.outbox_upkeep(90, null, 1000)"

    overlap(db, lambda: db.execute(LOCK, rows[:1]), lambda: other.execute(upkeep))
    left = db.execute("select id from public.outbox").fetchall()
    for _ in range(2):
        db.execute(upkeep)

    assert left == [(rows[0],)]
    assert db.execute("select count(*) from public.outbox").fetchone() == (0,)


def test_upkeep_expires_without_waiting(db: Connection, other: Connection) -> None:
    rows = insert(db, 2)
    later(db, "4 days")
    other.execute("set lock_timeout = '1s'")

    with db.transaction():
        db.execute(LOCK, rows[:1])
        other.execute("select public.outbox_upkeep(90, null, 1000)")

    assert statuses(db) == {"pending": 1, "expired": 1}


def test_late_acceptance_locks_messages_by_id(db: Connection, other: Connection) -> None:
    low, high = insert(db, 2)
    lost = claim(db)
    find_nothing(db)
    db.execute("update public.outbox set queue = 'w', due_at = due_at + interval '1 hour' where id = %s", [high])
    claim(db)

    cross_messages(db, [low, high], lambda: accept(other, lost, "B1"))


def two_reports(db: Connection) -> tuple[list[int], str, list[object]]:
    """Two messages, and the call that reports both. One report proves a request to have arrived that is not accepted yet."""
    rows = insert(db)
    accept(db, claim(db), "B1")
    rows += insert(db, first=1)
    call = (
        "select public.outbox_record_reports('webhook', '{B1,B2}', %s, '{delivered,delivered}', '{0,0}', '{\"\",\"\"}',"
        ' %s, \'{"{}","{}"}\')'
    )
    return rows, call, [[number(0), number(1)], ["", claim(db)["dispatch_id"]]]


def test_group_of_reports_locks_messages_by_id(db: Connection, other: Connection) -> None:
    rows, call, arguments = two_reports(db)

    cross_messages(db, rows, lambda: other.execute(call.encode(), arguments))

    assert {column(db, "status", row) for row in rows} == {"delivered"}


@pytest.mark.parametrize("act", ["outbox_cancel(%s, false)", "outbox_retry(%s, true, null, false)"])
def test_operators_hold_nothing_while_they_wait(db: Connection, other: Connection, act: str) -> None:
    """An app that cancels by key locks messages in the order of the keys, which no trigger can change."""
    low, high = insert(db, idempotency_key="b") + insert(db, first=1, idempotency_key="a")
    by_key = "update public.outbox set status = 'cancelled' where idempotency_key = %s"
    db.execute("set role service_role")

    cross(
        db,
        lambda: db.execute(by_key, ["a"]),
        lambda: other.execute(f"select public.{act}".encode(), [[low, high]]),
        lambda: db.execute(by_key, ["b"]),
    )

    assert {column(db, "status", row) for row in (low, high)} == {"cancelled" if "cancel" in act else "pending"}


# The list of opt-outs: its rows, then consents, then new rows, each by number


def test_stop_and_late_opt_out_code_pass(db: Connection, other: Connection) -> None:
    """The report is about a message that is queued again."""
    db.execute("update outbox_engine.clock set frozen_at = %s", [NOW])
    (row,) = insert(db, first=1)
    dispatch = claim(db)
    accept(db, dispatch, "B1")
    as_engine(db, "update public.outbox set status = 'pending', queue = 'w', due_at = due_at + interval '1 minute'")

    cross(db, lambda: db.execute(LOCK, [row]), lambda: text_in(other, "STOP"), lambda: carrier_blocks(db))

    assert [recipient for recipient, _ in suppressed(db)] == [number(1)]


def test_stops_and_import_take_one_order(db: Connection, other: Connection) -> None:
    """The import writes the second number's row; the replies come from both."""
    lock = "select from public.outbox_suppressions where recipient = %s for update"
    import_ = "select public.outbox_import_suppressions(%s, '{\"\",\"\"}', '{reply,operator}')"
    with ThreadPoolExecutor(1) as thread:
        with db.transaction():
            db.execute("insert into outbox_engine.consents values (%s, true, now(), null)", [number(1)])
            later = thread.submit(lambda: other.execute(import_, [[number(1), number(2)]]))
            assert wait_until(lambda: later.done() or is_waited_for(db), 10)
            db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(2)])
            db.execute(f"{lock} nowait".encode(), [number(2)])
        later.result(10)


def test_lifting_a_suppression_and_stop_pass(db: Connection, other: Connection) -> None:
    """A deletion locks its row before its trigger, which the test calls by hand, writes the number's consent."""
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(1)])
    db.execute("set session_replication_role = replica")

    cross(
        db,
        lambda: db.execute("delete from public.outbox_suppressions"),
        lambda: text_in(other, "STOP"),
        lambda: db.execute("select outbox_engine.record_lifted(array[%s])", [number(1)]),
    )

    assert suppressed(db) == []


# Dispatches, then their plan, then its pauses, then messages


PLAN, PAUSES = (f"select from outbox_engine.{table} where plan = 'p' for update" for table in ("plans", "plan_pauses"))


def hold(db: Connection, lock: str, meanwhile: Callable[[], object], rows: list[int]) -> None:
    """While ``db`` has the plan or its pauses, ``meanwhile`` may not hold these messages."""
    cross(
        db, lambda: db.execute(lock.encode()), meanwhile, lambda: [db.execute(f"{LOCK} nowait".encode(), [row]) for row in rows]
    )


def count_refusal(db: Connection) -> None:
    """The text "hello" was refused once."""
    db.execute(
        "insert into outbox_engine.refused_contents"
        " (provider, plan, content, refusals, refusal_key, error, refused_at, claimed_at)"
        " values ('sinch', 'p', outbox_engine.content_key(null, 'hello'), 1, '400 no', 'HTTP 400 no', now(), now())"
    )


def test_acceptance_takes_plan_before_messages(db: Connection, other: Connection) -> None:
    rows = insert(db, 2)
    dispatch = claim(db)
    count_refusal(db)

    hold(db, PLAN, lambda: accept(other, dispatch, "B1"), rows)

    assert db.execute("select count(*) from outbox_engine.refused_contents").fetchone() == (0,)


def test_group_of_reports_takes_plan_before_messages(db: Connection, other: Connection) -> None:
    rows, call, arguments = two_reports(db)
    count_refusal(db)

    hold(db, PLAN, lambda: other.execute(call.encode(), arguments), rows)

    assert {column(db, "status", row) for row in rows} == {"delivered"}


def test_acceptance_lifts_pauses_before_messages(db: Connection, other: Connection) -> None:
    rows = insert(db, 2)
    dispatch = claim(db)
    db.execute("select outbox_engine.pause_plan('sinch', 'p', 'unreachable', '', 'timeout', 1)")
    later(db, "2 seconds")

    hold(db, PAUSES, lambda: accept(other, dispatch, "B1"), rows)

    assert db.execute("select count(*) from outbox_engine.plan_pauses").fetchone() == (0,)


def test_account_code_pauses_before_messages(db: Connection, other: Connection) -> None:
    (row,) = insert(db)
    accept(db, claim(db), "B1")
    db.execute("select outbox_engine.pause_plan('sinch', 'p', 'account', 'c', 'blocked', 1)")
    blocked = (
        "select public.outbox_record_reports('webhook', '{B1}', array[%s], '{failed}', '{413}', '{\"\"}', '{\"\"}', '{\"{}\"}')"
    )

    hold(db, PAUSES, lambda: other.execute(blocked, [number(0)]), [row])

    assert db.execute("select by_report from outbox_engine.plan_pauses").fetchall() == [(True,)]


@pytest.mark.parametrize("ends", ["silent", "ambiguous"])
def test_failed_requests_are_counted_after_the_plan(db: Connection, other: Connection, ends: str) -> None:
    """A request is lost while another one is refused, after so many that the plan pauses."""
    claim_all(db, position=0)
    (lost, row) = insert(db, 2)
    request = claim(db, position=0, rows=1)
    refused = claim(db, position=0, rows=1)
    if ends == "silent":
        later(db, "9 seconds")
        renew(db, refused)
    db.execute("select outbox_engine.count_failed_requests('sinch', 'p', 60, outbox_engine.now())")

    cross(
        db,
        lambda: db.execute("select outbox_engine.hold_plan('sinch', 'p')"),
        lambda: claim_lookups(other) if ends == "silent" else mark_ambiguous(other, request),
        lambda: refuse(db, refused, "unreachable"),
    )

    assert (column(db, "status", lost), column(db, "status", row)) == ("sending", "pending")


@pytest.mark.parametrize("ends", ["account", "released"])
def test_half_takes_plan_before_messages(db: Connection, other: Connection, ends: str) -> None:
    rows = insert(db, 2)
    one, half = refuse(db, claim(db), "shared")
    refuse(db, one, "shared")

    hold(db, PLAN, lambda: release(other, half) if ends == "released" else refuse(other, half, ends), rows)

    assert {column(db, "status", row) for row in rows} == {"pending"}
