"""The commands of operators for messages: send again, cancel."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from jobs.gateway.gateway import Gateway
from jobs.gateway.operating import Operating, Outcome
from jobs.providers.base import Report
from sandbox.local.stack import LocalStack
from sandbox.simulator import control as faults
from tests.campaigns import template
from tests.engine import Clocks, MakeRig, Rig, column, history, insert, later, number, statuses, supabase_settings
from tests.stack import Connection, as_engine


@pytest.fixture
async def operating(stack: LocalStack) -> AsyncIterator[Operating]:
    operating = await Operating.connect(supabase_settings(stack))
    yield operating
    await operating.aclose()


async def report(gateway: Gateway, db: Connection, row: int, status: str, code: int = 0, *, minute: int = 1) -> None:
    at = datetime(2026, 1, 1, 10, minute, tzinfo=UTC)
    batch = column(db, "batch_id", row)
    await gateway.record_reports([Report(batch, column(db, "recipient", row), status, code, at, None, "{}")], source="webhook")


def insert_from_template(db: Connection, parameters: dict[str, str] | None) -> int:
    row = db.execute(
        "insert into public.outbox (recipient, template, parameters) values (%s, 'hi', %s) returning id",
        [number(1), parameters and Jsonb(parameters)],
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


async def retry(operating: Operating, *ids: int, force: bool = False, expires_in: float | None = None) -> list[Outcome]:
    return list(await operating.retry(ids, force=force, expires_in=expires_in))


# Sending again


@pytest.mark.parametrize("status", ["failed", "rejected", "aborted", "cancelled", "deleted"])
async def test_message_ended_by_the_provider_can_be_retried(
    rig: Rig, gateway: Gateway, operating: Operating, db: Connection, status: str
) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    await report(gateway, db, row, status, 402)

    (outcome,) = await retry(operating, row)
    waiting = statuses(db)
    await rig.tick("dispatch")

    assert outcome == Outcome(row, status, True, "retried")
    assert waiting == {"pending": 1}
    assert statuses(db) == {"sent": 1}
    assert rig.simulator.summary().batches == 2
    assert "retried" in history(db, row)
    assert db.execute("select source from public.outbox_events where event = 'retried'").fetchall() == [("operator",)]


@pytest.mark.parametrize("status", ["delivered", "unknown", "expired"])
async def test_message_that_may_have_arrived_needs_force(
    rig: Rig, gateway: Gateway, operating: Operating, db: Connection, status: str
) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    await report(gateway, db, row, status)

    (refused,) = await retry(operating, row)
    untouched = statuses(db)
    (forced,) = await retry(operating, row, force=True)
    await rig.tick("dispatch")

    assert (refused.done, forced.done) == (False, True)
    assert refused.outcome == {"unknown": "may_have_arrived"}.get(status, status)
    assert untouched == {status: 1}
    assert statuses(db) == {"sent": 1}


async def test_retry_after_the_expiry_needs_a_new_expiry(rig: Rig, operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    later(db, "4 days")
    await rig.tick("upkeep")

    (unforced,) = await retry(operating, row, expires_in=600)
    (without,) = await retry(operating, row, force=True)
    (done,) = await retry(operating, row, force=True, expires_in=600)

    assert [unforced.done, without.done, done.done] == [False, False, True]
    assert without.outcome == "expiry_passed"
    assert db.execute("select expires_at = due_at + interval '600 seconds' from public.outbox").fetchone() == (True,)


async def test_message_in_flight_or_unknown_is_not_retried(rig: Rig, operating: Operating, db: Connection) -> None:
    waiting, sent = insert(db, 2, send_at=None)
    as_engine(
        db,
        "update public.outbox set queue = 'w', status = 'scheduled', due_at = due_at + interval '1 day' where id = %s",
        [waiting],
    )
    await rig.tick("dispatch")

    outcomes = await retry(operating, waiting, sent, 999, force=True)

    assert [(outcome.id, outcome.was, outcome.done) for outcome in outcomes] == [
        (waiting, "scheduled", False),
        (sent, "sent", False),
        (999, None, False),
    ]
    assert history(db, sent).count("retried") == 0


async def test_cancelled_message_is_retried_only_by_force(operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    await operating.cancel([row])

    (refused,) = await retry(operating, row)
    (forced,) = await retry(operating, row, force=True)

    assert (refused.done, forced.done, statuses(db)) == (False, True, {"pending": 1})
    assert column(db, "cancel_requested_at", row) is None


async def test_retried_message_waits_for_its_own_time(rig: Rig, operating: Operating, db: Connection, clocks: Clocks) -> None:
    (row,) = insert(db, send_at=clocks.now() + timedelta(days=1))
    await operating.cancel([row])
    await retry(operating, row, force=True)
    await rig.tick("dispatch")
    assert column(db, "status", row) == "pending"
    clocks.move("1 day")
    await rig.tick("dispatch")
    assert column(db, "status", row) == "sent"


@pytest.mark.parametrize("made_from", ["a text", "a template"])
async def test_message_with_blanked_text_cannot_be_retried(
    rig: Rig, operating: Operating, db: Connection, made_from: str
) -> None:
    """Not even where the template could make another one from its defaults."""
    template(db, defaults={"name": "you"})
    row = insert(db)[0] if made_from == "a text" else insert_from_template(db, {"name": "Ada"})
    db.execute("update public.outbox set cancel_requested_at = now()")
    await rig.tick("dispatch")
    later(db, "2 days")
    db.execute("select public.outbox_upkeep(90, 1, 1000)")

    (outcome,) = await retry(operating, row, force=True)

    assert not outcome.done
    assert outcome.outcome == "text_blanked"


async def test_message_from_template_without_values_can_be_retried(rig: Rig, operating: Operating, db: Connection) -> None:
    template(db, body="Hello")
    row = insert_from_template(db, None)
    db.execute("update public.outbox set cancel_requested_at = now()")
    await rig.tick("dispatch")

    await retry(operating, row, force=True)
    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 1}


async def test_recipient_who_opted_out_gets_no_retry(rig: Rig, gateway: Gateway, operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    await report(gateway, db, row, "failed")
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(0)])

    await retry(operating, row)
    await rig.tick("dispatch")

    assert statuses(db) == {"suppressed": 1}
    assert rig.simulator.summary().messages == 1


async def test_reports_before_a_retry_change_only_the_history(
    rig: Rig, gateway: Gateway, operating: Operating, db: Connection
) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    await report(gateway, db, row, "rejected", minute=1)

    await retry(operating, row)
    await report(gateway, db, row, "failed", minute=2)

    assert statuses(db) == {"pending": 1}
    assert history(db, row)[-1] == "report"


async def test_late_delivery_ends_a_waiting_retry(rig: Rig, gateway: Gateway, operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")
    await report(gateway, db, row, "rejected", minute=1)
    await retry(operating, row)

    await report(gateway, db, row, "delivered", minute=2)
    await rig.tick("dispatch")

    assert statuses(db) == {"delivered": 1}
    assert rig.simulator.summary().messages == 1


async def test_a_retry_counts_attempts_from_none(operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    as_engine(db, "update public.outbox set status = 'failed', finalized_at = now(), queue = null, attempts = 5")

    await retry(operating, row)

    assert column(db, "attempts", row) == 0


async def test_a_trial_run_of_a_retry_changes_nothing(operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    as_engine(db, "update public.outbox set status = 'failed', finalized_at = now(), queue = null")

    (outcome,) = await operating.retry([row], force=False, expires_in=None, dry_run=True)

    assert outcome.done
    assert statuses(db) == {"failed": 1}
    assert history(db, row) == []


# Cancelling


async def test_waiting_message_is_cancelled_immediately(rig: Rig, operating: Operating, db: Connection) -> None:
    (due,) = insert(db)
    (scheduled,) = insert(db, first=1, send_at=datetime.now(UTC) + timedelta(hours=1))

    outcomes = await operating.cancel([due, scheduled])
    await rig.tick("dispatch")

    assert all(outcome.done for outcome in outcomes)
    assert statuses(db) == {"cancelled": 2}
    assert history(db, due) == ["cancelled"]
    assert rig.simulator.summary().messages == 0


async def test_cancel_request_applies_when_the_message_returns(
    make_rig: MakeRig, operating: Operating, db: Connection, clocks: Clocks
) -> None:
    rig = await make_rig(lease_seconds=3)
    (row,) = insert(db)
    rig.simulator.add(faults.reset_before_accepting())
    await rig.tick("dispatch")

    (outcome,) = await operating.cancel([row])
    requested = statuses(db)
    for _ in range(3):
        clocks.move("21 seconds")
        await rig.tick("recover")

    assert outcome.done
    assert outcome.outcome == "cancel_requested"
    assert requested == {"sending": 1}
    assert statuses(db) == {"cancelled": 1}


async def test_sent_message_cannot_be_cancelled(rig: Rig, operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")

    first, missing = await operating.cancel([row, 999])

    assert (first.done, first.outcome) == (False, "too_late")
    assert (missing.done, missing.was) == (False, None)
    assert statuses(db) == {"sent": 1}
    assert history(db, row)[-1] == "cancel_too_late"


@pytest.mark.parametrize("by", ["operator", "app"])
async def test_late_cancel_request_does_not_prevent_later_attempts(
    rig: Rig, gateway: Gateway, operating: Operating, db: Connection, by: str
) -> None:
    """Neither the new attempt after a temporary failure nor an operator's retry sends it."""
    (row,) = insert(db)
    await rig.tick("dispatch")

    await cancel(operating, db, row, by=by)
    await report(gateway, db, row, "aborted", 404)
    came_back = statuses(db)
    later(db, "30 minutes")
    await rig.tick("dispatch")
    await report(gateway, db, row, "failed", 1)
    await cancel(operating, db, row, by=by)
    (again,) = await retry(operating, row)

    assert came_back == {"pending": 1}
    assert again.done
    late = db.execute("select source, status from public.outbox_events where event = 'cancel_too_late' order by id").fetchall()
    assert late == [(by, "sent"), (by, "failed")]


