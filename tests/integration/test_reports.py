"""Reports from callbacks and polling: any order and any repetition give the same row."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayRefused
from jobs.gateway.gateway import Gateway
from jobs.providers.base import Report, Summary, Unusable
from sandbox.simulator import control as faults
from sandbox.simulator.server import Running
from tests.calls import SentReport, accept, claim, find_nothing, look_up, mark_ambiguous, report_all
from tests.calls import report as report_one
from tests.engine import Clocks, MakeRig, Rig, column, history, insert, later, number, plan_of, statuses
from tests.nightly import examples
from tests.stack import Connection

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RANKS = ["sent", "dispatched", "unknown", "expired", "cancelled", "deleted", "aborted", "rejected", "failed", "delivered"]


def report(
    batch_id: str, status: str, code: int | None = None, *, at: datetime | None = NOON, n: int = 0, **more: str
) -> Report:
    return Report(batch_id, number(n), status, code, at, more.get("reference"), more.get("raw", "{}"))


@pytest.fixture(autouse=True)
def eleven(clocks: Clocks) -> None:
    clocks.set(NOON - timedelta(hours=1))


async def sent_row(rig: Rig, db: Connection) -> tuple[int, str]:
    """A message that was sent at eleven, and its batch. It is one o'clock now, so that a report of noon is believed."""
    db.execute("update outbox_engine.clock set frozen_at = %s, shift = '0'", [NOON - timedelta(hours=1)])
    (row,) = insert(db)
    await rig.tick("dispatch")
    later(db, "2 hours")
    return row, str(column(db, "batch_id", row))


@pytest.mark.parametrize("code", [402, 403, 405, 406, 408, 411])
async def test_permanent_abort_is_final_with_its_reason(rig: Rig, gateway: Gateway, db: Connection, code: int) -> None:
    row, batch = await sent_row(rig, db)

    await gateway.record_reports([report(batch, "aborted", code)], source="webhook")

    assert column(db, "status", row) == "aborted"
    assert column(db, "status_code", row) == code
    assert f"code {code}" in column(db, "error", row)
    assert column(db, "finalized_at", row) == NOON


async def test_temporary_failure_is_retried_up_to_five_attempts(rig: Rig, gateway: Gateway, db: Connection) -> None:
    row, batch = await sent_row(rig, db)

    for attempt in range(1, 5):
        await gateway.record_reports([report(batch, "aborted", 404)], source="webhook")
        assert (column(db, "status", row), column(db, "attempts", row)) == ("pending", attempt)
        later(db, "30 minutes")
        await rig.tick("dispatch")
        batch = str(column(db, "batch_id", row))
    await gateway.record_reports([report(batch, "aborted", 404)], source="webhook")

    assert (column(db, "status", row), column(db, "attempts", row)) == ("aborted", 5)


# The conditions that forbid a new attempt, and the final status of a row that returns then.
RETURNS = {
    None: "pending",
    "expires_at = outbox_engine.now()": "expired",
    "cancel_requested_at = outbox_engine.now()": "cancelled",
}


@examples(30)
@given(data=st.data())
async def test_any_order_of_reports_gives_one_row(data: st.DataObject, rig: Rig, gateway: Gateway, db: Connection) -> None:
    """Also if the row expired since, or a cancel was requested while it was in a request."""
    any_code = st.tuples(st.sampled_from(RANKS), st.sampled_from([0, 15, 401, 402]), st.integers(0, 2))
    statement = any_code | st.tuples(st.just("aborted"), st.just(404), st.integers(0, 2))
    said = data.draw(st.lists(statement, min_size=1, max_size=6))
    order = data.draw(st.permutations(said + data.draw(st.lists(st.sampled_from(said), max_size=3))))
    hindrance = data.draw(st.sampled_from(list(RETURNS)))
    row, batch = await sent_row(rig, db)
    if hindrance:
        db.execute(f"update public.outbox set {hindrance} where id = %s", [row])

    for status, code, minutes in order:
        await gateway.record_reports([report(batch, status, code, at=NOON + timedelta(minutes=minutes))], source="webhook")

    status, minutes, code = min(((s, m, c) for s, c, m in said), key=lambda r: (-RANKS.index(r[0]), r[1], r[2]))
    at = NOON + timedelta(minutes=minutes)
    ends = RETURNS[hindrance] if (status, code) == ("aborted", 404) else status
    assert (column(db, "status", row), column(db, "status_code", row)) == (ends, code)
    assert column(db, "reported_at", row) == at
    assert column(db, "finalized_at", row) == (None if ends in ("sent", "dispatched", "pending") else at)


