"""A whole year of campaigns in zones with odd offsets. Python's zoneinfo computes every instant a second time."""

# Wall-clock times have no zone.

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.campaigns import campaign, member, template
from tests.engine import Clocks, Rig, statuses
from tests.nightly import at_night
from tests.stack import Connection

ZONES = (
    "Europe/Berlin",
    "America/St_Johns",  # half an hour off, and another continent's days
    "Australia/Lord_Howe",  # the clock changes by half an hour
    "Asia/Kathmandu",  # three quarters of an hour off, no change
    "Pacific/Chatham",  # both: three quarters, and changes in the south
)
YEAR = datetime(2027, 1, 1, 12, tzinfo=UTC), datetime(2028, 1, 1, 12, tzinfo=UTC)
SPRING = datetime(2027, 3, 12, 12, tzinfo=UTC), datetime(2027, 4, 6, 12, tzinfo=UTC)
"""The weeks in which the clocks of four of the zones change. `test_campaign_month.py` has those of autumn."""
SUNDAYS_AT = time(2, 30)
SUNDAY_MONTHS = (3, 4, 9, 10, 11)  # those in which a clock changes somewhere
FORTNIGHT_AT = time(6, 15)
OPENS_AT = time(9)
EVENTS_AT = time(2, 15)
QUIET_DAYS = (date(2027, 2, 10), date(2027, 3, 24), date(2027, 7, 20))
Sent = tuple[str, str, datetime]


@pytest.mark.parametrize(("begin", "end"), [SPRING, at_night(*YEAR)], ids=["spring", "year"])
async def test_campaigns_send_at_the_instants_of_zoneinfo(
    db: Connection, rig: Rig, clocks: Clocks, begin: datetime, end: datetime
) -> None:
    clocks.set(begin)
    template(db)
    campaign(db, "sundays", schedule="cron", cron_expression="30 2 * 3,4,9-11 0")
    campaign(db, "fortnights", schedule="cron", cron_expression="15 6 1,15 * *", late_limit="4 days",
             window_start=OPENS_AT, window_end="20:00", window_days=[1, 2, 3, 4, 5])  # fmt: skip
    campaign(db, "visits", offsets=["-1 day", "-2 hours"])
    for n, zone in enumerate(ZONES):
        member(db, zone, n=n, zone=zone, to="sundays")
        member(db, zone, n=n, zone=zone, to="fortnights")
        for day in clock_changes(zone, begin, end):
            member(db, f"{zone} {day}", n=n, zone=zone, to="visits", event_at=instant(day, EVENTS_AT, zone))

    while (moment := next_moment(db)) is not None and moment < end:
        clocks.set(max(moment, clocks.now()))
        await rig.tick("campaigns", "dispatch")

    due = [(name, zone, at) for name, zone, stands_for, at in occurrences(begin, end) if stands_for > begin and at < end]
    assert Counter(sent(db)) == Counter(due)
    assert statuses(db).keys() <= {"sent", "scheduled"}
    assert rig.simulator.summary().messages == len(due)


def next_moment(db: Connection) -> datetime | None:
    """The engine's own next due time. If it is wrong, messages are late, and the test sees that."""
    row = db.execute(
        "select least((select min(next_at) from public.outbox_campaign_members),"
        " (select min(due_at) from public.outbox where queue is not null))"
    ).fetchone()
    assert row is not None
    assert row[0] is None or isinstance(row[0], datetime)
    return row[0]


def sent(db: Connection) -> list[Sent]:
    found = db.execute(
        "select o.campaign, split_part(o.external_id, ' ', 1), x.sent_at"
        " from public.outbox_campaign_occurrences o join public.outbox x on x.id = o.outbox_id"
    ).fetchall()
    return [(str(name), str(zone), at) for name, zone, at in found if isinstance(at, datetime)]


def occurrences(begin: datetime, end: datetime) -> Iterator[tuple[str, str, datetime, datetime]]:
    """Campaign, zone, the local time of an occurrence, and the instant at which it is sent."""
    for zone in ZONES:
        for day in days(begin, end):
            if day.isoweekday() == 7 and day.month in SUNDAY_MONTHS:
                at = instant(day, SUNDAYS_AT, zone)
                yield "sundays", zone, at, at
            if day.day in (1, 15):
                yield "fortnights", zone, instant(day, FORTNIGHT_AT, zone), instant(next_working_day(day), OPENS_AT, zone)
        for day in clock_changes(zone, begin, end):
            event = instant(day, EVENTS_AT, zone)
            shown = event.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            for at in (instant(shown.date() - timedelta(days=1), shown.time(), zone), event - timedelta(hours=2)):
                yield "visits", zone, at, at


def instant(day: date, at: time, zone: str) -> datetime:
    """The instant of a wall-clock time in zoneinfo: the first of two, and forward by the gap if the time does not exist."""
    return datetime.combine(day, at, ZoneInfo(zone)).astimezone(UTC)


def days(begin: datetime, end: datetime) -> Iterator[date]:
    """Of every zone, those of the day before and after too."""
    day = begin.date() - timedelta(days=1)
    while day <= end.date() + timedelta(days=1):
        yield day
        day += timedelta(days=1)


def clock_changes(zone: str, begin: datetime, end: datetime) -> list[date]:
    """The days on which a zone's clocks change, and three days on which nothing happens anywhere."""
    changes = [
        day
        for day in days(begin, end)
        if datetime.combine(day, time(0), ZoneInfo(zone)).utcoffset()
        != datetime.combine(day, time(23), ZoneInfo(zone)).utcoffset()
    ]
    return [*changes, *(day for day in QUIET_DAYS if begin.date() < day < end.date())]


def next_working_day(day: date) -> date:
    while day.isoweekday() > 5:
        day += timedelta(days=1)
    return day
