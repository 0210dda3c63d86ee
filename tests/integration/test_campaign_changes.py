"""Edits of campaigns and members apply to waiting messages, and no one gets more messages, or costs more, than allowed."""

from datetime import datetime
from typing import Any

import psycopg
import pytest

from sandbox.simulator.control import throttle
from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, Rig, insert, number, statuses
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    """Tuesday noon in Greenwich, standing still."""
    clocks.set(NOW)
    template(db)


def once(db: Connection, name: str = "c", **columns: Any) -> None:
    campaign(db, name, **{"schedule": "once", "starts_at": NOW, **columns})


async def test_waiting_message_takes_new_number_values_and_text(db: Connection, rig: Rig) -> None:
    once(db)
    member(db)
    await rig.tick("campaigns")
    db.execute('update public.outbox_campaign_members set recipient = %s, parameters = \'{"name": "Grace"}\'', [number(7)])
    db.execute("update public.outbox_templates set body = 'Bye {{name}}'")
    await rig.tick("dispatch")
    assert rows(db, "recipient, body, status") == [(number(7), "Bye Grace", "sent")]


def test_one_statement_may_move_and_rename_members(db: Connection) -> None:
    campaign(db, offsets=["-1 hour"], window_start="12:30", window_end="20:00", late_limit="1 day")
    for n, external_id in enumerate(("kept", "moved", "renamed")):
        member(db, external_id, n=n, event_at="2026-11-24 13:00:30+00")
        db.execute("select public.outbox_expand_campaigns(1000)")

    db.execute(
        "update public.outbox_campaign_members set"
        " event_at = case external_id when 'moved' then '2026-11-30 12:00+00' else event_at end,"
        " parameters = case external_id when 'renamed' then '{\"name\": \"Grace\"}' else parameters end"
    )

    assert rows(db, "status, parameters ->> 'name'") == [("scheduled", "Ada"), ("cancelled", "Ada"), ("scheduled", "Grace")]


async def test_waiting_message_takes_new_template_sender_and_priority(db: Connection, rig: Rig) -> None:
    template(db, "other", body="Other {{name}}")
    once(db)
    member(db)
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set template = 'other', sender = '+12025550111', priority = 150")
    await rig.tick("campaigns", "dispatch")
    assert rows(db, "body, sender, priority, status") == [("Other Ada", "+12025550111", 150, "sent")]


async def test_wider_window_releases_waiting_messages(db: Connection, rig: Rig) -> None:
    once(db, window_start="18:00", window_end="20:00", late_limit="1 day")
    member(db)
    await rig.tick("campaigns", "dispatch")
    assert statuses(db) == {"scheduled": 1}
    db.execute("update public.outbox_campaigns set window_start = '11:00'")
    await rig.tick("campaigns", "dispatch")
    assert statuses(db) == {"sent": 1}


async def test_new_schedule_cancels_old_times_without_making_up(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """Times of the new schedule that were past before the edit are not sent late."""
    campaign(db, schedule="cron", cron_expression="0 12 * * *", window_start="18:00", window_end="20:00", late_limit="8 hours")
    member(db)
    clocks.set("2026-11-25 12:00+00")
    await rig.tick("campaigns")
    assert rows(db) == [("scheduled",)]

    db.execute("update public.outbox_campaigns set cron_expression = '30 8,17 * * *'")
    await rig.tick("campaigns")
    assert rows(db, "status, error") == [("cancelled", "the campaign was given another schedule")]
    clocks.set("2026-11-25 18:30+00")
    await rig.tick("campaigns", "dispatch")
    assert rows(db, "status, send_at")[1:] == [("sent", datetime.fromisoformat("2026-11-25T18:30+00:00"))]


async def test_member_moved_and_back_is_reminded_once(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, offsets=["-1 hour"], window_start="12:00", window_end="20:00", late_limit="1 day")
    member(db, event_at="2026-11-24 13:01+00")
    await rig.tick("campaigns")
    for event in ("2026-11-27 09:00+00", "2026-11-24 13:01+00"):
        db.execute("update public.outbox_campaign_members set event_at = %s", [event])
        await rig.tick("campaigns")
    clocks.move("1 minute")
    for _ in range(2):
        await rig.tick("campaigns", "dispatch")
        db.execute("update public.outbox_campaign_members set event_at = event_at + interval '1 day'")
        db.execute("update public.outbox_campaign_members set event_at = event_at - interval '1 day'")
    assert rows(db) == [("cancelled",), ("sent",)]
    assert rig.simulator.summary().messages == 1


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("America/New_York", ["cancelled", "sent"]), ("Asia/Kathmandu", ["sent"]), ("Europe/Paris", ["sent"])],
)
async def test_zone_change_while_waiting_sends_once_that_day(
    db: Connection, rig: Rig, clocks: Clocks, zone: str, expected: list[str]
) -> None:
    campaign(db, schedule="cron", cron_expression="0 14 * * *", window_start="14:30", window_end="22:00", late_limit="5 hours")
    member(db, zone="Europe/Berlin")
    clocks.set("2026-11-24 13:00+00")
    await rig.tick("campaigns")
    assert rows(db) == [("scheduled",)]

    db.execute("update public.outbox_campaign_members set timezone = %s", [zone])
    for at in ("2026-11-24 13:30:01+00", "2026-11-24 19:30:01+00", "2026-11-24 23:00+00"):
        clocks.set(at)
        await rig.tick("campaigns", "dispatch")

    assert [status for (status,) in rows(db)] == expected


