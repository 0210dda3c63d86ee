"""When a campaign's message expires: after its event, past its late limit, or when its time no longer exists."""

from collections.abc import Callable
from datetime import datetime

import httpx
import pytest

from sandbox.simulator.server import Running
from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, Rig, number
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
Expiries = Callable[[], list[datetime]]


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)


@pytest.fixture
def expiries(sinch: Running) -> Expiries:
    """When each accepted message expires at the provider, from the provider's own list."""

    def ask() -> list[datetime]:
        url = f"{sinch.url}/xms/v1/{sinch.plan.id}/batches"
        with httpx.Client(headers={"authorization": f"Bearer {sinch.plan.token}"}, trust_env=False) as api:
            batches = [api.get(f"{url}/{accepted.batch_id}").json() for accepted in sinch.control.accepted()]
        return [datetime.fromisoformat(batch["expire_at"]) for batch in batches]

    return ask


async def test_window_that_opens_after_event_skips_the_message(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-1 hour"], window_start="14:00", window_end="20:00", late_limit="1 day")
    member(db, event_at="2026-11-24 13:30+00")
    clocks.set("2026-11-24 12:30+00")

    await rig.tick("campaigns", "dispatch")

    assert rows(db) == []
    assert reasons(db) == ["its window opens at 2026-11-24 14:00:00+00, after the event"]


async def test_message_waiting_until_its_event_expires(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-1 hour"], late_limit="1 day")
    member(db, event_at="2026-11-24 13:30+00")
    clocks.set("2026-11-24 12:30+00")
    await rig.tick("campaigns")
    assert rows(db, "status, expires_at") == [("pending", instant("13:30"))]

    clocks.set("2026-11-24 13:30+00")
    await rig.tick("dispatch")

    assert rows(db, "status, error") == [("expired", "expired before it could be sent")]


async def test_provider_expiry_is_no_later_than_the_event(db: Connection, rig: Rig, clocks: Clocks, expiries: Expiries) -> None:
    """If several members share a request, the earliest event counts. A member whose event is past has three days."""
    campaign(db, offsets=["-1 hour", "2 hours"])
    for n, event in enumerate(("13:30:10", "13:30:50", "14:15")):
        member(db, event, n=n, event_at=f"2026-11-24 {event}+00")
    for at in ("12:30:55", "13:15"):
        clocks.set(f"2026-11-24 {at}+00")
        await rig.tick("campaigns", "dispatch")

    assert expiries() == [instant("13:30:10"), instant("13:30:10"), instant("14:15")]
    clocks.set("2026-11-24 15:31+00")
    await rig.tick("campaigns", "dispatch")
    assert len(expiries()) == 5
    assert min(expiries()[3:]) > clocks.now()


@pytest.mark.parametrize("event", ["13:30", "15:30"])
async def test_message_kept_by_a_move_takes_new_expiry(
    db: Connection, rig: Rig, clocks: Clocks, expiries: Expiries, event: str
) -> None:
    """12:30 is two hours before the old event, and one or three before the new one."""
    campaign(db, offsets=["-1 hour", "-2 hours", "-3 hours"], window_start="13:00", window_end="23:00", late_limit="1 day")
    member(db, event_at="2026-11-24 14:30+00")
    clocks.set("2026-11-24 12:29:30+00")
    await rig.tick("campaigns")
    assert rows(db, "status, expires_at") == [("scheduled", instant("14:30"))]

    db.execute("update public.outbox_campaign_members set event_at = %s", [instant(event)])
    assert rows(db, "status, expires_at") == [("scheduled", instant(event))]
    clocks.set("2026-11-24 13:00+00")
    await rig.tick("dispatch")

    assert rows(db) == [("sent",)]
    assert expiries() == [instant(event)]


async def test_waiting_message_survives_a_later_event(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-1 hour", "-2 hours"])
    member(db, event_at="2026-11-24 13:30+00")
    clocks.set("2026-11-24 12:30+00")
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaign_members set event_at = %s", [instant("14:30")])

    clocks.set("2026-11-24 13:45+00")
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    await rig.tick("dispatch")

    assert rows(db) == [("sent",)]


@pytest.mark.parametrize(
    ("late_limit", "becomes", "says"),
    [
        (
            "22 hours 59 minutes",
            "expired",
            "its window opens at 2026-11-25 11:00:00+00, after its expiry or later than late_limit",
        ),
        ("23 hours", "scheduled", None),
    ],
)
async def test_long_queue_waits_for_openings_within_late_limit(
    db: Connection, rig: Rig, clocks: Clocks, late_limit: str, becomes: str, says: str | None
) -> None:
    """A window closed before the row's turn came."""
    campaign(db, schedule="once", starts_at=NOW, window_start="11:00", window_end="13:00", late_limit=late_limit)
    member(db)
    await rig.tick("campaigns")
    assert rows(db) == [("pending",)]

    clocks.set("2026-11-24 13:00+00")
    await rig.tick("dispatch")

    assert rows(db) == [(becomes,)]
    assert (says is None) or str(rows(db, "error")[0][0]).startswith(says)
    clocks.set("2026-11-25 11:00+00")
    await rig.tick("dispatch")
    assert rig.simulator.summary().messages == (becomes == "scheduled")


@pytest.mark.parametrize(("at", "becomes"), [("18:00", "sent"), ("18:00:01", "expired")])
async def test_skip_counts_from_the_window_opening(db: Connection, rig: Rig, clocks: Clocks, at: str, becomes: str) -> None:
    """It does not count from the time of the occurrence."""
    clocks.set("2026-11-24 05:00+00")
    campaign(db, schedule="once", starts_at="2026-11-24 06:00+00", window_start="12:00", window_end="20:00",
             late_policy="skip", late_limit="6 hours")  # fmt: skip
    member(db)
    clocks.set("2026-11-24 06:00+00")
    await rig.tick("campaigns")
    assert rows(db, "status, send_at") == [("scheduled", instant("12:00"))]

    clocks.set(f"2026-11-24 {at}+00")
    await rig.tick("dispatch")

    assert rows(db) == [(becomes,)]


async def test_retry_after_a_report_respects_a_moved_member(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """While it counted as sent, the change of the event could not withdraw it."""
    campaign(db, offsets=["-1 hour"])
    member(db, "moved", n=1, event_at="2026-11-24 13:30+00")
    member(db, "kept", n=2, event_at="2026-11-24 13:30+00")
    clocks.set("2026-11-24 12:30+00")
    await rig.tick("campaigns", "dispatch")
    clocks.move("1 second")
    db.execute("update public.outbox_campaign_members set event_at = %s where external_id = 'moved'", ["2026-11-26 09:00+00"])
    assert rows(db) == [("sent",)] * 2

    db.execute(
        "select public.outbox_record_reports('webhook', array_agg(batch_id), array_agg(recipient), array['aborted', 'aborted'],"
        " array['404', '404'], array['', ''], array['', ''], array['{}', '{}']) from public.outbox"
    )
    clocks.set("2026-11-24 13:00+00")
    await rig.tick("campaigns", "dispatch")

    assert sorted(rows(db, "status, error, recipient")) == [
        ("cancelled", "the member was moved to another time", number(1)),
        ("sent", None, number(2)),
    ]
    assert rig.simulator.summary().messages == 3
    clocks.set("2026-11-26 08:00+00")
    await rig.tick("campaigns", "dispatch")
    assert rig.simulator.summary().messages == 4


def instant(at: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-24T{at}+00:00")
