"""Campaigns from members to the outbox: each message once, at the right local time, and none after a member is removed."""

from collections.abc import Callable
from datetime import datetime

import psycopg
import pytest

from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, Rig, statuses
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    """Tuesday noon in Greenwich, standing still."""
    clocks.set(NOW)
    template(db)


async def test_a_reminder_goes_out_once_for_each_offset(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db)
    member(db, event_at="2026-11-25 18:00+00")

    for _ in range(32):
        await rig.tick("campaigns", "campaigns", "dispatch")
        clocks.move("1 hour")

    assert rows(db, "status, body, campaign") == [("sent", "Hello Ada", "c")] * 2
    assert [row[0] for row in db.execute("select occurs_at from public.outbox_campaign_occurrences order by 1")] == [
        datetime.fromisoformat("2026-11-24T18:00+00:00"),
        datetime.fromisoformat("2026-11-25T17:00+00:00"),
    ]


async def test_offset_past_on_joining_is_skipped_with_reason(db: Connection, rig: Rig) -> None:
    campaign(db)
    member(db, event_at="2026-11-24 20:00+00")
    await rig.tick("campaigns")

    assert rows(db) == []
    assert [str(reason)[:8] for reason in reasons(db)] == ["too late"]


async def test_closed_window_holds_again_at_the_claim(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, schedule="once", starts_at=NOW, window_start="13:00", window_end="14:00", late_limit="2 days")
    member(db)
    await rig.tick("campaigns", "dispatch")
    assert rows(db, "status, send_at") == [("scheduled", datetime.fromisoformat("2026-11-24T13:00+00:00"))]

    clocks.move("3 hours")
    await rig.tick("dispatch")
    assert rows(db, "status, due_at") == [("scheduled", datetime.fromisoformat("2026-11-25T13:00+00:00"))]

    clocks.move("22 hours 30 minutes")
    await rig.tick("dispatch")
    assert rows(db) == [("sent",)]
    expiry = db.execute("select expire_at from outbox_engine.dispatches").fetchone()
    assert expiry == (datetime.fromisoformat("2026-11-25T14:00+00:00"),)


