"""Campaigns at exact instants: what is too late, what is just in time, and which rows an edit reaches."""

from datetime import datetime

import pytest

from tests.calls import claim, claim_all, release
from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, history, statuses
from tests.stack import Connection

NOON = "2026-11-24 12:00+00"
TOO_LATE = "too late: it was past when the member came, moved or the campaign began"
MISSED = "missed, and late_policy is skip"


@pytest.fixture(autouse=True)
def _noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOON)
    template(db)


def expand(db: Connection, *, most: int = 100) -> None:
    """Expand as the campaigns job does, ``most`` rows or members at a time."""
    while True:
        row = db.execute("select (public.outbox_expand_campaigns(%s) ->> 'more')::boolean", [most]).fetchone()
        if row != (True,):
            return


@pytest.mark.parametrize(
    ("opens", "reason"), [("13:29", None), ("13:30", "its window opens at 2026-11-24 13:30:00+00, after the event")]
)
def test_window_opening_at_the_event_is_too_late(db: Connection, opens: str, reason: str | None) -> None:
    campaign(db, offsets=["-90 minutes"], window_start=opens, window_end="20:00", late_limit="1 day")
    member(db, event_at="2026-11-24 13:30+00")
    db.execute("update public.outbox_campaign_members set changed_at = changed_at - interval '1 hour'")
    db.execute("update public.outbox_campaigns set activated_at = activated_at - interval '1 hour'")

    expand(db)

    assert reasons(db) == [reason]


@pytest.mark.parametrize(("limit", "made"), [("90 minutes", 1), ("89 minutes", 0)])
def test_a_window_may_open_at_the_late_limit(db: Connection, limit: str, made: int) -> None:
    campaign(db, schedule="once", starts_at=NOON, window_start="13:30", window_end="20:00", late_limit=limit)
    member(db)

    expand(db)

    assert len(rows(db)) == made


@pytest.mark.parametrize(("at", "reason"), [("12:31", None), ("12:31:01", MISSED)])
def test_skip_allows_a_minute_of_delay(db: Connection, clocks: Clocks, at: str, reason: str | None) -> None:
    campaign(db, offsets=["-1 hour"], late_policy="skip")
    member(db, event_at="2026-11-24 13:30+00")
    clocks.set(f"2026-11-24 {at}+00")

    expand(db)

    assert reasons(db) == [reason]


@pytest.mark.parametrize(("event", "reason"), [("13:00:00", TOO_LATE), ("13:00:01", None)])
def test_time_at_the_joining_instant_is_skipped(db: Connection, event: str, reason: str | None) -> None:
    campaign(db, offsets=["-1 hour"])
    member(db, event_at=f"2026-11-24 {event}+00")

    expand(db)

    assert reasons(db) == [reason]


@pytest.mark.parametrize(("starts", "reason"), [("11:00:00", TOO_LATE), ("11:00:01", None)])
def test_member_joining_within_late_limit_gets_the_message(db: Connection, starts: str, reason: str | None) -> None:
    """A campaign that goes out once began an hour ago, which is its limit."""
    campaign(db, schedule="once", starts_at=f"2026-11-24 {starts}+00", late_limit="1 hour")
    member(db)

    expand(db)

    assert reasons(db) == [reason]


def test_an_edit_reaches_every_waiting_message(db: Connection) -> None:
    """Two rows at a time."""
    template(db, "bye", "Goodbye {{name}}")
    campaign(db, schedule="once", starts_at=NOON, window_start="13:00", window_end="20:00")
    for n in range(5):
        member(db, str(n), n=n)
    expand(db)

    db.execute("update public.outbox_campaigns set template = 'bye'")
    expand(db, most=2)

    assert rows(db, "template") == [("bye",)] * 5


def test_a_new_schedule_reaches_every_member(db: Connection, clocks: Clocks) -> None:
    """Ten members at a time."""
    campaign(db, offsets=["-1 hour"])
    for n in range(25):
        member(db, str(n), n=n, event_at="2026-11-24 15:00+00")
    expand(db)

    db.execute("update public.outbox_campaigns set offsets = '{-2 hours}'")
    expand(db, most=2)
    clocks.set("2026-11-24 13:00+00")
    expand(db)

    assert statuses(db) == {"pending": 25}


def test_a_held_message_is_put_off_once(db: Connection) -> None:
    """Otherwise each claim would read all rows of a paused campaign."""
    campaign(db, schedule="once", starts_at=NOON)
    member(db)
    expand(db)
    db.execute("update public.outbox_campaigns set status = 'paused'")

    for _ in range(3):
        assert claim_all(db) == []

    assert rows(db, "status, due_at = expires_at") == [("scheduled", True)]
    assert history(db, rows(db, "id")[0][0]) == ["held"]


def test_move_in_a_paused_campaign_releases_nothing(db: Connection) -> None:
    campaign(db, schedule="once", starts_at=NOON, window_start="18:00", window_end="20:00", late_limit="1 day")
    member(db)
    expand(db)
    db.execute("update public.outbox_campaigns set status = 'paused'")
    waiting = rows(db, "status, due_at")

    db.execute("update public.outbox_campaign_members set timezone = 'America/New_York'")

    assert rows(db, "status, due_at") == waiting
    assert waiting[0][0] == "scheduled"


def test_cron_goes_by_the_campaigns_zone_first(db: Connection) -> None:
    campaign(db, schedule="cron", cron_expression="1 13 * * *", timezone="Europe/Berlin")
    member(db, zone="America/New_York")

    expand(db)

    assert rows(db, "send_at at time zone 'Europe/Berlin'") == [(datetime.fromisoformat("2026-11-24T13:01:00"),)]


def test_an_apps_cancel_outlives_its_member(db: Connection) -> None:
    """The app cancelled the message in a request. A member removed and added again gets no second message for the same time."""
    campaign(db, schedule="once", starts_at=NOON)
    member(db)
    expand(db)
    dispatch = claim(db)
    db.execute("update public.outbox set status = 'cancelled'")
    db.execute("delete from public.outbox_campaign_members")

    release(db, dispatch)
    member(db)
    expand(db)

    assert rows(db) == [("cancelled",)]


def test_a_daily_budget_goes_by_the_campaigns_day(db: Connection, clocks: Clocks) -> None:
    """In Los Angeles it is still Tuesday at five and six in the afternoon; in UTC it is Wednesday."""
    zone = "America/Los_Angeles"
    campaign(db, schedule="cron", cron_expression="0 17,18 * * *", timezone=zone, daily_budget_parts=1)
    member(db, zone=None)
    for at in ("2026-11-25 01:00+00", "2026-11-25 02:00+00", "2026-11-26 01:00+00"):
        clocks.set(at)
        expand(db)
        claim_all(db)

    assert rows(db) == [("sending",), ("suppressed",), ("sending",)]