@pytest.mark.parametrize(("lower", "higher"), list(pairwise(RANKS)))
def test_the_higher_of_two_statuses_counts(db: Connection, lower: str, higher: str) -> None:
    for n, order in enumerate([(lower, higher), (higher, lower)]):
        insert(db, first=n)
        accept(db, claim(db), f"B{n}")
        for status in order:
            report_one(db, f"B{n}", number(n), status)

    assert statuses(db) == {higher: 2}


@pytest.mark.parametrize("hindrance", RETURNS)
@pytest.mark.parametrize("final", [("rejected", 408), ("failed", 1), ("delivered", 0)])
async def test_temporary_failure_yields_to_higher_ranked_reports(
    rig: Rig, gateway: Gateway, db: Connection, hindrance: str | None, final: tuple[str, int]
) -> None:
    """Whether the reports come before the acceptance or after it."""
    said = [("aborted", 404), final]
    ends: list[object] = []

    for order in (said, said[::-1]):
        row, batch = await sent_row(rig, db)
        if hindrance:
            db.execute(f"update public.outbox set {hindrance} where id = %s", [row])
        for status, code in order:
            await gateway.record_reports([report(batch, status, code)], source="webhook")
        ends.append([column(db, name, row) for name in ("status", "status_code", "finalized_at")])

    assert ends == [[*final, NOON]] * 2


@pytest.mark.parametrize("hindrance", RETURNS)
async def test_earlier_temporary_failure_replaces_a_permanent_one(
    rig: Rig, gateway: Gateway, db: Connection, hindrance: str | None
) -> None:
    """The provider's list brings it after the callback of the later one."""
    row, batch = await sent_row(rig, db)
    if hindrance:
        db.execute(f"update public.outbox set {hindrance} where id = %s", [row])
    await gateway.record_reports([report(batch, "aborted", 402, at=NOON + timedelta(minutes=1))], source="webhook")

    await gateway.record_reports([report(batch, "aborted", 404)], source="reconcile")

    assert (column(db, "status", row), column(db, "status_code", row)) == (RETURNS[hindrance], 404)


async def test_row_ended_while_waiting_is_not_reopened(rig: Rig, gateway: Gateway, db: Connection) -> None:
    row, batch = await sent_row(rig, db)
    await gateway.record_reports([report(batch, "aborted", 404)], source="webhook")
    rig.simulator.text_in(sender=number(0), to="+12025550100", body="STOP")
    await rig.tick("inbound")
    ended = [column(db, name, row) for name in ("status", "error", "finalized_at")]

    await gateway.record_reports([report(batch, "aborted", 404, at=NOON - timedelta(minutes=1))], source="reconcile")

    assert ended[0] == "suppressed"
    assert [column(db, name, row) for name in ("status", "error", "finalized_at")] == ended
    assert column(db, "queue", row) is None


@pytest.mark.parametrize("codes", [(15, 0), (0, 15)])
async def test_lower_code_wins_between_simultaneous_deliveries(
    rig: Rig, gateway: Gateway, db: Connection, codes: tuple[int, int]
) -> None:
    row, batch = await sent_row(rig, db)

    for code in codes:
        await gateway.record_reports([report(batch, "delivered", code)], source="webhook")

    assert column(db, "status_code", row) == 0


async def test_a_repeated_report_changes_nothing(rig: Rig, gateway: Gateway, db: Connection) -> None:
    row, batch = await sent_row(rig, db)

    for _ in range(3):
        await gateway.record_reports([report(batch, "delivered", 0)] * 2, source="webhook")

    assert history(db, row) == ["accepted", "report"]


