"""Two forms of one number stop and start together: +52 and +521, +54 and +549, and Brazil's ninth digit."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.runtime.phone import short_form
from tests.engine import statuses
from tests.stack import Connection

PAIRS = [
    ("+525550123456", "+5215550123456"),
    ("+541150123456", "+5491150123456"),
    ("+551161234567", "+5511961234567"),
    ("+551191234567", "+5511991234567"),
]
BOTH = [*PAIRS, *((second, first) for first, second in PAIRS)]
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def suppressed(db: Connection) -> dict[str, str]:
    return {
        str(number): str(reason) for number, reason in db.execute("select recipient, reason from public.outbox_suppressions")
    }


def reply(db: Connection, number: str, words: str, at: datetime = NOW) -> None:
    db.execute(
        "select public.outbox_record_inbounds('webhook', '{sinch}', %s, '{mo_text}', %s, '{12025550100}', %s, %s,"
        " '{\"\"}', '{\"{}\"}')",
        [[f"{number} {words} {at}"], [number], [words], [at.isoformat()]],
    )


@pytest.fixture(autouse=True)
def noon(db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = %s", [NOW])


@pytest.mark.parametrize(("number", "twin"), BOTH)
def test_each_form_is_the_other_of_its_twin(number: str, twin: str, db: Connection) -> None:
    assert db.execute("select outbox_engine.twin_of(%s), outbox_engine.twin_of(%s)", [number, twin]).fetchone() == (
        twin,
        number,
    )
    assert short_form(number) == short_form(twin) == min(number, twin, key=len)


@pytest.mark.parametrize("number", ["+14155550123", "+447700900123", "+551132345678", "+5215", "+52", "+549", "+5511"])
def test_most_numbers_have_one_form(number: str, db: Connection) -> None:
    assert db.execute("select outbox_engine.twin_of(%s)", [number]).fetchone() == (None,)
    assert short_form(number) == number


@pytest.mark.parametrize(("number", "twin"), BOTH)
def test_stop_ends_messages_to_both_forms(number: str, twin: str, db: Connection) -> None:
    for recipient in (number, twin):
        db.execute("insert into public.outbox (recipient, body) values (%s, 'hi')", [recipient])

    reply(db, number, "STOP")

    assert suppressed(db) == {number: "replied STOP", twin: "replied STOP"}
    assert statuses(db) == {"suppressed": 2}


@pytest.mark.parametrize(("number", "twin"), BOTH)
def test_start_of_either_form_lifts_both(number: str, twin: str, db: Connection) -> None:
    reply(db, number, "STOP")

    reply(db, twin, "START", NOW - timedelta(hours=1))
    assert suppressed(db) == {number: "replied STOP", twin: "replied STOP"}
    reply(db, twin, "START", NOW)
    assert suppressed(db) == {number: "replied STOP", twin: "replied STOP"}
    db.execute("update outbox_engine.clock set frozen_at = %s", [NOW + timedelta(hours=1)])
    reply(db, twin, "START", NOW + timedelta(minutes=1))
    assert suppressed(db) == {}


@pytest.mark.parametrize(("number", "twin"), PAIRS)
def test_operator_decides_about_both_forms(number: str, twin: str, db: Connection) -> None:
    reply(db, number, "STOP")
    db.execute("update public.outbox_suppressions set reason = 'asked by phone' where recipient = %s", [twin])
    reply(db, number, "START", NOW + timedelta(seconds=1))
    assert suppressed(db) == {number: "asked by phone", twin: "asked by phone"}

    db.execute("delete from public.outbox_suppressions where recipient = %s", [number])

    assert suppressed(db) == {}


def test_providers_opt_out_stops_both_forms(db: Connection) -> None:
    number, twin = PAIRS[0]

    db.execute("select outbox_engine.apply_opt_outs(array[%s, %s], '{a,b}', array[%s, %s])", [number, "+12025550101", NOW, NOW])

    assert suppressed(db) == {number: "a", twin: "a", "+12025550101": "b"}


def test_import_of_both_forms_is_one_decision(db: Connection) -> None:
    number, twin = PAIRS[0]

    db.execute("select public.outbox_import_suppressions(%s, '{a,b}', '{operator,reply}')", [[number, twin]])

    assert set(suppressed(db)) == {number, twin}
    assert db.execute("select bool_or(by_engine) from public.outbox_suppressions").fetchone() == (False,)
