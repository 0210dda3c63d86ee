"""A month of changes: members move, a campaign pauses, a cap applies, a window crosses midnight. Python computes the times."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest

from tests.acceptance.test_campaign_year import instant
from tests.campaigns import campaign, member, template
from tests.engine import Clocks, Rig
from tests.stack import Connection

BEGIN = datetime(2027, 10, 25, 11, tzinfo=UTC)
END = datetime(2027, 11, 22, 11, tzinfo=UTC)
PAUSED, RESUMED = datetime(2027, 11, 10, 12, 30, tzinfo=UTC), datetime(2027, 11, 14, 12, 30, tzinfo=UTC)
NIGHT_OWLS = ("Europe/Berlin", "Pacific/Chatham")
NIGHTS_AT = time(1, 30)
TWICE_AT = (time(10), time(15))

# The zone of each member, from an instant on. The clocks of the first two zones change in that month.
TRAVELLERS = {
    "westward": [(BEGIN, "Europe/Berlin"), (datetime(2027, 11, 3, 12, tzinfo=UTC), "America/St_Johns")],
    "eastward": [
        (BEGIN, "America/St_Johns"),
        (datetime(2027, 10, 29, 15, tzinfo=UTC), "Asia/Kathmandu"),
        (datetime(2027, 11, 16, 6, tzinfo=UTC), "Australia/Lord_Howe"),
    ],
}
# The time of each appointment in Berlin, as known from an instant on.
APPOINTMENTS = {
    "stays": [(BEGIN, datetime(2027, 11, 1, 2, 15, tzinfo=UTC))],
    "moved away": [
        (BEGIN, datetime(2027, 11, 5, 14, tzinfo=UTC)),
        (datetime(2027, 11, 4, 18, tzinfo=UTC), datetime(2027, 11, 9, 9, tzinfo=UTC)),
    ],
    "brought forward": [
        (BEGIN, datetime(2027, 11, 12, 14, tzinfo=UTC)),
        (datetime(2027, 11, 10, 14, 45, tzinfo=UTC), datetime(2027, 11, 11, 8, tzinfo=UTC)),
    ],
    "moved away and back": [
        (BEGIN, datetime(2027, 11, 18, 10, tzinfo=UTC)),
        (datetime(2027, 11, 17, 12, tzinfo=UTC), datetime(2027, 11, 20, 10, tzinfo=UTC)),
        (datetime(2027, 11, 18, 7, tzinfo=UTC), datetime(2027, 11, 18, 10, tzinfo=UTC)),
    ],
}
What = TypeVar("What")
Sent = tuple[str, str, datetime]
Change = tuple[datetime, str, list[object]]


@pytest.mark.nightly
async def test_month_of_changes_sends_at_expected_instants(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """Python computes the expected instants independently of the database."""
    clocks.set(BEGIN)
    template(db)
    set_up(db)
    waiting = sorted(changes(), key=lambda change: change[0])

    while (moment := min(next_moment(db), waiting[0][0] if waiting else END)) < END:
        clocks.set(max(moment, clocks.now()))
        while waiting and waiting[0][0] <= moment:
            _, statement, values = waiting.pop(0)
            db.execute(statement.encode(), values)
        await rig.tick("campaigns", "dispatch")

    assert Counter(sent(db)) == Counter(expected())
    assert rig.simulator.summary().messages == len(list(expected()))
    capped = db.execute("select count(*) from public.outbox where campaign = 'twice' and status = 'suppressed'").fetchone()
    assert capped is not None
    assert int(str(capped[0])) > 40


def set_up(db: Connection) -> None:
    campaign(db, "nights", schedule="cron", cron_expression="30 1 * * *", late_limit="6 hours",
             window_start="22:00", window_end="02:00", window_days=[1, 2, 3, 4, 5])  # fmt: skip
    campaign(db, "twice", schedule="cron", cron_expression="0 10,15 * * *", daily_cap=1)
    campaign(db, "visits", offsets=["-1 day", "-2 hours"])
    for n, zone in enumerate(NIGHT_OWLS):
        member(db, zone, n=n, zone=zone, to="nights")
    for n, (name, stays) in enumerate(TRAVELLERS.items(), 10):
        member(db, name, n=n, zone=stays[0][1], to="twice")
    for n, (name, events) in enumerate(APPOINTMENTS.items(), 20):
        member(db, name, n=n, zone="Europe/Berlin", to="visits", event_at=events[0][1])


def changes() -> Iterator[Change]:
    for name, stays in TRAVELLERS.items():
        for at, zone in stays[1:]:
            yield at, "update public.outbox_campaign_members set timezone = %s where external_id = %s", [zone, name]
    for name, events in APPOINTMENTS.items():
        for at, event in events[1:]:
            yield at, "update public.outbox_campaign_members set event_at = %s where external_id = %s", [event, name]
    for at, status in ((PAUSED, "paused"), (RESUMED, "active")):
        yield at, "update public.outbox_campaigns set status = %s where name = 'nights'", [status]


def next_moment(db: Connection) -> datetime:
    """The engine's own next due time. A paused campaign has none."""
    row = db.execute(
        "select least("
        "  (select min(m.next_at) from public.outbox_campaign_members m join public.outbox_campaigns c on c.name = m.campaign"
        "   where c.status = 'active'),"
        "  (select min(due_at) from public.outbox where queue is not null))"
    ).fetchone()
    assert row is not None
    return row[0] if isinstance(row[0], datetime) else END