@pytest.mark.parametrize("schedule", ["once", "reminder", "cron"])
async def test_zone_change_into_an_open_window_sends_immediately(
    db: Connection, rig: Rig, clocks: Clocks, schedule: str
) -> None:
    window = {"window_start": "09:00", "window_end": "20:00", "late_limit": "8 hours"}
    if schedule == "once":
        once(db, **window)
    elif schedule == "reminder":
        campaign(db, offsets=["-12 hours"], **window)
    else:
        campaign(db, schedule=schedule, cron_expression="1 12 * * *", timezone="UTC", **window)
    member(db, zone="America/Los_Angeles", event_at="2026-11-25 00:01+00")
    clocks.set("2026-11-24 12:01+00")  # 04:01 there
    await rig.tick("campaigns", "dispatch")
    assert rows(db, "status, due_at") == [("scheduled", datetime.fromisoformat("2026-11-24T17:00+00:00"))]

    clocks.set("2026-11-24 12:10+00")
    db.execute("update public.outbox_campaign_members set timezone = 'Asia/Kolkata'")  # 17:40, and closed from 14:30Z on
    await rig.tick("dispatch")

    assert rows(db, "status, sent_at") == [("sent", clocks.now())]


async def test_zone_change_into_a_closed_window_waits(db: Connection, rig: Rig, clocks: Clocks) -> None:
    once(db, window_start="13:00", window_end="20:00", late_limit="8 hours")
    member(db)
    await rig.tick("campaigns", "dispatch")

    db.execute("update public.outbox_campaign_members set timezone = 'America/New_York'")
    await rig.tick("dispatch")
    assert rows(db, "status, due_at") == [("scheduled", datetime.fromisoformat("2026-11-24T18:00+00:00"))]