async def cancel(operating: Operating, db: Connection, row: int, *, by: str) -> None:
    if by == "operator":
        await operating.cancel([row])
        return
    with db.transaction():
        db.execute("set local role service_role")
        db.execute("update public.outbox set status = 'cancelled' where id = %s", [row])


async def test_messages_are_selected_in_stretches_to_the_end(operating: Operating, db: Connection) -> None:
    ids = insert(db, 10)
    as_engine(db, "update public.outbox set status = 'failed', finalized_at = now(), queue = null where id % 2 = 0")
    found: list[int] = []
    after: int | None = 0
    while after is not None:
        chosen = await operating.select(statuses=["failed"], campaign=None, since=None, after=after, stretch=3, most=1)
        found += chosen.ids
        after = chosen.after

    assert found == [row for row in ids if row % 2 == 0]


async def test_messages_are_selected_by_when_they_became_final(operating: Operating, db: Connection) -> None:
    old, new = insert(db, 2)
    as_engine(
        db,
        "update public.outbox set status = 'failed', queue = null, finalized_at = now() - interval '2 hours' where id = %s",
        [old],
    )
    as_engine(db, "update public.outbox set status = 'failed', queue = null, finalized_at = now() where id = %s", [new])

    since = datetime.now(UTC) - timedelta(hours=1)
    chosen = await operating.select(statuses=["failed"], campaign=None, since=since, after=0, stretch=100, most=100)

    assert chosen.ids == (new,)