def sent(db: Connection) -> list[Sent]:
    found = db.execute(
        "select o.campaign, o.external_id, x.sent_at"
        " from public.outbox_campaign_occurrences o join public.outbox x on x.id = o.outbox_id where x.sent_at is not null"
    ).fetchall()
    return [(str(name), str(who), at) for name, who, at in found if isinstance(at, datetime)]


def expected() -> Iterator[Sent]:
    for zone in NIGHT_OWLS:
        yield from (("nights", zone, at) for at in nights(zone))
    for name, stays in TRAVELLERS.items():
        yield from (("twice", name, at) for at in once_a_day(stays))
    for name, events in APPOINTMENTS.items():
        yield from (("visits", name, at) for at in reminders(events))


def nights(zone: str) -> Iterator[datetime]:
    """Half past one belongs to the window of the evening before, which opens from Monday to Friday."""
    for day in days():
        at = instant(day, NIGHTS_AT, zone)
        if BEGIN < at < END and not PAUSED <= at < RESUMED and day.isoweekday() in range(2, 7):
            yield at


def once_a_day(stays: list[tuple[datetime, str]]) -> Iterator[datetime]:
    """Each local time in the member's zone of that moment, once; and only the first of each of the member's days."""
    sent_at: list[datetime] = []
    for at, zone in sorted(shown(stays)):
        midnight = instant(at.astimezone(ZoneInfo(zone)).date(), time(0), zone)
        if not sent_at or sent_at[-1] < midnight:
            sent_at.append(at)
            yield at


def shown(stays: list[tuple[datetime, str]]) -> Iterator[tuple[datetime, str]]:
    for day in days():
        for clock in TWICE_AT:
            there = [
                (at, zone) for since, until, zone in stretches(stays) if since < (at := instant(day, clock, zone)) <= until
            ]
            yield from there[:1]


def reminders(events: list[tuple[datetime, datetime]]) -> Iterator[datetime]:
    for since, until, event in stretches(events):
        local = event.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)
        for at in (
            instant(local.date() - timedelta(days=1), local.time(), "Europe/Berlin"),
            event - timedelta(hours=2),
        ):
            if since < at <= until:
                yield at


def stretches(known: list[tuple[datetime, What]]) -> Iterator[tuple[datetime, datetime, What]]:
    ends = [since for since, _ in known[1:]]
    for (since, what), until in zip(known, [*ends, END], strict=True):
        yield since, until, what


def days() -> Iterator[date]:
    day = BEGIN.date() - timedelta(days=1)
    while day <= END.date() + timedelta(days=1):
        yield day
        day += timedelta(days=1)
