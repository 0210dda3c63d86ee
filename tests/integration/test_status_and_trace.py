"""What operators see: the status of the whole outbox, its figures, and the history of one message."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from jobs.gateway.gateway import Gateway
from jobs.gateway.history import Trace
from jobs.gateway.operating import Operating, Suppression
from jobs.providers.base import Inbound, Report
from sandbox.local.stack import LocalStack
from sandbox.simulator import control as faults
from tests.calls import claim_all
from tests.engine import Clocks, MakeRig, Rig, column, insert, later, number, stand_still, statuses, supabase_settings
from tests.stack import Connection, as_engine


@pytest.fixture
async def operating(stack: LocalStack) -> AsyncIterator[Operating]:
    operating = await Operating.connect(supabase_settings(stack))
    yield operating
    await operating.aclose()


def events(trace: Trace | None) -> list[str]:
    assert trace is not None
    return [happening.event for happening in trace.timeline]


# Status


async def test_empty_outbox_has_an_empty_status(operating: Operating) -> None:
    status = await operating.status()

    assert (status.backlog.due.count, status.backlog.scheduled.count) == (0, 0)
    assert status.backlog.oldest_due_seconds is None
    assert status.requests.in_flight == status.requests.duplicate_sends == status.alarms_waiting == 0
    assert (status.pauses, status.jobs, status.plans) == ((), (), ())


async def test_backlog_counts_due_and_scheduled_rows(operating: Operating, db: Connection) -> None:
    """It states how long the oldest due row has waited."""
    start = datetime(2027, 1, 1, 10, tzinfo=UTC)
    db.execute("update outbox_engine.clock set frozen_at = %s", [start])
    insert(db, 2, priority=100)
    later(db, "60 seconds")
    insert(db, 1, priority=0)
    insert(db, 1, send_at=start + timedelta(minutes=2))
    insert(db, 3, send_at=start + timedelta(days=1))
    later(db, "120 seconds")

    backlog = (await operating.status()).backlog

    assert (backlog.due.count, backlog.due.exact) == (4, True)
    assert backlog.scheduled.count == 3
    assert backlog.oldest_due_seconds == 180
    assert backlog.next_due_at == start + timedelta(days=1)


async def test_estimate_of_due_rows_counts_each_queue_once(db: Connection) -> None:
    """The planner guesses how many queues there are, and a count over all of them came out forty times too high."""
    db.execute(
        "insert into public.outbox (recipient, body, priority, send_at) "
        "select '+12025550100', 'x', n % 8, outbox_engine.now() + interval '1 minute' from generate_series(1, 400) n"
    )
    later(db, "120 seconds")
    db.execute("analyze public.outbox")
    db.execute("analyze outbox_engine.priorities")

    row = db.execute("select outbox_engine.count_woken(outbox_engine.now(), 100)").fetchone()

    assert row is not None
    answer: Any = row[0]
    assert answer["exact"] is False
    assert 300 <= answer["count"] <= 500


async def test_slow_count_is_marked_as_an_estimate(db: Connection) -> None:
    insert(db, 200)
    db.execute("analyze public.outbox")

    row = db.execute("select outbox_engine.count_or_estimate('select from public.outbox where queue = ''r''', 10)").fetchone()

    assert row is not None
    answer: Any = row[0]
    assert answer["exact"] is False
    assert 100 <= answer["count"] <= 400


async def test_request_of_unknown_outcome_is_ambiguous(make_rig: MakeRig, operating: Operating, db: Connection) -> None:
    rig = await make_rig(lease_seconds=3)
    insert(db, 5)
    rig.simulator.add(faults.reset_after_accepting())

    await rig.tick("dispatch")

    requests = (await operating.status()).requests
    assert (requests.ambiguous, requests.ambiguous_messages, requests.in_flight) == (1, 5, 0)


async def test_batch_lacks_reports_only_after_a_reconciliation(
    rig: Rig, gateway: Gateway, operating: Operating, db: Connection
) -> None:
    rig.simulator.change(dispatch_delay=10_000, final_delay=10_000)
    insert(db, 1)
    insert(db, 1, first=1, body="another")
    await rig.tick("dispatch")
    row = db.execute("select batch_id from public.outbox where recipient = %s", [number(0)]).fetchone()
    assert row is not None
    await gateway.record_reports([Report(str(row[0]), number(0), "delivered", 0, None, None, "{}")], source="webhook")

    assert (await operating.status()).requests.batches_without_all_reports == 0
    later(db, "6 minutes")
    await rig.tick("reconcile")
    assert (await operating.status()).requests.batches_without_all_reports == 1


async def test_pauses_and_untaken_alarms_show_their_reasons(rig: Rig, operating: Operating, db: Connection) -> None:
    insert(db, 2)
    rig.simulator.add(faults.account_error(402))
    await rig.tick("dispatch")

    status = await operating.status()

    assert [(pause.kind, pause.probing) for pause in status.pauses] == [("account", False)]
    assert "402" in status.pauses[0].reason
    assert status.alarms_waiting == 1
    assert [(alarm.kind, alarm.acknowledged) for alarm in status.alarms] == [("plan.paused", False)]


async def test_every_job_records_a_heartbeat_per_ten_seconds(rig: Rig, operating: Operating, db: Connection) -> None:
    at = datetime(2027, 1, 1, 10, tzinfo=UTC)
    db.execute("update outbox_engine.clock set frozen_at = %s", [at])
    # Events leave their traces in deliveries, figures in the blocks they count.
    jobs = [job.name for job in rig.engine.jobs if job.name not in ("events", "figures")]
    await rig.tick(*jobs)
    later(db, "9 seconds")
    await rig.tick(*jobs)
    early = {tick.job: tick.at for tick in (await operating.status()).jobs}
    later(db, "2 seconds")
    await rig.tick(*jobs)

    status = await operating.status()

    assert early == dict.fromkeys(jobs, at)
    assert {tick.job: tick.at for tick in status.jobs} == dict.fromkeys(jobs, at + timedelta(seconds=11))
    assert len(status.processes) == 1


async def test_callbacks_record_a_heartbeat_of_the_webhook(rig: Rig, gateway: Gateway, operating: Operating) -> None:
    await gateway.record_reports([Report("b", number(0), "delivered", 0, None, None, "{}")], source="webhook")

    status = await operating.status()

    assert [tick.job for tick in status.jobs] == ["webhook"]
    assert status.requests.unmatched_reports == 1


async def test_idle_runs_write_nothing_between_two_heartbeats(rig: Rig, db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = now()")
    await rig.tick("dispatch")

    before = db.execute("select xmin::text, at from outbox_engine.heartbeats").fetchall()
    await rig.tick("dispatch", "dispatch")

    assert db.execute("select xmin::text, at from outbox_engine.heartbeats").fetchall() == before


def test_an_open_heartbeat_delays_no_other_process(db: Connection, other: Connection) -> None:
    other.execute("set lock_timeout = '1s'")

    with db.transaction():
        claim_all(db)
        assert claim_all(other) == []

    assert db.execute("select count(*) from outbox_engine.heartbeats").fetchone() == (1,)


@pytest.mark.parametrize(("seconds", "shown"), [(599, 1), (600, 0)])
async def test_processes_of_ten_minutes_are_shown(operating: Operating, db: Connection, seconds: int, shown: int) -> None:
    stand_still(db)
    claim_all(db)
    later(db, f"{seconds} seconds")

    status = await operating.status()

    assert (len(status.processes), len(status.jobs)) == (shown, 1)


def test_process_silent_for_a_day_begins_anew(db: Connection) -> None:
    stand_still(db)
    began = []
    for interval in ("0", "1 day", "24 hours 1 second"):
        later(db, interval)
        claim_all(db)
        began += db.execute("select since = at from outbox_engine.heartbeats").fetchall()

    assert began == [(True,), (False,), (True,)]


# Figures


async def test_figures_are_by_day_country_and_code(operating: Operating, db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = '2027-01-02 10:00Z'")
    for recipient, code in (("+12025550100", 0), ("+12025550101", 0), ("+14165550100", 0), ("+4915112345678", 402)):
        insert(db, 1)
        as_engine(
            db,
            "update public.outbox set recipient = %s, status = 'delivered', status_code = %s, parts = 2, queue = null,"
            " finalized_at = now() where id = (select max(id) from public.outbox)",
            [recipient, code],
        )

    answer = await operating.daily_figures(days=7)

    assert answer.days == 7
    assert {(str(f.day), f.country, f.status_code, f.messages, f.parts) for f in answer.figures} == {
        ("2027-01-02", "US", 0, 2, 4),
        ("2027-01-02", "CA", 0, 1, 2),
        ("2027-01-02", "DE", 402, 1, 2),
    }


async def test_figures_and_claim_agree_on_every_prefix(db: Connection) -> None:
    prefixes = db.execute("select distinct rpad(prefix, 11, '5') from outbox_engine.number_regions").fetchall()
    with db.cursor() as cursor:
        cursor.executemany("insert into public.outbox (recipient, body) values ('+' || %s, 'x')", prefixes)

    differing = db.execute(
        "select count(*) from (select country, count(*)"
        " from outbox_engine.countries_of(array(select recipient from public.outbox)) group by 1"
        " except select country, sum(messages) from public.outbox_figures group by 1) x"
    ).fetchone()

    assert differing == (0,)


def test_only_the_secret_key_reads_the_figures(stack: LocalStack, db: Connection) -> None:
    insert(db, 3, first=200)

    def read(key: str) -> httpx.Response:
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        return httpx.get(f"{stack.url}/rest/v1/outbox_figures?select=country,messages", headers=headers, timeout=20)

    assert read(stack.secret_key).json() == [{"country": "US", "messages": 3}]
    assert read(stack.publishable_key).status_code >= 400


# Trace


async def test_trace_covers_a_message_from_insert_to_end(
    make_rig: MakeRig, gateway: Gateway, operating: Operating, db: Connection, clocks: Clocks
) -> None:
    rig = await make_rig(lease_seconds=3)
    (row,) = insert(db)
    rig.simulator.add(faults.reset_before_accepting())
    await rig.tick("dispatch")
    for _ in range(3):
        clocks.move("21 seconds")
        await rig.tick("recover", "dispatch")
    later(db, "1 second")
    batch = column(db, "batch_id", row)
    await gateway.record_reports(
        [Report(batch, number(0), "rejected", 402, None, None, '{"type": "report"}')], source="webhook"
    )
    later(db, "1 second")
    await operating.retry([row], force=False, expires_in=None)
    later(db, "1 second")
    await rig.tick("dispatch")

    trace = await operating.trace(row, show_body=False)

    assert trace is not None
    assert " ".join(events(trace)) == (
        "inserted claimed ambiguous not_found closed not_found claimed accepted report retried claimed accepted"
    )
    assert [dispatch["state"] for dispatch in trace.dispatches] == ["not_found", "accepted", "accepted"]
    assert [dict(happening.report) for happening in trace.timeline if happening.report] == [{"type": "report"}]
    assert "body" not in trace.message
    assert (await operating.trace(row, show_body=True)).message["body"] == "hello"  # type: ignore[union-attr]


async def test_trace_begins_with_insert_despite_earlier_claim(rig: Rig, operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    db.execute("update outbox_engine.dispatches set claimed_at = claimed_at - interval '1 second'")

    trace = await operating.trace(row, show_body=False)

    assert events(trace) == ["inserted", "claimed", "accepted"]


async def test_trace_shows_requests_without_other_events(rig: Rig, operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    rig.simulator.add(faults.throttle(retry_after="1"))
    await rig.tick("dispatch")
    later(db, "2 seconds")
    await rig.tick("dispatch")

    trace = await operating.trace(row, show_body=False)

    assert events(trace) == ["inserted", "claimed", "closed", "claimed", "accepted"]


async def test_trace_lists_replies_without_their_text(gateway: Gateway, operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    at = datetime.now(UTC)
    await gateway.record_inbounds(
        [Inbound("i1", "mo_text", number(0), "+12025550100", "private words", at, None, "{}", provider="sinch")],
        source="webhook",
    )

    hidden = await operating.trace(row, show_body=False)
    shown = await operating.trace(row, show_body=True)

    assert events(hidden)[-1] == "inbound"
    assert "private words" not in repr(hidden)
    assert "private words" in repr(shown)


async def test_message_is_found_by_id_batch_or_key(rig: Rig, operating: Operating, db: Connection) -> None:
    """By its dispatch as well."""
    first, second = insert(db, 2)
    (keyed,) = insert(db, 1, idempotency_key="0123")
    db.execute("update public.outbox set body = 'another' where id = %s", [keyed])
    await rig.tick("dispatch")
    dispatch = str(column(db, "dispatch_id", first))
    batch = column(db, "batch_id", first)

    by_id = await operating.find(str(first))
    by_dispatch = await operating.find(dispatch)
    by_batch = await operating.find(batch)
    by_key = await operating.find("0123")
    nothing = await operating.find("no such thing")

    assert (by_id.read_as, [found.id for found in by_id.messages]) == ("id", [first])
    assert (by_dispatch.read_as, [found.id for found in by_dispatch.messages]) == ("dispatch", [first, second])
    assert (by_batch.read_as, [found.id for found in by_batch.messages]) == ("batch", [first, second])
    assert (by_key.read_as, [found.id for found in by_key.messages]) == ("idempotency_key", [keyed])
    assert nothing.messages == ()
    assert await operating.trace(999999, show_body=False) is None


# Opt-outs


async def test_imported_number_is_suppressed_and_reimport_changes_nothing(operating: Operating, db: Connection) -> None:
    insert(db, 2)
    listed = [Suppression(number(0), "", replied=False), Suppression(number(5), "moved", replied=True)]

    first = await operating.import_suppressions(listed)
    again = await operating.import_suppressions(
        [Suppression(number(0), "other", replied=False), Suppression(number(5), "other", replied=True)]
    )

    page = await operating.export_suppressions(after="", most=1)
    rest = await operating.export_suppressions(after=page[0].recipient, most=10)
    assert (first, again) == (2, 0)
    assert statuses(db) == {"suppressed": 1, "pending": 1}
    assert [(s.recipient, s.reason, s.replied) for s in (*page, *rest)] == [
        (number(0), "imported", False),
        (number(5), "moved", True),
    ]


async def test_pruning_removes_requests_without_history(rig: Rig, db: Connection) -> None:
    insert(db)
    rig.simulator.add(faults.throttle(retry_after="1"))
    await rig.tick("dispatch")
    later(db, "2 seconds")
    await rig.tick("dispatch")
    as_engine(db, "update public.outbox set status = 'delivered', finalized_at = now()")
    later(db, "200 days")

    await rig.tick("upkeep")

    for table in ("public.outbox", "outbox_engine.dispatch_members", "outbox_engine.dispatches"):
        assert db.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_the_status_never_reads_the_whole_table(db: Connection) -> None:
    insert(db, 10)
    db.execute("insert into public.outbox (recipient, body) select '+1202555' || 1000 + i, 'x' from generate_series(1, 5000) i")
    as_engine(db, "update public.outbox set status = 'delivered', queue = null, finalized_at = now() where id > 10")
    db.execute("vacuum analyze public.outbox")
    # Counters that this session has not reported yet are included in the transaction's.
    scans = "select seq_scan from pg_stat_xact_user_tables where relname in ('outbox', 'outbox_events') order by relname"

    with db.transaction():
        before = db.execute(scans).fetchall()
        db.execute("select public.outbox_status(), public.outbox_verdict()")
        after = db.execute(scans).fetchall()

    assert after == before