async def test_move_keeps_times_of_the_campaigns_zone(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(
        db, schedule="cron", cron_expression="0 14 * * *", timezone="Europe/Berlin", window_start="14:30", window_end="22:00",
        late_limit="5 hours",
    )  # fmt: skip
    member(db, zone="Europe/Berlin")
    clocks.set("2026-11-24 13:00+00")
    await rig.tick("campaigns")

    db.execute("update public.outbox_campaign_members set timezone = 'Europe/London'")
    await rig.tick("campaigns")

    assert rows(db) == [("scheduled",)]


async def test_westward_move_after_skipped_time_sends_once(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """Clocks skip 02:30 in Berlin that day; the member then moves to New York."""
    clocks.set("2027-03-28 00:00+00")
    campaign(db, schedule="cron", cron_expression="30 2 * * *")
    member(db, zone="Europe/Berlin")
    await rig.tick("campaigns")
    clocks.set("2027-03-28 01:30+00")  # 03:30, there is no 02:30
    await rig.tick("campaigns", "dispatch")
    assert rows(db) == [("sent",)]

    clocks.set("2027-03-28 01:35+00")
    db.execute("update public.outbox_campaign_members set timezone = 'America/New_York'")
    for at in ("2027-03-28 06:30+00", "2027-03-28 07:30+00"):  # 02:30 and 03:30 there
        clocks.set(at)
        await rig.tick("campaigns", "dispatch")

    assert rows(db) == [("sent",)]


async def test_member_removed_and_readded_is_sent_once(db: Connection, rig: Rig) -> None:
    once(db)
    for _ in range(3):
        member(db)
        await rig.tick("campaigns")
        db.execute("delete from public.outbox_campaign_members")
    member(db)
    await rig.tick("campaigns", "dispatch")
    db.execute("delete from public.outbox_campaigns")
    once(db)
    member(db)
    await rig.tick("campaigns", "dispatch")
    assert statuses(db) == {"cancelled": 3, "sent": 1}


async def test_ending_a_campaign_cancels_its_waiting_messages(db: Connection, rig: Rig) -> None:
    once(db, window_start="18:00", window_end="20:00", late_limit="1 day")
    for n in range(5):
        member(db, str(n), n=n)
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set status = 'ended'")
    await rig.tick("campaigns")
    assert rows(db, "status, error") == [("cancelled", "the campaign was ended")] * 5


async def test_pause_is_made_up_for_within_late_limit(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, schedule="cron", cron_expression="0 13,15 * * *", late_limit="30 minutes")
    member(db)
    db.execute("update public.outbox_campaigns set status = 'paused'")
    clocks.set("2026-11-24 15:20+00")
    await rig.tick("campaigns", "dispatch")
    assert rows(db) == []
    db.execute("update public.outbox_campaigns set status = 'active'")
    await rig.tick("campaigns", "dispatch")
    assert rows(db) == [("sent",)]
    assert [reason is None for reason in reasons(db)] == [False, True]


async def test_paused_campaign_has_no_next_time(db: Connection, rig: Rig) -> None:
    campaign(db, schedule="cron", cron_expression="0 15 * * *")
    member(db)
    await rig.tick("campaigns")
    active = db.execute("select next_at from public.outbox_campaigns").fetchone()

    db.execute("update public.outbox_campaigns set status = 'paused'")
    await rig.tick("campaigns")

    assert active == (datetime.fromisoformat("2026-11-24T15:00+00:00"),)
    assert db.execute("select next_at from public.outbox_campaigns").fetchone() == (None,)


async def test_late_policy_holds_for_rows_before_a_downtime(db: Connection, rig: Rig, clocks: Clocks) -> None:
    for policy in ("send", "skip"):
        once(db, policy, late_policy=policy)
        member(db, to=policy)
    await rig.tick("campaigns")
    clocks.move("5 hours")
    await rig.tick("campaigns", "dispatch")
    assert rows(db, "campaign, status, error") == [
        ("send", "sent", None),
        ("skip", "expired", "later than late_limit 01:00:00, and late_policy is skip"),
    ]


async def test_caps_follow_the_recipients_calendar(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """They do not count transactional messages."""
    campaign(db, schedule="cron", cron_expression="0 10,14,23 * * *", daily_cap=2, weekly_cap=3)
    member(db, zone="Pacific/Auckland")
    insert(db, 2, first=1)
    clocks.set("2026-11-28 09:00+00")  # Saturday 22:00 in Auckland
    for _ in range(66):
        await rig.tick("campaigns", "dispatch")
        clocks.move("1 hour")
    outcomes = rows(db, "sent_at at time zone 'Pacific/Auckland', error")
    assert [(f"{sent_at:%a %H}" if sent_at else error) for sent_at, error in outcomes if (sent_at or error)][2:] == [
        "Sat 23",
        "Sun 10",
        "Sun 14",
        "daily_cap 2 reached for this recipient",
        "Mon 10",
        "Mon 14",
        "daily_cap 2 reached for this recipient",
        "Tue 10",
        "weekly_cap 3 reached for this recipient",
    ]


async def test_throttled_attempt_spends_the_budget_once(db: Connection, rig: Rig, clocks: Clocks) -> None:
    once(db, budget_parts=2)
    member(db, "a", n=1)
    member(db, "b", n=2)
    rig.simulator.add(throttle(retry_after="1"))
    await rig.tick("campaigns", "dispatch")
    assert rows(db, "sent_at") == [(None,), (None,)]
    clocks.move("2 minutes")
    await rig.tick("dispatch")
    assert statuses(db) == {"sent": 2}


async def test_daily_budget_restarts_with_the_campaigns_day(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, schedule="cron", cron_expression="0 18,19,23 * * *", daily_budget_parts=1, timezone="Asia/Kathmandu")
    member(db, zone=None)
    for at in ("2026-11-24 12:15+00", "2026-11-24 13:15+00", "2026-11-24 17:15+00", "2026-11-25 12:15+00"):
        clocks.set(at)  # 18:00, 19:00, 23:00 and 18:00 in Kathmandu
        await rig.tick("campaigns", "dispatch")
    assert rows(db) == [("sent",), ("suppressed",), ("suppressed",), ("sent",)]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"timezone": "Europe/Atlantis"},
            "campaign 'c': timezone 'Europe/Atlantis' is not in the tz database; its names are such as",
        ),
        ({"schedule": "weekly"}, "schedule 'weekly' is not once, cron or reminder"),
        ({"schedule": "once"}, "schedule once needs starts_at"),
        ({"schedule": "cron", "cron_expression": "0 0 31 2 *"}, "names a day that never comes"),
        ({"offsets": []}, "schedule reminder needs offsets"),
        ({"offsets": ["-9 years"]}, "within two years"),
        ({"window_start": "09:00"}, "window_start and window_end must both be given"),
        ({"window_days": [0]}, "window_days must be ISO days"),
        ({"daily_cap": 0}, "daily_cap and weekly_cap must be at least 1"),
        ({"budget_parts": -1}, "must not be negative"),
        ({"late_limit": "-1 hour"}, "late_limit must not be negative"),
        ({"late_limit": "1000000 years"}, "late_limit must not be more than a hundred years"),
        ({"schedule": "once", "starts_at": "294276-12-31 00:00+00"}, "starts_at, an instant between 1970 and 2200"),
        ({"late_policy": "later"}, "late_policy 'later' is not send or skip"),
        ({"status": "running"}, "status 'running' is not draft"),
        ({"sender": "???"}, r"sender '\?\?\?' is not a sender"),
        ({"template": "nowhere"}, "template 'nowhere' does not exist"),
        ({"schedule": "once", "starts_at": "2026-11-24 10:00+00"}, "is past by more than late_limit"),
    ],
)
def test_invalid_campaign_is_refused(db: Connection, columns: dict[str, Any], says: str) -> None:
    with pytest.raises(psycopg.DataError, match=says):
        campaign(db, **columns)


