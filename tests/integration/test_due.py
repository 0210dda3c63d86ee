"""A claim names the other jobs that have work, so that an idle process makes one call for all of them."""

from collections.abc import Awaitable, Callable

import pytest

from jobs.gateway.gateway import Gateway
from sandbox.simulator.control import reset_after_accepting
from sandbox.simulator.server import Running
from tests.calls import accept, claim, find_nothing, release, report
from tests.campaigns import campaign, member, template
from tests.engine import Clocks, Rig, insert, number, plan_of
from tests.stack import Connection

Due = Callable[[], Awaitable[tuple[str, ...]]]


@pytest.fixture
def due(gateway: Gateway, sinch: Running) -> Due:
    async def due() -> tuple[str, ...]:
        """The jobs that a claim names when it takes no dispatches."""
        claim = await gateway.claim(
            plan_of(sinch),
            claim_id="10000000-0000-4000-8000-000000000000",
            worker="test",
            lease=30,
            deadline=10,
            max_dispatches=0,
            max_recipients=1000,
            max_rows=1000,
            allowed_destinations=None,
            share_texts=True,
        )
        return claim.due

    return due


async def test_nothing_is_due_when_nothing_is_left(rig: Rig, clocks: Clocks, db: Connection, due: Due) -> None:
    insert(db, 3)
    await rig.tick("dispatch", "campaigns", "upkeep")
    insert(db, 1, first=3, send_at=str(clocks.now().replace(year=clocks.now().year + 1)))
    await rig.tick("upkeep")

    assert await due() == ()


async def test_lost_request_makes_the_recover_job_due(rig: Rig, clocks: Clocks, db: Connection, due: Due) -> None:
    rig.simulator.add(reset_after_accepting())
    insert(db, 1)
    await rig.tick("dispatch")

    clocks.move("5 seconds")
    assert await due() == ("recover",)
    await rig.tick("recover")
    assert await due() == ()


async def test_missing_report_makes_the_reconcile_job_due(rig: Rig, clocks: Clocks, db: Connection, due: Due) -> None:
    insert(db, 1)
    await rig.tick("dispatch")
    assert await due() == ()

    clocks.move("5 minutes")
    assert await due() == ("reconcile",)
    await rig.tick("reconcile")
    assert await due() == ()


async def test_reminder_whose_time_comes_makes_campaigns_due(rig: Rig, clocks: Clocks, db: Connection, due: Due) -> None:
    template(db)
    campaign(db)
    member(db, event_at=str(clocks.now()).replace(str(clocks.now().year), str(clocks.now().year + 1)))
    await rig.tick("campaigns")
    assert await due() == ()

    clocks.move("1 year -1 hour -1 minute")
    assert await due() == ("campaigns",)
    await rig.tick("campaigns")
    assert await due() == ()


@pytest.mark.parametrize(
    "edit",
    [
        "update public.outbox_campaigns set priority = 50",
        "update public.outbox_campaigns set window_start = '09:00', window_end = '10:00'",
    ],
)
async def test_edited_campaign_makes_the_campaigns_job_due(
    rig: Rig, clocks: Clocks, db: Connection, due: Due, edit: str
) -> None:
    template(db)
    campaign(db)
    member(db, event_at=str(clocks.now()).replace(str(clocks.now().year), str(clocks.now().year + 1)))
    await rig.tick("campaigns")

    db.execute(edit.encode())
    assert await due() == ("campaigns",)
    await rig.tick("campaigns")
    assert await due() == ()


async def test_row_expired_while_waiting_makes_upkeep_due(rig: Rig, clocks: Clocks, db: Connection, due: Due) -> None:
    insert(db, 1, send_at="2099-01-01 09:00Z", expires_at="2099-01-01 10:00Z")
    assert await due() == ()

    clocks.set("2099-01-01 10:00Z")
    assert await due() == ("upkeep",)
    await rig.tick("upkeep")
    assert await due() == ()


async def test_alarm_makes_the_upkeep_job_due(rig: Rig, db: Connection, due: Due) -> None:
    db.execute("select outbox_engine.alarm('something.odd', '{}')")

    assert await due() == ("upkeep",)
    await rig.tick("upkeep")
    assert await due() == ()


async def test_early_report_makes_upkeep_due_an_hour(clocks: Clocks, db: Connection, due: Due) -> None:
    """Its batch may be accepted at the same moment."""
    clocks.set("2026-11-24 12:00Z")
    report(db, "unknown", number(0), "delivered")

    assert await due() == ("upkeep",)
    clocks.move("1 hour")
    assert await due() == ()


async def test_suspected_duplicate_send_makes_upkeep_due(clocks: Clocks, db: Connection, due: Due) -> None:
    clocks.set("2026-11-24 12:00Z")
    insert(db)
    lost = claim(db)
    find_nothing(db)
    newer = claim(db)
    accept(db, lost, "B1")
    assert await due() == ("upkeep",)

    release(db, newer)
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    assert await due() == ()


async def test_member_of_a_draft_makes_campaigns_due(rig: Rig, db: Connection, due: Due) -> None:
    """For its count."""
    template(db)
    campaign(db, status="draft")
    await rig.tick("campaigns")
    assert await due() == ()

    member(db)
    assert await due() == ("campaigns",)
    await rig.tick("campaigns")
    assert await due() == ()


async def test_message_that_returns_makes_campaigns_due(rig: Rig, clocks: Clocks, db: Connection, due: Due) -> None:
    """The campaign ended while it was in a request."""
    template(db)
    campaign(db, schedule="once", starts_at=clocks.now())
    member(db)
    await rig.tick("campaigns")
    dispatch = claim(db)
    db.execute("update public.outbox_campaigns set status = 'ended'")
    await rig.tick("campaigns")

    release(db, dispatch)
    await rig.tick("dispatch")
    assert await due() == ("campaigns",)
    await rig.tick("campaigns")
    assert await due() == ()


async def test_due_names_are_jobs_of_the_process(rig: Rig, clocks: Clocks, db: Connection, due: Due) -> None:
    template(db)
    campaign(db)
    member(db)
    insert(db, 1)
    await rig.tick("dispatch")
    rig.simulator.add(reset_after_accepting())
    insert(db, 1, first=1)
    await rig.tick("dispatch")
    db.execute("select outbox_engine.alarm('something.odd', '{}')")
    clocks.move("10 minutes")

    named = await due()

    assert len(named) == 4
    assert set(named) < {job.name for job in rig.engine.jobs}