# Sending again while another call changes the row


async def test_lost_request_found_before_its_retry_is_adopted(
    make_rig: MakeRig, gateway: Gateway, operating: Operating, db: Connection
) -> None:
    rig = await make_rig()
    (row,) = insert(db, expires_at=datetime.now(UTC) + timedelta(days=30))
    rig.simulator.add(faults.reset_before_accepting())
    await rig.tick("dispatch")
    later(db, "14 days")
    await rig.tick("recover")
    given_up = column(db, "status", row)
    await operating.retry([row], force=True, expires_in=None)

    reference = str(column(db, "dispatch_id", row))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    await gateway.record_reports([Report("late", number(0), "dispatched", 401, at, reference, "{}")], source="webhook")
    await rig.tick("dispatch")

    assert given_up == "unknown"
    assert statuses(db) == {"dispatched": 1}
    assert column(db, "batch_id", row) == "late"
    assert rig.simulator.summary().messages == 0


async def test_two_operators_retrying_make_one_new_attempt(
    rig: Rig, gateway: Gateway, operating: Operating, db: Connection
) -> None:
    ids = insert(db, 50)
    await rig.tick("dispatch")
    as_engine(db, "update public.outbox set status = 'failed', finalized_at = now()")

    one, other = await asyncio.gather(retry(operating, *ids, force=True), retry(operating, *reversed(ids), force=True))
    await rig.tick("dispatch")

    assert sum(outcome.done for outcome in (*one, *other)) == 50
    assert rig.simulator.summary().messages == 100


async def test_message_with_open_request_cannot_be_retried(
    make_rig: MakeRig, gateway: Gateway, operating: Operating, db: Connection
) -> None:
    """An earlier attempt is reported delivered while the request is open."""
    rig = await make_rig(lease_seconds=3)
    (row,) = insert(db)
    await rig.tick("dispatch")
    first = column(db, "batch_id", row)
    as_engine(db, "update public.outbox set status = 'failed', finalized_at = now()")
    await retry(operating, row, force=True)
    rig.simulator.add(faults.reset_after_accepting())
    await rig.tick("dispatch")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    await gateway.record_reports([Report(first, number(0), "delivered", 0, at, None, "{}")], source="webhook")

    (outcome,) = await retry(operating, row, force=True)

    assert statuses(db) == {"delivered": 1}
    assert not outcome.done
    assert outcome.outcome == "request_open"
