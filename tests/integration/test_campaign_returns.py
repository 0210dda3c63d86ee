"""A change made while a campaign's message is in a request applies when it returns. A time not used can be used again."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from sandbox.local.processes import wait_until
from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, Rig, number
from tests.races import is_waited_for, overlap
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
SOON, LATER = "2026-11-24 13:00:30+00", "2026-11-27 09:00+00"
CLAIM = """
    select public.outbox_claim_due(
      gen_random_uuid(), 'w', 'sinch', 'p', 'h', 'c', 600, 20, 8::smallint, 1000::smallint, 1000, null, 6000, null, false)
"""
GIVE_BACK = """
    select public.outbox_release(array_agg(id), array_agg(lease_token::text))
    from outbox_engine.dispatches
    where state = 'claimed'
"""


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)


async def reminder_in_a_request(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """A message an hour before an event at :data:`SOON`, claimed and not sent yet."""
    campaign(db, offsets=["-1 hour"])
    member(db, event_at=SOON)
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")
    db.execute(CLAIM)
    assert rows(db) == [("sending",)]


async def test_returned_message_takes_the_new_number_and_values(db: Connection, rig: Rig, clocks: Clocks) -> None:
    await reminder_in_a_request(db, rig, clocks)
    db.execute('update public.outbox_campaign_members set recipient = %s, parameters = \'{"name": "Grace"}\'', [number(7)])

    db.execute(GIVE_BACK)
    await rig.tick("dispatch")

    assert rows(db, "recipient, body, status") == [(number(7), "Hello Grace", "sent")]


async def test_member_moved_during_a_request_is_reminded_later(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The message comes back unsent and is cancelled; another goes out for the new time."""
    await reminder_in_a_request(db, rig, clocks)
    db.execute("update public.outbox_campaign_members set event_at = %s", [LATER])

    db.execute(GIVE_BACK)
    await rig.tick("campaigns", "dispatch")
    assert rows(db, "status, error") == [("cancelled", "the member was moved to another time")]
    clocks.set("2026-11-27 08:00:01+00")
    await rig.tick("campaigns", "dispatch")

    assert [status for (status,) in rows(db)] == ["cancelled", "sent"]


@pytest.mark.parametrize("at", ["11:59:00", "12:00:30"], ids=["before it comes up", "once it has come up"])
@pytest.mark.parametrize("how", ["moved away and back", "removed and added again"])
async def test_time_withdrawn_during_a_request_can_be_reused(
    db: Connection, rig: Rig, clocks: Clocks, how: str, at: str
) -> None:
    campaign(db, offsets=["-1 hour"], window_start="12:30", window_end="20:00", late_limit="1 day")
    member(db, event_at="2026-11-24 13:01+00")
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:30+00")
    db.execute(CLAIM)
    assert rows(db) == [("sending",)]
    db.execute("update public.outbox_campaigns set window_start = '12:40'")
    clocks.set(f"2026-11-24 {at}+00")
    if how == "moved away and back":
        for event in (LATER, "2026-11-24 13:01+00"):
            db.execute("update public.outbox_campaign_members set event_at = %s", [event])
    else:
        db.execute("delete from public.outbox_campaign_members")
        member(db, event_at="2026-11-24 13:01+00")
    await rig.tick("campaigns")

    db.execute(GIVE_BACK)
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:40+00")
    await rig.tick("campaigns", "dispatch")

    assert [status for (status,) in rows(db)] == ["cancelled", "sent"]
    assert reasons(db) == [None]


@pytest.mark.parametrize("back_first", [True, False])
async def test_message_returned_during_an_edit_takes_new_number(
    db: Connection, other: Connection, rig: Rig, clocks: Clocks, back_first: bool
) -> None:
    await reminder_in_a_request(db, rig, clocks)
    changes = [GIVE_BACK, f"update public.outbox_campaign_members set recipient = '{number(7)}'"]
    first, second = changes if back_first else reversed(changes)

    overlap(db, lambda: db.execute(first), lambda: other.execute(second))
    await rig.tick("dispatch")

    assert rows(db, "recipient, status") == [(number(7), "sent")]


async def test_acceptance_does_not_wait_for_member_changes(db: Connection, other: Connection, rig: Rig, clocks: Clocks) -> None:
    await reminder_in_a_request(db, rig, clocks)

    with db.transaction():
        db.execute("update public.outbox_campaign_members set recipient = %s", [number(7)])
        other.execute("set lock_timeout = '2s'")
        other.execute("select public.outbox_accept(array[id], array['B1'], 'w', 60, 300) from outbox_engine.dispatches")

    assert rows(db, "recipient, status") == [(number(1), "sent")]


async def test_message_cancelled_in_a_request_is_not_remade(db: Connection, rig: Rig, clocks: Clocks) -> None:
    await reminder_in_a_request(db, rig, clocks)
    db.execute("select public.outbox_cancel(array_agg(id), false) from public.outbox")

    db.execute(GIVE_BACK)
    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("cancelled",)]