async def test_report_before_the_acceptance_is_matched_later(make_rig: MakeRig, gateway: Gateway, db: Connection) -> None:
    rig = await make_rig()
    (row,) = insert(db)
    (dispatch,) = await rig.claim()

    await gateway.record_reports([report("B1", "delivered", 0)], source="webhook")
    assert column(db, "status", row) == "sending"
    await gateway.accept([(dispatch.dispatch_id, "B1")], worker="w", lease=30, reconcile_after=300)

    assert column(db, "status", row) == "delivered"


async def test_report_with_the_reference_proves_arrival(make_rig: MakeRig, gateway: Gateway, db: Connection) -> None:
    rig = await make_rig()
    (row,) = insert(db)
    (dispatch,) = await rig.claim()

    await gateway.record_reports([report("B1", "dispatched", 401, reference=dispatch.dispatch_id)], source="webhook")

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("dispatched", "B1")


@pytest.mark.parametrize("configured", [None, 40])
async def test_batch_known_by_report_is_reconciled_on_schedule(
    make_rig: MakeRig, gateway: Gateway, db: Connection, configured: int | None
) -> None:
    rig = await make_rig(**({"reconcile_after_seconds": configured} if configured else {}))
    if configured:
        await sent_row(rig, db)
    insert(db, first=1)
    (dispatch,) = await rig.claim()

    await gateway.record_reports([report("B1", "dispatched", 401, n=1, reference=dispatch.dispatch_id)], source="webhook")

    waits = db.execute("select reconcile_at - accepted_at from outbox_engine.dispatches where batch_id = 'B1'").fetchone()
    assert waits == (timedelta(seconds=configured or 300),)


async def test_reports_of_unknown_batches_wait_fourteen_days(rig: Rig, gateway: Gateway, db: Connection) -> None:
    await gateway.record_reports([report("elsewhere", "delivered", 0)], source="webhook")
    await rig.tick("upkeep")
    assert db.execute("select count(*) from outbox_engine.waiting_reports").fetchone() == (1,)

    later(db, "15 days")
    await rig.tick("upkeep")

    assert db.execute("select count(*) from outbox_engine.waiting_reports").fetchone() == (0,)


def test_a_report_finds_its_batch_thirteen_days_later(db: Connection) -> None:
    report_one(db, "B1", number(0), "delivered")
    later(db, "13 days")
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    (row,) = insert(db)

    accept(db, claim(db), "B1")

    assert column(db, "status", row) == "delivered"


def test_a_report_that_waited_keeps_its_source(db: Connection) -> None:
    (row,) = insert(db)
    report_all(db, SentReport(batch="B1", recipient=number(0), status="dispatched"), source="reconcile")
    report_one(db, "B1", number(0), "delivered")

    accept(db, claim(db), "B1")

    found = db.execute("select status, source from public.outbox_events where outbox_id = %s and event = 'report'", [row])
    assert sorted(found.fetchall()) == [("delivered", "webhook"), ("dispatched", "reconcile")]


def test_a_reference_is_no_proof_for_another_number(db: Connection) -> None:
    (row,) = insert(db)
    dispatch = claim(db)

    report_one(db, "B1", number(7), "delivered", reference=dispatch["dispatch_id"])

    assert column(db, "status", row) == "sent", "the request arrived"
    assert history(db, row) == ["accepted"]
    assert db.execute("select count(*) from outbox_engine.waiting_reports").fetchone() == (1,)


async def test_report_on_a_foreign_number_keeps_its_age(rig: Rig, gateway: Gateway, db: Connection) -> None:
    """Its batch lacks the number, and upkeep does not extend how long the report waits."""
    (row,) = insert(db)
    await rig.tick("dispatch")
    await gateway.record_reports([report(column(db, "batch_id", row), "delivered", 0, n=1)], source="webhook")
    received = db.execute("select received_at from outbox_engine.waiting_reports").fetchone()

    later(db, "30 minutes")
    await rig.tick("upkeep")

    assert db.execute("select received_at from outbox_engine.waiting_reports").fetchone() == received