async def test_moved_or_removed_members_lose_waiting_messages(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """A time that was taken back may be used again."""
    campaign(db, offsets=["-1 hour"], window_start="12:30", window_end="20:00", late_limit="1 day")
    member(db, event_at="2026-11-24 13:15+00")
    clocks.move("15 minutes")
    await rig.tick("campaigns")
    assert rows(db) == [("scheduled",)]

    db.execute("update public.outbox_campaign_members set event_at = '2026-11-24 15:00+00'")
    assert rows(db, "status, error") == [("cancelled", "the member was moved to another time")]
    clocks.move("2 hours")
    await rig.tick("campaigns", "dispatch")
    assert rows(db) == [("cancelled",), ("sent",)]
    db.execute("delete from public.outbox_campaign_members")
    await rig.tick("campaigns", "dispatch")
    assert rows(db) == [("cancelled",), ("sent",)]


async def test_paused_campaign_holds_and_ended_one_cancels(db: Connection, rig: Rig) -> None:
    campaign(db, schedule="once", starts_at=NOW)
    member(db, "a", n=1)
    member(db, "b", n=2)
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set status = 'paused'")
    await rig.tick("dispatch", "campaigns", "dispatch")
    assert statuses(db) == {"scheduled": 2}

    db.execute("update public.outbox_campaigns set status = 'active'")
    db.execute("delete from public.outbox_campaign_members where external_id = 'a'")
    await rig.tick("campaigns", "dispatch")
    assert statuses(db) == {"cancelled": 1, "sent": 1}

    member(db, "d", n=4)
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set status = 'ended'")
    await rig.tick("dispatch")
    assert statuses(db) == {"cancelled": 2, "sent": 1}


async def test_caps_and_budgets_stop_the_excess(db: Connection, rig: Rig) -> None:
    campaign(db, "capped", schedule="once", starts_at=NOW, daily_cap=1)
    campaign(db, "poor", schedule="once", starts_at=NOW, budget_parts=2)
    for external_id in ("a", "b"):
        member(db, external_id, n=1, to="capped")
    for n in (2, 3, 4):
        member(db, str(n), n=n, to="poor")
    await rig.tick("campaigns", "dispatch")

    assert statuses(db) == {"sent": 3, "suppressed": 2}
    assert sorted(error for (error,) in rows(db, "error") if error) == [
        "budget_parts 2 of the campaign reached",
        "daily_cap 1 reached for this recipient",
    ]


async def test_message_over_a_limit_uses_none_of_it(db: Connection, rig: Rig) -> None:
    campaign(db, "poor", schedule="once", starts_at=NOW, budget_parts=3, priority=100)
    for n, name in enumerate(["Ada", "A" * 1000, "Grace"]):
        member(db, str(n), n=n, to="poor", parameters={"name": name})
    campaign(db, "capped", schedule="once", starts_at=NOW, daily_cap=1)
    member(db, n=1, to="capped")
    await rig.tick("campaigns", "dispatch")

    assert rows(db, "campaign, status") == [("poor", "sent"), ("poor", "suppressed"), ("poor", "sent"), ("capped", "sent")]


@pytest.mark.parametrize(
    ("policy", "limit", "expected"), [("send", "30 minutes", 0), ("send", "1 hour", 1), ("skip", "1 hour", 0)]
)
async def test_after_downtime_late_policy_decides(
    db: Connection, rig: Rig, clocks: Clocks, policy: str, limit: str, expected: int
) -> None:
    campaign(db, offsets=["-1 hour"], late_limit=limit, late_policy=policy)
    member(db, event_at="2026-11-24 20:00+00")
    await rig.tick("campaigns")
    clocks.move("7 hours 45 minutes")
    await rig.tick("campaigns", "dispatch")
    assert len(rows(db)) == expected
    assert len(reasons(db)) == 1


async def test_daily_cron_survives_a_change_of_zone(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """It goes by each member's wall clock."""
    campaign(db, schedule="cron", cron_expression="0 14 * * *")
    member(db, "berlin", n=1, zone="Europe/Berlin")
    member(db, "london", n=2, zone="Europe/London")
    for _ in range(6):
        await rig.tick("campaigns", "dispatch")
        clocks.move("30 minutes")
        db.execute(
            "update public.outbox_campaign_members set timezone = 'Europe/London'"
            " where external_id = 'berlin' and exists (select from public.outbox)"
        )
    await rig.tick("campaigns", "dispatch")

    assert len(rows(db)) == 2


def test_invalid_statements_are_refused_with_an_explanation(db: Connection) -> None:
    campaign(db)
    bad = {
        "update public.outbox_templates set body = 'Hi {{first}}'": "placeholder {{first}}",
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone)"
        " values ('c', 'x', '+14155550123', 'UTC')": "'x' of campaign 'c': placeholder {{name}}",
        "update public.outbox_campaign_members set timezone = 'Mars/Base'": "Mars/Base",
        'update public.outbox_campaign_members set parameters = \'{"name": "A", "more": 1}\'': "{{more}}",
        "update public.outbox_campaigns set timezone = 'FOO+3'": "FOO+3",
        "update public.outbox_campaigns set schedule = 'cron', cron_expression = '61 * * * *'": "minute '61'",
    }
    member(db, event_at="2026-11-30 12:00+00")
    for statement, says in bad.items():
        with pytest.raises(psycopg.DataError) as refused:
            db.execute(statement)
        assert says in str(refused.value), statement


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda db: member(db, "ö" * 201), "external_id 'öööööööööööööööööööö…' has 201 characters, 200 are allowed"),
        (lambda db: campaign(db, "x" * 201), "name has 201 characters, 200 are allowed"),
        (lambda db: template(db, "x" * 201), "name has 201 characters, 200 are allowed"),
    ],
    ids=["member", "campaign", "template"],
)
def test_texts_too_long_for_an_index_are_refused(db: Connection, make: Callable[[Connection], None], says: str) -> None:
    campaign(db, "x" * 200)
    member(db, "ö" * 200, to="x" * 200)
    campaign(db)

    with pytest.raises(psycopg.DataError) as refused:
        make(db)

    assert refused.value.sqlstate == "22023"
    assert says in str(refused.value)
