"""A campaign's message that returns from a request is sent again with its member's and its campaign's current values."""

from typing import Any

import pytest

from tests.calls import accept, claim, claim_all, refuse, release, report
from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, Rig, number
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
RETRY = "select public.outbox_retry(array_agg(id), false, null, false) from public.outbox"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)


@pytest.fixture(params=["given back", "stopped before the carrier", "sent again by an operator"])
async def way(request: pytest.FixtureRequest, db: Connection, rig: Rig, clocks: Clocks) -> str:
    """How the message returns. An hour before an event it is or was in a request when the change comes."""
    campaign(db, offsets=["-1 hour"])
    member(db, event_at="2026-11-24 13:00:30+00")
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")
    dispatch = claim(db)
    way = str(request.param)
    if way != "given back":
        accept(db, dispatch, "B1")
    if way == "sent again by an operator":
        report(db, "B1", number(1), "failed", 402)
    return way


def come_back(db: Connection, clocks: Clocks, way: str) -> None:
    if way == "given back":
        db.execute("select public.outbox_release(array_agg(id), array_agg(lease_token::text)) from outbox_engine.dispatches")
    elif way == "stopped before the carrier":
        report(db, "B1", number(1), "aborted", 404)
        clocks.move("2 minutes")
    else:
        db.execute(RETRY)


async def test_retry_uses_the_new_number_and_values(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    db.execute('update public.outbox_campaign_members set recipient = %s, parameters = \'{"name": "Grace"}\'', [number(7)])

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "recipient, parameters, body, status") == [(number(7), {"name": "Grace"}, "Hello Grace", "sent")]


async def test_retry_to_an_opted_out_number_is_suppressed(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    db.execute("update public.outbox_campaign_members set recipient = %s", [number(7)])
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'asked by phone')", [number(7)])

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "recipient, status, error") == [(number(7), "suppressed", "the recipient opted out: asked by phone")]


async def test_retry_uses_new_template_sender_and_priority(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    template(db, "other", body="Other {{name}}")
    db.execute("update public.outbox_campaigns set template = 'other', sender = '+12025550111', priority = 150")
    await rig.tick("campaigns")

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "body, sender, priority, status") == [("Other Ada", "+12025550111", 150, "sent")]


async def test_retry_is_cancelled_when_its_time_was_removed(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    db.execute("update public.outbox_campaigns set offsets = '{-10 minutes}'")
    await rig.tick("campaigns")

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "status, error") == [("cancelled", "the campaign was given another schedule")]


async def test_edit_that_keeps_the_time_keeps_the_retry(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    db.execute("update public.outbox_campaigns set offsets = '{-1 hour,-10 minutes}'")
    await rig.tick("campaigns")

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db)[0] == ("sent",)


@pytest.fixture
async def two(db: Connection, rig: Rig, clocks: Clocks) -> dict[str, Any]:
    """A request with two members, an hour before their event."""
    campaign(db, offsets=["-1 hour"])
    for n in (1, 2):
        member(db, f"m{n}", n=n, event_at="2026-11-24 13:00:30+00")
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")
    return claim(db)


def change_the_first(db: Connection) -> None:
    db.execute(
        "update public.outbox_campaign_members"
        " set recipient = %s, parameters = '{\"name\": \"Grace\"}' where external_id = 'm1'",
        [number(7)],
    )


async def test_halves_of_a_refusal_leave_changed_members_out(db: Connection, rig: Rig, two: dict[str, Any]) -> None:
    change_the_first(db)

    (half,) = refuse(db, two)
    assert half["recipients"] == [number(2)]
    await rig.tick("dispatch")

    assert rows(db, "recipient, body, status") == [(number(7), "Hello Grace", "sent"), (number(2), "Hello Ada", "sending")]


def test_no_half_has_rows_of_paused_campaigns(db: Connection, two: dict[str, Any]) -> None:
    db.execute("update public.outbox_campaigns set status = 'paused'")

    assert refuse(db, two, "shared") == []

    assert claim_all(db) == []
    assert rows(db) == [("scheduled",)] * 2