@pytest.mark.parametrize(
    ("columns", "needed_by"),
    [
        ({}, "an offset in days"),
        ({"offsets": ["-1 hour"], "window_start": "09:00", "window_end": "17:00"}, "its window"),
        ({"offsets": ["-1 hour"], "window_days": [1]}, "its window"),
        ({"offsets": ["-1 hour"], "daily_cap": 1}, "its daily_cap"),
        ({"schedule": "once", "starts_at": "2026-11-30 12:00+00", "weekly_cap": 1}, "its weekly_cap"),
        ({"schedule": "cron", "cron_expression": "0 9 * * *"}, "its cron_expression"),
    ],
)
def test_missing_zone_is_refused_with_its_need(db: Connection, columns: dict[str, Any], needed_by: str) -> None:
    """A campaign by local time needs a zone of its own or of each member."""
    campaign(db, **columns)
    says = f"member 'm' of campaign 'c': no timezone, and the campaign has none either; {needed_by} needs one"
    with pytest.raises(psycopg.DataError, match=says):
        member(db, zone=None, event_at="2026-11-30 12:00+00")

    campaign(db, "later", template="hi", offsets=["-1 hour"], status="draft")
    member(db, zone=None, to="later", event_at="2026-11-30 12:00+00")
    db.execute("update public.outbox_campaigns set daily_cap = 1 where name = 'later'")
    (shown,) = db.execute(
        "select r ->> 'problem' from jsonb_array_elements(public.outbox_preview_campaign('later', 1)) r"
    ).fetchall()
    assert shown == ("no timezone, and the campaign has none either; its daily_cap needs one",)
    says = "member 'm' of campaign 'later': no timezone, and the campaign has none either; its daily_cap needs one"
    with pytest.raises(psycopg.DataError, match=says):
        db.execute("update public.outbox_campaigns set status = 'active' where name = 'later'")


def test_unknown_zone_is_refused_but_hours_need_none(db: Connection) -> None:
    campaign(db)
    with pytest.raises(psycopg.DataError, match="timezone 'Mars/Base' is not in the tz database"):
        member(db, zone="Mars/Base", event_at="2026-11-30 12:00+00")
    campaign(db, "hours", offsets=["-90 minutes"])
    member(db, zone=None, to="hours", event_at="2026-11-30 12:00+00")


@pytest.mark.parametrize("event_at", ["294276-12-31 23:00+00", "2200-01-01 00:00+00", "1969-12-31 23:59+00", "infinity"])
def test_event_outside_the_calendar_is_refused(db: Connection, event_at: str) -> None:
    """Other members' messages are expanded all the same."""
    campaign(db)
    with pytest.raises(psycopg.DataError, match="event_at must be an instant between 1970 and 2200"):
        member(db, event_at=event_at)
    member(db, event_at="2199-12-31 23:59+00")
    assert db.execute("select public.outbox_expand_campaigns(10) ->> 'members'").fetchone() == ("1",)


@pytest.mark.parametrize("status", ["active", "paused"])
def test_started_campaign_cannot_become_a_draft_again(db: Connection, status: str) -> None:
    campaign(db)
    db.execute("update public.outbox_campaigns set status = %s", [status])
    with pytest.raises(psycopg.DataError, match=f"campaign 'c' is {status}: it cannot become a draft again"):
        db.execute("update public.outbox_campaigns set status = 'draft'")


def test_nulls_mean_the_defaults(db: Connection) -> None:
    campaign(db, priority=None, late_policy=None, late_limit=None, status=None)
    found = db.execute("select priority, late_policy, late_limit = '1 hour', status from public.outbox_campaigns").fetchone()
    assert found == (200, "send", True, "draft")
