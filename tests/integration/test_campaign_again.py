"""A campaign's message that was in a request and goes out once more is what its member and its campaign are by then."""

import pytest

from tests.calls import accept, claim, report
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
    """How it comes back. An hour before an event it is in a request, or was, where the change comes."""
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


async def test_it_goes_to_the_new_number_with_the_new_values(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    db.execute('update public.campaign_members set recipient = %s, parameters = \'{"name": "Grace"}\'', [number(7)])

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "recipient, parameters, body, status") == [(number(7), {"name": "Grace"}, "Hello Grace", "sent")]


async def test_it_is_judged_by_the_new_number(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    db.execute("update public.campaign_members set recipient = %s", [number(7)])
    db.execute("insert into public.suppressions (recipient, reason) values (%s, 'asked by phone')", [number(7)])

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "recipient, status, error") == [(number(7), "suppressed", "the recipient opted out: asked by phone")]


async def test_it_has_the_campaigns_new_text_sender_and_priority(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    template(db, "other", body="Other {{name}}")
    db.execute("update public.campaigns set template = 'other', sender = '+12025550111', priority = 150")
    await rig.tick("campaigns")

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "body, sender, priority, status") == [("Other Ada", "+12025550111", 150, "sent")]


async def test_it_does_not_go_at_a_time_that_the_campaign_has_no_more(
    db: Connection, rig: Rig, clocks: Clocks, way: str
) -> None:
    db.execute("update public.campaigns set offsets = '{-10 minutes}'")
    await rig.tick("campaigns")

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db, "status, error") == [("cancelled", "the campaign was given another schedule")]


async def test_an_edit_that_leaves_it_its_time_does_not_stop_it(db: Connection, rig: Rig, clocks: Clocks, way: str) -> None:
    db.execute("update public.campaigns set offsets = '{-1 hour,-10 minutes}'")
    await rig.tick("campaigns")

    come_back(db, clocks, way)
    await rig.tick("dispatch")

    assert rows(db)[0] == ("sent",)


async def test_its_time_is_not_given_to_another(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """One that was withdrawn, and that an operator sends all the same."""
    campaign(db, offsets=["-1 hour"], late_limit="5 hours")
    member(db, event_at="2026-11-24 15:00+00")
    clocks.set("2026-11-24 13:59:30+00")
    await rig.tick("campaigns")
    db.execute("delete from public.campaign_members")
    member(db, event_at="2026-11-24 15:00+00")
    assert rows(db) == [("cancelled",)]

    db.execute(RETRY)
    await rig.tick("campaigns")
    clocks.move("1 minute")
    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",)]
    assert reasons(db) == [None]