@pytest.mark.parametrize("first", [True, False])
async def test_second_batch_of_one_request_takes_reports(rig: Rig, gateway: Gateway, db: Connection, *, first: bool) -> None:
    """Something in the network repeated our request."""
    row, batch = await sent_row(rig, db)
    (dispatch,) = column(db, "array[dispatch_id::text]", row)
    reports = [report("again", "dispatched", 401, reference=dispatch), report("again", "delivered", 0)]
    await gateway.record_reports([report(batch, "unknown", 3)], source="webhook")

    for one in reports if first else reversed(reports):
        await gateway.record_reports([one], source="webhook")

    assert column(db, "status", row) == "delivered"


async def test_missing_reports_are_fetched(rig: Rig, db: Connection) -> None:
    insert(db, 3)
    insert(db, 60, first=10, body="many")
    await rig.tick("dispatch")
    rig.simulator.settle()

    later(db, "6 minutes")
    await rig.tick("reconcile")

    assert statuses(db) == {"delivered": 63}


async def test_unreported_row_is_unknown_day_after_expiry(rig: Rig, db: Connection) -> None:
    rig.simulator.change(dispatch_delay=10_000_000, final_delay=10_000_000)
    (row,) = insert(db)
    await rig.tick("dispatch")

    later(db, "3 days 23 hours")
    await rig.tick("reconcile")
    assert column(db, "status", row) == "sent"
    later(db, "2 hours")
    await rig.tick("reconcile")

    assert (column(db, "status", row), column(db, "error", row)) == ("unknown", "no report")


async def test_reports_are_fetched_after_downtime_before_giving_up(rig: Rig, db: Connection) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    rig.simulator.settle()
    later(db, "5 days")

    await rig.tick("reconcile")

    assert column(db, "status", row) == "delivered"


async def test_row_ended_before_its_acceptance_is_still_reconciled(db: Connection) -> None:
    """Until a day after its expiry."""
    insert(db)
    lost = claim(db)
    mark_ambiguous(db, lost)
    db.execute("update public.outbox set cancel_requested_at = outbox_engine.now()")
    find_nothing(db)
    look_up(db, lost, ["B1"])
    assert statuses(db) == {"cancelled": 1}

    def asked_for() -> list[object]:
        later(db, "1 hour")
        (answer,) = db.execute(
            "select public.outbox_claim_reconciliation('sinch', 'p', 10::smallint) #> '{feed,batches}'"
        ).fetchall()
        return list(answer)

    assert asked_for() == [["B1"]]
    assert asked_for() == [["B1"]]
    later(db, "4 days")
    assert asked_for() == [None]


async def test_missed_stop_is_fetched_and_suppresses_waiting_messages(rig: Rig, db: Connection) -> None:
    (row,) = insert(db, send_at=datetime.now(UTC) + timedelta(hours=1))
    rig.simulator.text_in(sender=number(0), to="+12025550100", body=" Stop! ")
    later(db, "1 minute")

    await rig.tick("inbound")

    assert column(db, "status", row) == "suppressed"


async def test_unreachable_provider_is_logged_once_and_polled_again(rig: Rig, db: Connection) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    rig.simulator.settle()
    rig.simulator.add(faults.unavailable_page(times=4, on="any"))

    with capture_logs() as logs:
        for _ in range(4):
            later(db, "10 minutes")
            await rig.tick("reconcile", "inbound")

    assert column(db, "status", row) == "delivered"
    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == ["provider.away", "provider.back"]


async def test_value_the_database_refuses_can_be_kept(gateway: Gateway, db: Connection) -> None:
    with pytest.raises(GatewayRefused):
        await gateway.record_reports([report("B1", "delivered", 0, raw='{"x": "\\u0000"}')], source="webhook")

    await gateway.keep_callbacks([Unusable("a NUL character", b'{"x": "\x00"}')])

    assert db.execute("select raw from outbox_engine.kept_callbacks").fetchone() == (b'{"x": "\x00"}',)


async def test_summary_makes_its_batch_due_for_reconciliation(
    rig: Rig, gateway: Gateway, sinch: Running, db: Connection
) -> None:
    _, batch = await sent_row(rig, db)

    await gateway.reconcile_soon([Summary(batch, None, "{}")])

    assert (await gateway.claim_reconciliation(plan_of(sinch), limit=10)).batches == (batch,)
