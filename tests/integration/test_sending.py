"""The sending protocol: real jobs, real database, a simulator that misbehaves on request."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from jobs.runtime.settings import EngineSettings
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Fault
from tests.engine import Clocks, MakeRig, Rig, column, history, insert, later, number, statuses
from tests.stack import Connection

SETTLED = f"{EngineSettings.model_fields['settle_seconds'].default + 1} seconds"
LEASE_OVER = "1 minute"


async def test_rows_that_agree_share_one_request(rig: Rig, db: Connection) -> None:
    insert(db, 1000)
    await rig.tick("dispatch")

    books = rig.simulator.summary()
    assert statuses(db) == {"sent": 1000}
    assert (books.batches, books.messages, books.requests["send"]) == (1, 1000, 1)


async def test_different_texts_senders_and_expiries_go_separately(rig: Rig, db: Connection) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=30)
    insert(db, 2)
    insert(db, 2, first=2, body="other")
    insert(db, 2, first=4, sender="Bistro")
    insert(db, 2, first=6, expires_at=soon)

    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 8}
    assert rig.simulator.summary().batches == 4


async def test_recipient_is_never_repeated_in_one_request(rig: Rig, db: Connection) -> None:
    insert(db)
    insert(db)
    insert(db)

    await rig.tick("dispatch")

    books = rig.simulator.summary()
    assert (books.batches, books.messages) == (3, 3)
    assert statuses(db) == {"sent": 3}


async def test_urgent_rows_go_first(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig(sinch_settings={"sinch_messages_per_second": 1})
    insert(db, 3, body="campaign", priority=200)
    (code,) = insert(db, 1, body="Your code is 1234", priority=0)

    await rig.tick("dispatch")

    assert column(db, "status", code) == "sent"
    assert statuses(db) == {"sent": 1, "pending": 3}


async def test_a_row_is_not_sent_before_its_time(rig: Rig, db: Connection) -> None:
    (row,) = insert(db, send_at=datetime.now(UTC) + timedelta(hours=1))

    await rig.tick("dispatch")
    assert column(db, "status", row) == "scheduled"
    later(db, "1 hour")
    await rig.tick("dispatch")

    assert column(db, "status", row) == "sent"


async def test_text_with_a_provider_placeholder_arrives_as_typed(rig: Rig, db: Connection) -> None:
    text = "Cost: ${amount} or $5 {no} ${}"
    insert(db, 2, body=text)

    await rig.tick("dispatch")

    assert {accepted.body for accepted in rig.simulator.accepted()} == {text}


@pytest.mark.parametrize(
    "fault",
    [
        faults.timeout_after_accepting(),
        faults.reset_after_accepting(),
        faults.error_after_accepting(500),
        faults.error_after_accepting(503),
        faults.error_after_accepting(408),
        faults.unreadable_after_accepting(),
    ],
    ids=["timeout", "reset", "500", "503", "408", "unreadable"],
)
async def test_accepted_but_unanswered_request_is_not_resent(make_rig: MakeRig, db: Connection, fault: Fault) -> None:
    rig = await make_rig(lease_seconds=3)
    insert(db, 20)
    rig.simulator.add(fault)

    await rig.tick("dispatch")
    assert statuses(db) == {"sending": 20}
    for _ in range(3):
        later(db, SETTLED)
        await rig.tick("recover", "dispatch")

    books = rig.simulator.summary()
    assert statuses(db) == {"sent": 20}
    assert (books.messages, books.sent_twice) == (20, 0)


@pytest.mark.parametrize(
    "fault",
    [faults.timeout_before_accepting(), faults.reset_before_accepting(), faults.unavailable_page()],
    ids=["timeout", "reset", "503"],
)
async def test_unarrived_request_is_resent_after_two_lookups(
    make_rig: MakeRig, db: Connection, clocks: Clocks, fault: Fault
) -> None:
    """The lookups are a settling time apart."""
    rig = await make_rig(lease_seconds=3)
    (row, *_) = insert(db, 20)
    rig.simulator.add(fault)

    await rig.tick("dispatch")
    clocks.move("2 seconds")
    await rig.tick("recover", "dispatch")
    assert statuses(db) == {"sending": 20}, "one lookup is not enough"
    await rig.tick("recover", "dispatch")
    assert statuses(db) == {"sending": 20}, "nor are two at once"
    clocks.move(SETTLED)
    await rig.tick("recover", "dispatch")

    assert statuses(db) == {"sent": 20}
    assert rig.simulator.summary().messages == 20
    assert history(db, row) == ["not_found", "accepted"]
    assert column(db, "attempts", row) == 1


async def test_failed_lookup_does_not_count(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    rig = await make_rig(lease_seconds=3)
    insert(db)
    rig.simulator.add(faults.reset_before_accepting(), faults.unavailable_page(times=5, on="list"))

    await rig.tick("dispatch")
    with capture_logs() as logs:
        for _ in range(5):
            clocks.move(SETTLED)
            await rig.tick("recover", "dispatch")

    assert statuses(db) == {"sending": 1}
    # The process sees that both clocks moved on and its own did not.
    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == ["provider.away", "clock.off"]


async def test_lost_request_to_another_host_uses_no_requests(make_rig: MakeRig, db: Connection) -> None:
    """The processes that send to that host look it up. Here no lookup could find it, and it would be due for ever."""
    rig = await make_rig(sinch_settings={"sinch_requests_per_minute": 5})
    (row,) = insert(db)
    rig.simulator.add(faults.reset_before_accepting())
    await rig.tick("dispatch")
    assert column(db, "status", row) == "sending"
    rig.simulator.heal()
    db.execute("update outbox_engine.dispatches set host = 'https://eu.sms.api.sinch.com'")

    for _ in range(3):
        later(db, "1 minute")
        await rig.tick("recover")
    insert(db, 1)
    await rig.tick("dispatch")

    assert column(db, "status", row) == "sending"
    assert statuses(db) == {"sending": 1, "sent": 1}


async def test_batch_found_by_second_lookup_is_adopted(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    rig = await make_rig(lease_seconds=3)
    insert(db)
    rig.simulator.change(list_lag=3600)
    rig.simulator.add(faults.reset_after_accepting())

    await rig.tick("dispatch")
    clocks.move("2 seconds")
    await rig.tick("recover", "dispatch")
    rig.simulator.advance(3601)
    clocks.move(SETTLED)
    await rig.tick("recover", "dispatch")

    assert statuses(db) == {"sent": 1}
    assert rig.simulator.summary().messages == 1


async def test_batch_found_after_the_resend_is_duplicate_send(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    rig = await make_rig(lease_seconds=3)
    (row,) = insert(db)
    rig.simulator.change(list_lag=3600)
    rig.simulator.add(faults.reset_after_accepting())
    await rig.tick("dispatch")
    clocks.move("2 seconds")
    await rig.tick("recover")
    clocks.move(SETTLED)
    await rig.tick("recover", "dispatch")
    assert rig.simulator.summary().sent_twice == 1, "the provider hid what it had accepted for longer than we settle"

    rig.simulator.advance(3601)
    clocks.move("2 minutes")
    await rig.tick("recover")

    assert "duplicate_send" in history(db, row)
    assert db.execute("select count(*) from outbox_engine.duplicate_sends where confirmed_at is not null").fetchone() == (1,)
    assert db.execute("select count(*) from outbox_engine.alarms where kind = 'message.duplicate_send'").fetchone() == (1,)


async def test_dead_workers_rows_are_resent_after_lookups(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    insert(db, 5)
    dead, alive = await make_rig(), await make_rig()
    await dead.claim()

    await alive.tick("dispatch", "recover")
    assert statuses(db) == {"sending": 5}, "its lease still runs"
    clocks.move(LEASE_OVER)
    await alive.tick("recover")
    clocks.move(LEASE_OVER)
    await alive.tick("recover", "dispatch")

    assert statuses(db) == {"sent": 5}
    assert alive.simulator.summary().messages == 5


async def test_a_poisoned_number_fails_alone_within_twenty_requests(rig: Rig, db: Connection) -> None:
    rows = insert(db, 1000)
    (poisoned,) = db.execute("select id from public.outbox where recipient = %s", [number(613)]).fetchone() or (0,)
    rig.simulator.change(rules=[{"suffix": number(613)[1:], "refused": True}])

    await rig.tick("dispatch")

    books = rig.simulator.summary()
    assert statuses(db) == {"sent": 999, "failed": 1}
    assert column(db, "status", int(str(poisoned))) == "failed"
    assert "to[" in column(db, "error", int(str(poisoned)))
    assert (books.messages, len(rows)) == (999, 1000)
    assert books.requests["send"] <= 21


async def test_account_error_pauses_until_a_probe_succeeds(rig: Rig, db: Connection) -> None:
    insert(db, 50)
    rig.simulator.add(faults.account_error(401))

    for _ in range(3):
        await rig.tick("dispatch")
    assert statuses(db) == {"pending": 50}
    assert rig.simulator.summary().requests["send"] == 1, "paused after the first"
    later(db, "1 minute")
    await rig.tick("dispatch")
    assert rig.simulator.summary().requests["send"] == 2, "one probe"
    rig.simulator.heal()
    for _ in range(4):
        later(db, "10 minutes")
        await rig.tick("dispatch")

    assert statuses(db) == {"sent": 50}
    assert db.execute("select count(*) from outbox_engine.alarms where kind = 'plan.paused'").fetchone() == (1,)


async def test_account_error_is_logged_once_until_sending_succeeds(rig: Rig, db: Connection) -> None:
    """However short the pauses are."""
    insert(db, 50)
    rig.simulator.add(faults.account_error(401))

    with capture_logs() as log:
        for _ in range(3):
            await rig.tick("dispatch")
            later(db, "10 minutes")
        assert rig.simulator.summary().requests["send"] == 3
        rig.simulator.heal()
        await rig.tick("dispatch")
        rig.simulator.add(faults.account_error(401))
        insert(db, 1)
        await rig.tick("dispatch")

    levels = [line["log_level"] for line in log if line["event"] == "dispatch.refused"]
    assert levels[:4] == ["warning", "debug", "debug", "warning"]
    assert levels.count("warning") == 2


async def test_throttling_stops_every_process_and_costs_no_attempt(make_rig: MakeRig, db: Connection) -> None:
    one, other = await make_rig(), await make_rig()
    (row,) = insert(db)
    one.simulator.add(faults.throttle(retry_after="30"))

    await one.tick("dispatch")
    await other.tick("dispatch")
    assert one.simulator.summary().requests["send"] == 1
    later(db, "31 seconds")
    await other.tick("dispatch")

    assert column(db, "status", row) == "sent"
    assert column(db, "attempts", row) == 1


async def test_messages_per_second_are_shared_by_all_processes(make_rig: MakeRig, db: Connection) -> None:
    limits = {"sinch_messages_per_second": 10}
    rigs = [await make_rig(sinch_settings=limits) for _ in range(4)]
    insert(db, 200)
    db.execute("update outbox_engine.clock set frozen_at = now()")

    for _ in range(3):
        for rig in rigs:
            await rig.tick("dispatch")
    assert statuses(db)["sent"] == 10
    later(db, "1 second")
    for rig in rigs:
        await rig.tick("dispatch")

    assert statuses(db)["sent"] == 20


async def test_requests_per_minute_are_shared_by_all_processes(make_rig: MakeRig, db: Connection) -> None:
    limits = {"sinch_requests_per_minute": 10}
    rigs = [await make_rig(sinch_settings=limits) for _ in range(4)]
    for text in range(30):
        insert(db, first=text, body=f"text {text}", sender=f"Shop {text}")

    for rig in rigs:
        await rig.tick("dispatch")
    assert rigs[0].simulator.summary().requests["send"] == 10
    later(db, "62 seconds")
    for rig in rigs:
        await rig.tick("dispatch")

    assert rigs[0].simulator.summary().requests["send"] == 20