async def test_retry_of_a_suppressed_row_uses_member_changes(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The row never was in a request; an operator retries it."""
    campaign(db, offsets=["-1 hour"])
    member(db, event_at="2026-11-24 13:00:30+00")
    await rig.tick("campaigns")
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'by phone')", [number(1)])
    clocks.set("2026-11-24 12:00:31+00")
    await rig.tick("dispatch")
    assert rows(db) == [("suppressed",)]
    db.execute("update public.outbox_campaign_members set recipient = %s", [number(7)])

    db.execute(RETRY)
    await rig.tick("dispatch")

    assert rows(db, "recipient, status, error") == [(number(7), "sent", None)]


async def test_retry_expires_at_an_event_moved_earlier(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """Twelve o'clock is an hour before the new event as well."""
    campaign(db, offsets=["-2 hours", "-1 hour"])
    member(db, event_at="2026-11-24 14:00:30+00")
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")
    dispatch = claim(db)
    db.execute("update public.outbox_campaign_members set event_at = '2026-11-24 13:00:30+00'")
    clocks.set("2026-11-24 13:05+00")

    release(db, dispatch)
    await rig.tick("dispatch")

    assert rows(db, "status, expires_at = '2026-11-24 13:00:30+00'") == [("expired", True)]


@pytest.mark.parametrize("by", ["operator", "app"])
@pytest.mark.parametrize("before", ["throttled", "retried"])
async def test_message_cancelled_before_its_retry_stays_cancelled(
    db: Connection, rig: Rig, clocks: Clocks, before: str, by: str
) -> None:
    campaign(db, offsets=["-1 hour"], late_limit="5 hours")
    member(db, event_at="2026-11-24 13:00:30+00")
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")
    dispatch = claim(db)
    if before == "throttled":
        refuse(db, dispatch, "throttled")
    else:
        refuse(db, dispatch, "shared")
        assert rows(db) == [("failed",)]
        db.execute(RETRY)

    if by == "operator":
        db.execute("select public.outbox_cancel(array_agg(id), false) from public.outbox")
    else:
        db.execute("update public.outbox set status = 'cancelled'")
    clocks.move("1 minute")
    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("cancelled",)]


async def test_event_moved_earlier_expires_an_operators_retry(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-2 hours", "-1 hour"])
    member(db, event_at="2026-11-24 14:00:30+00")
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")
    refuse(db, claim(db), "shared")
    db.execute(RETRY)
    dispatch = claim(db)
    clocks.move("1 minute")
    db.execute("update public.outbox_campaign_members set event_at = '2026-11-24 13:00:30+00'")
    clocks.set("2026-11-24 13:05+00")

    release(db, dispatch)
    await rig.tick("dispatch")

    assert rows(db) == [("expired",)]


async def test_an_expiry_that_an_operator_gave_stays(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-2 hours", "-1 hour"])
    member(db, event_at="2026-11-24 14:00:30+00")
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")
    accept(db, claim(db), "B1")
    report(db, "B1", number(1), "failed", 402)
    db.execute("update public.outbox_campaign_members set event_at = '2026-11-24 13:00:30+00'")
    clocks.set("2026-11-24 14:05+00")

    db.execute("select public.outbox_retry(array_agg(id), false, 600, false) from public.outbox")
    await rig.tick("dispatch")

    assert rows(db, "status, expires_at = '2026-11-24 14:15+00'") == [("sent", True)]


async def test_time_of_a_withdrawn_retry_is_not_reused(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """A withdrawn message that an operator sends all the same."""
    campaign(db, offsets=["-1 hour"], late_limit="5 hours")
    member(db, event_at="2026-11-24 15:00+00")
    clocks.set("2026-11-24 13:59:30+00")
    await rig.tick("campaigns")
    db.execute("delete from public.outbox_campaign_members")
    member(db, event_at="2026-11-24 15:00+00")
    assert rows(db) == [("cancelled",)]

    db.execute(RETRY)
    await rig.tick("campaigns")
    clocks.move("1 minute")
    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",)]
    assert reasons(db) == [None]