async def test_move_that_waits_for_a_claim_counts(db: Connection, other: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-1 hour"])
    member(db, event_at=SOON)
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:31+00")

    overlap(
        other,
        lambda: other.execute(CLAIM),
        lambda: db.execute("update public.outbox_campaign_members set event_at = %s", [LATER]),
    )
    db.execute(GIVE_BACK)
    await rig.tick("campaigns", "dispatch")

    assert rows(db, "status, error") == [("cancelled", "the member was moved to another time")]


async def test_removal_that_waits_for_a_claim_counts(db: Connection, other: Connection, rig: Rig) -> None:
    campaign(db, schedule="once", starts_at=NOW)
    member(db)
    await rig.tick("campaigns")

    overlap(other, lambda: other.execute(CLAIM), lambda: db.execute("delete from public.outbox_campaign_members"))
    assert rows(db, "status, cancel_requested_at is not null") == [("sending", True)]
    db.execute(GIVE_BACK)

    assert rows(db, "status, error") == [("cancelled", "the member was removed from the campaign")]


async def test_campaign_resumed_during_a_claim_sends_everything(
    db: Connection, other: Connection, rig: Rig, clocks: Clocks
) -> None:
    campaign(db, schedule="once", starts_at=NOW)
    member(db)
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set status = 'paused'")

    def goes_on_and_expands() -> None:
        db.execute("update public.outbox_campaigns set status = 'active'")
        db.execute("select public.outbox_expand_campaigns(1000)")

    overlap(other, lambda: other.execute(CLAIM), goes_on_and_expands)  # The claim puts the row off until it expires.
    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",)]


@pytest.mark.parametrize(
    "change",
    [
        'parameters = \'{"name": "Grace"}\'',
        "timezone = 'Asia/Kolkata'",
        (
            "timezone = case external_id when 'b' then 'Asia/Kolkata' else timezone end,"
            " recipient = case external_id when 'b' then recipient else '+12025550177' end"
        ),
    ],
    ids=["values", "times", "either"],
)
async def test_members_and_campaigns_lock_messages_in_one_order(
    db: Connection, other: Connection, rig: Rig, change: str
) -> None:
    """Members changed by one statement lock their rows in the order of an edited campaign."""
    campaign(db, schedule="once", starts_at=NOW, window_start="18:00", window_end="20:00", late_limit="1 day")
    for external_id in ("c", "b", "a"):
        member(db, external_id)
    await rig.tick("campaigns")
    first, *later = [outbox_id for (outbox_id,) in rows(db, "id")]
    with ThreadPoolExecutor(1) as app:
        with other.transaction():
            other.execute("select from public.outbox where id = %s for update", [first])
            changed = app.submit(db.execute, f"update public.outbox_campaign_members set {change}")
            assert wait_until(lambda: is_waited_for(other), 10)
            other.execute("select from public.outbox where id = any (%s) for update nowait", [later])
        changed.result(10)


async def test_time_moved_into_the_handled_minute_is_sent(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, schedule="once", starts_at="2026-11-24 18:00+00")
    member(db)
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:00:20+00")
    db.execute("update public.outbox_campaigns set starts_at = '2026-11-24 12:00:40+00'")

    clocks.set("2026-11-24 12:00:41+00")
    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",)]


async def test_member_joining_in_time_is_never_late(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, schedule="once", starts_at=NOW, late_policy="skip")
    clocks.set("2026-11-24 12:10+00")
    member(db)

    await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",)]


def test_ended_campaign_stays_ended(db: Connection) -> None:
    campaign(db)
    db.execute("update public.outbox_campaigns set status = 'ended'")

    with pytest.raises(psycopg.Error, match="was ended"):
        db.execute("update public.outbox_campaigns set status = 'active'")


async def test_paused_draft_begins_when_it_becomes_active(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-1 hour"], status="draft", late_limit="1 day")
    member(db, event_at="2026-11-24 13:05+00")
    db.execute("update public.outbox_campaigns set status = 'paused'")
    clocks.set("2026-11-24 12:30+00")
    db.execute("update public.outbox_campaigns set status = 'active'")

    await rig.tick("campaigns", "dispatch")

    assert rows(db) == []
    assert reasons(db) == ["too late: it was past when the member came, moved or the campaign began"]


async def test_event_is_ignored_by_a_campaign_sent_once(db: Connection, rig: Rig) -> None:
    campaign(db, schedule="once", starts_at=NOW, window_start="18:00", window_end="20:00", late_limit="1 day")
    member(db)
    await rig.tick("campaigns")
    before = rows(db, "expires_at")

    db.execute("update public.outbox_campaign_members set event_at = '2026-11-24 18:30+00'")

    assert rows(db, "expires_at") == before


async def test_returned_time_survives_a_temporary_suppression(db: Connection, rig: Rig) -> None:
    """The message was given back unsent. A problem that passes does not use its time up."""
    campaign(db, offsets=["-1 hour"])
    member(db, event_at=SOON)
    await rig.tick("campaigns")

    for suppressed in (True, False):
        db.execute("update public.outbox_campaign_members set event_at = %s", [LATER])
        if suppressed:
            db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(1)])
        else:
            db.execute("delete from public.outbox_suppressions")
        db.execute("update public.outbox_campaign_members set event_at = %s", [SOON])
        await rig.tick("campaigns")

    assert rows(db, "status, send_at = '2026-11-24 12:00:30+00'") == [("cancelled", True), ("scheduled", True)]


async def test_cap_ignores_messages_that_are_not_sent(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, "late", schedule="once", starts_at="2026-11-24 11:30+00", late_policy="send", priority=1)
    member(db, "a", to="late")
    campaign(db, "capped", schedule="once", starts_at=NOW, daily_cap=1)
    member(db, "b", to="capped")
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set late_policy = 'skip', late_limit = '1 minute' where name = 'late'")
    db.execute("update public.outbox_campaigns set recheck_after = null")
    clocks.set("2026-11-24 12:05+00")

    await rig.tick("dispatch")

    assert sorted(rows(db, "campaign, status")) == [("capped", "sent"), ("late", "expired")]
