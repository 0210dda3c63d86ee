"""Local time in SQL against Python's zoneinfo, on days of clock changes: for an eighth of all zones, and at night for all."""

# Wall-clock times have no zone.
# ruff: noqa: DTZ001

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campaigns import campaign, member, template
from tests.nightly import at_night, examples
from tests.stack import Connection

YEARS = (2012, 2038)
CHANGES_A_ZONE = 4
KEPT_AS = {"CET": "Europe/Brussels", "MET": "Europe/Brussels", "EET": "Europe/Athens", "WET": "Europe/Lisbon"}
"""Zone names that PostgreSQL reads as abbreviations of winter time, and the zones that the tz database links them to."""
DIFFERENT = {"America/Havana", "Cuba", "America/Inuvik", "America/Rainy_River", "America/Winnipeg", "Canada/Central"}
"""Zones in which the locked tzdata differs from the local stack's PostgreSQL, whose tz database is older."""
ALL_ZONES = sorted({*resources.files("tzdata").joinpath("zones").read_text().split()} - {"Factory", "localtime"})
SOME_ZONES = sorted({*ALL_ZONES[::8], *KEPT_AS, *DIFFERENT})
ZONES = pytest.mark.parametrize("zones", [SOME_ZONES, at_night(ALL_ZONES)], ids=["some", "all"])
EVERY_MONTH = [datetime(2027, month, 15) for month in range(1, 13)]
AROUND = [timedelta(minutes=m) for m in (-61, -60, -31, -30, -1, 0, 1, 15, 29, 30, 31, 59, 60, 61, 90, 119, 120, 121)]


def test_every_zone_of_the_tz_database_is_known(db: Connection) -> None:
    known = {name for (name,) in db.execute("select name from outbox_engine.zones")}

    assert set(ALL_ZONES) - known == set()


@ZONES
def test_all_zones_but_listed_ones_are_compared(db: Connection, zones: list[str]) -> None:
    assert set(zones) - set(shared_zones(db, zones)) == {*KEPT_AS} | DIFFERENT


def test_invalid_zone_names_are_rejected(db: Connection) -> None:
    for name in ("Europe/Atlantis", "FOO+3", "europe/berlin", "CEST", "+02:00", "", "Factory", "posixrules", "Europe/Berlin "):
        assert not one(db, "select outbox_engine.is_zone(%s)", [name]), name
    assert one(db, "select outbox_engine.is_zone('Asia/Kathmandu')")


def test_zone_abbreviations_are_stored_as_their_places(db: Connection) -> None:
    """PostgreSQL reads these links of the tz database as abbreviations."""
    template(db)
    campaign(db, timezone="CET")
    for name in KEPT_AS:
        member(db, name, zone=name)

    assert one(db, "select timezone from public.outbox_campaigns") == "Europe/Brussels"
    kept = db.execute("select external_id, timezone from public.outbox_campaign_members").fetchall()
    assert {str(name): str(place) for name, place in kept} == KEPT_AS
    for name, place in KEPT_AS.items():
        assert [ZoneInfo(name).utcoffset(day) for day in EVERY_MONTH] == [ZoneInfo(place).utcoffset(day) for day in EVERY_MONTH]


def test_unknown_zone_is_refused_with_a_suggestion(db: Connection) -> None:
    for name, says in {
        "PST": "timezone 'PST' is not in the tz database; its names are such as America/New_York",
        "Berlin": "timezone 'Berlin' is not in the tz database; its names are such as Europe/Berlin",
        "new york": "timezone 'new york' is not in the tz database; its names are such as America/New_York",
        "UTC+3": "timezone 'UTC+3' is not in the tz database; its names are such as America/New_York",
        "%": "timezone '%' is not in the tz database; its names are such as America/New_York",
        "": "timezone '' is not in the tz database; its names are such as America/New_York",
    }.items():
        assert one(db, "select outbox_engine.zone_problem(%s)", [name]) == says
    assert one(db, "select outbox_engine.zone_problem('Europe/Berlin')") is None
    assert one(db, "select outbox_engine.zone_problem(null)") is None


@ZONES
def test_local_times_around_clock_changes_are_zoneinfos_instants(db: Connection, zones: list[str]) -> None:
    asked = [(zone, local) for zone in shared_zones(db, zones) for local in islice(wall_times_near_changes(zone), 200)]
    answers = instants(db, asked)

    assert len(asked) > 25 * len(zones)
    wrong = [(zone, local, is_, answer) for (zone, local), answer in answers.items() if (is_ := instant(zone, local)) != answer]
    assert wrong == []


@ZONES
@examples(60)
@given(data=st.data())
def test_any_local_time_matches_zoneinfo(db: Connection, data: st.DataObject, zones: list[str]) -> None:
    moments = st.datetimes(min_value=datetime(1975, 1, 1), max_value=datetime(2037, 12, 1)).map(
        lambda t: t.replace(microsecond=0)
    )
    asked = data.draw(st.lists(st.tuples(st.sampled_from(shared_zones(db, zones)), moments), min_size=1, max_size=20))
    for (zone, local), answer in instants(db, asked).items():
        assert answer == instant(zone, local), (zone, local)


@examples(60)
@given(
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns", "UTC"]
    ),
    at=st.datetimes(min_value=datetime(2024, 1, 1), max_value=datetime(2027, 12, 1)),
    days=st.integers(-40, 40),
    minutes=st.integers(-3000, 3000),
)
def test_days_move_by_wall_clock_minutes_by_time(db: Connection, zone: str, at: datetime, days: int, minutes: int) -> None:
    start = at.replace(microsecond=0, tzinfo=UTC)
    moved = one(
        db,
        "select outbox_engine.add_offset(%s, make_interval(days => %s, mins => %s), %s)",
        [start, days, minutes, zone],
    )

    wall = start.astimezone(zone_info(zone)).replace(tzinfo=None) + timedelta(days=days)
    day_moved = instant(zone, wall) if days else start
    assert moved == day_moved + timedelta(minutes=minutes)


def test_day_offset_keeps_wall_time_across_clock_changes(db: Connection) -> None:
    cases = {
        ("2026-03-29T12:00:00+02:00", "-1 day"): "2026-03-28T12:00:00+01:00",
        ("2026-10-25T12:00:00+01:00", "-1 day"): "2026-10-24T12:00:00+02:00",
        ("2026-03-29T12:00:00+02:00", "-24 hours"): "2026-03-28T11:00:00+01:00",
        ("2026-03-31T09:00:00+02:00", "-1 month"): "2026-02-28T09:00:00+01:00",
        ("2026-02-28T09:00:00+01:00", "1 month -30 days"): "2026-02-26T09:00:00+01:00",
        ("2026-04-05T09:00:00+02:00", "-1 week -2 hours"): "2026-03-29T07:00:00+02:00",
        ("2026-03-30T02:30:00+02:00", "-1 day"): "2026-03-29T03:30:00+02:00",
        ("2026-10-26T02:30:00+01:00", "-1 day"): "2026-10-25T02:30:00+02:00",
        # PostgreSQL calls a month equal to 30 days, and these are not.
        ("2027-03-15T12:00:00+01:00", "1 month -30 days"): "2027-03-16T12:00:00+01:00",
        ("2027-03-15T12:00:00+01:00", "-2 months 60 days -1 hour"): "2027-03-16T11:00:00+01:00",
    }
    for (at, offset), expected in cases.items():
        moved = one(
            db, "select outbox_engine.add_offset(%s, %s::interval, 'Europe/Berlin')", [datetime.fromisoformat(at), offset]
        )
        assert moved == datetime.fromisoformat(expected), (at, offset)


@examples(60)
@given(
    zone=st.sampled_from(
        [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Africa/Cairo",
            "America/Nuuk",
            "Asia/Beirut",
        ]
    ),
    at=st.one_of(
        st.datetimes(min_value=datetime(2024, 1, 1), max_value=datetime(2027, 12, 1)),
        st.integers(-3000, 3000).map(lambda m: datetime(2026, 3, 29, 1) + timedelta(minutes=m)),
        st.integers(-3000, 3000).map(lambda m: datetime(2026, 10, 25, 1) + timedelta(minutes=m)),
    ),
    start=st.one_of(st.none(), st.integers(0, 1439)),
    length=st.integers(1, 1439),
    days=st.one_of(st.none(), st.sets(st.integers(1, 7), min_size=1)),
)
def test_window_opens_as_its_definition_requires(
    db: Connection, zone: str, at: datetime, start: int | None, length: int, days: set[int] | None
) -> None:
    now = at.replace(microsecond=0, tzinfo=UTC)
    begins = None if start is None else clock_time(start)
    ends = None if start is None else clock_time((start + length) % 1440)
    row = db.execute(
        "select opens_at, nullif(closes_at, 'infinity') from outbox_engine.window_opening(%s, %s, %s, %s::smallint[], %s)",
        [now, begins, ends, None if days is None else sorted(days), zone],
    ).fetchone()

    assert row == opening(now, begins, ends, days, zone)


@ZONES
@examples(60)
@given(data=st.data())
def test_fast_instant_search_matches_the_careful_one(db: Connection, data: st.DataObject, zones: list[str]) -> None:
    """Near clock changes and far from them."""
    asked = data.draw(st.lists(zones_and_moments(shared_zones(db, zones)), min_size=10, max_size=50))
    apart = db.execute(
        "select z, t, outbox_engine.instant_of(t, z), outbox_engine.instant_near_change(t, z)"
        " from unnest(%s::text[], %s::timestamp[]) u (z, t)"
        " where outbox_engine.instant_of(t, z) is distinct from outbox_engine.instant_near_change(t, z)",
        [[zone for zone, _ in asked], [moment for _, moment in asked]],
    ).fetchall()

    assert apart == []


@ZONES
@examples(60)
@given(
    data=st.data(),
    start=st.one_of(st.none(), st.integers(0, 1439)),
    length=st.integers(1, 1439),
    days=st.one_of(st.none(), st.sets(st.integers(1, 7), min_size=1)),
)
def test_window_in_any_zone_opens_as_defined(
    db: Connection, data: st.DataObject, start: int | None, length: int, days: set[int] | None, zones: list[str]
) -> None:
    """Near clock changes and far from them."""
    begins = None if start is None else clock_time(start)
    ends = None if start is None else clock_time((start + length) % 1440)
    for zone, moment in data.draw(st.lists(zones_and_moments(shared_zones(db, zones)), min_size=5, max_size=20)):
        now = moment.replace(tzinfo=UTC)
        row = db.execute(
            "select opens_at, nullif(closes_at, 'infinity') from outbox_engine.window_opening(%s, %s, %s, %s::smallint[], %s)",
            [now, begins, ends, None if days is None else sorted(days), zone],
        ).fetchone()

        assert row == opening(now, begins, ends, days, zone), (now, zone)


def test_window_keeps_its_ends_across_clock_changes(db: Connection) -> None:
    """Across midnight as well."""

    def ask(at: str, begins: str | None, ends: str | None, days: list[int] | None = None) -> tuple[Any, ...]:
        row = db.execute(
            "select opens_at, closes_at from outbox_engine.window_opening(%s, %s, %s, %s::smallint[], 'Europe/Berlin')",
            [datetime.fromisoformat(at), begins, ends, days],
        ).fetchone()
        assert row is not None
        return row

    berlin = datetime.fromisoformat
    assert ask("2026-11-24T08:59:59+01:00", "09:00", "17:00")[0] == berlin("2026-11-24T09:00:00+01:00")
    assert ask("2026-11-24T16:59:59+01:00", "09:00", "17:00")[0] == berlin("2026-11-24T16:59:59+01:00")
    assert ask("2026-11-24T17:00:00+01:00", "09:00", "17:00")[0] == berlin("2026-11-25T09:00:00+01:00")
    # A window that opens on Friday night still holds early on Saturday, and one of Saturdays alone does not.
    assert ask("2026-11-28T01:00:00+01:00", "22:00", "06:00", [5])[0] == berlin("2026-11-28T01:00:00+01:00")
    assert ask("2026-11-28T01:00:00+01:00", "22:00", "06:00", [6])[0] == berlin("2026-11-28T22:00:00+01:00")
    # Days without times follow one another without a break.
    assert ask("2026-11-24T12:00:00+01:00", None, None, [1, 2, 3, 4, 5])[1] == berlin("2026-11-28T00:00:00+01:00")
    assert ask("2026-11-27T12:00:00+01:00", None, None, [1, 5])[1] == berlin("2026-11-28T00:00:00+01:00")
    # Where the only night of a week lacks the window, it is the next one's.
    assert ask("2027-03-21T12:00:00+01:00", "02:00", "03:00", [7])[0] == berlin("2027-04-04T02:00:00+02:00")
    # In the night that lacks 02:00 to 03:00, and in the one that has it twice.
    assert ask("2026-03-29T00:30:00+01:00", "02:30", "02:45") == (
        berlin("2026-03-29T03:30:00+02:00"),
        berlin("2026-03-29T03:45:00+02:00"),
    )
    assert ask("2026-10-25T00:30:00+02:00", "02:30", "04:00") == (
        berlin("2026-10-25T02:30:00+02:00"),
        berlin("2026-10-25T04:00:00+01:00"),
    )
    # The first 02:45 ends it, also when the clock shows 02:30 again.
    assert ask("2026-10-25T02:30:00+02:00", "01:00", "02:45")[0] == berlin("2026-10-25T02:30:00+02:00")
    assert ask("2026-10-25T02:30:00+01:00", "01:00", "02:45")[0] == berlin("2026-10-26T01:00:00+01:00")


# The same functions a second time, in Python.


@cache
def zone_info(zone: str) -> ZoneInfo:
    """Of the locked tzdata: a machine's own tz database may be of any age, and would be asked first."""
    with resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, zone)


def instant(zone: str, local: datetime) -> datetime:
    """PEP 495: fold=0 is the first of two, and in a gap goes by the offset before it, which is forward by the gap."""
    return local.replace(tzinfo=zone_info(zone), fold=0).astimezone(UTC)


def opening(
    now: datetime, begins: time | None, ends: time | None, days: set[int] | None, zone: str
) -> tuple[datetime, datetime | None]:
    if begins is None and days is None:
        return now, None
    here = now.astimezone(zone_info(zone)).date()
    for day in (here + timedelta(days=n) for n in range(-1, 16)):
        if days is not None and day.isoweekday() not in days:
            continue
        first = datetime.combine(day, begins or time())
        last = datetime.combine(day, ends) if ends is not None else first + timedelta(days=1)
        if last <= first:
            last += timedelta(days=1)
        while begins is None and last < first + timedelta(days=8) and days is not None and last.isoweekday() in days:
            last += timedelta(days=1)
        opens, closes = instant(zone, first), instant(zone, last)
        if closes > now and closes > opens:
            return max(opens, now), closes
    raise AssertionError("a window that never opens")


@st.composite
def zones_and_moments(draw: st.DrawFn, zones: list[str]) -> tuple[str, datetime]:
    """A zone and a time in it, in most cases within days of one of its changes."""
    zone = draw(st.sampled_from(zones))
    far = st.datetimes(min_value=datetime(2012, 1, 1), max_value=datetime(2037, 12, 1)).map(lambda t: t.replace(microsecond=0))
    if not changes(zone):
        return zone, draw(far)
    minutes = st.one_of(st.integers(-7200, 7200), st.integers(-200, 200))
    near = st.builds(lambda t, m: t.replace(tzinfo=None) + timedelta(minutes=m), st.sampled_from(changes(zone)), minutes)
    return zone, draw(st.one_of(near, near, far))


def clock_time(minutes: int) -> time:
    return time(minutes // 60, minutes % 60)


def wall_times_near_changes(zone: str) -> Iterator[datetime]:
    """Wall times on both sides of a zone's latest changes, read off the clock before and after each."""
    for change in changes(zone)[-CHANGES_A_ZONE:]:
        for side in (change - timedelta(seconds=1), change):
            offset = side.astimezone(zone_info(zone)).utcoffset()
            assert offset is not None
            wall = (change + offset).replace(tzinfo=None)
            yield from (wall + by for by in AROUND)


@cache
def changes(zone: str) -> list[datetime]:
    """The instants at which a zone's offset changes, to the second."""
    found = []
    info = zone_info(zone)
    at, end = datetime(YEARS[0], 1, 1, tzinfo=UTC), datetime(YEARS[1], 1, 1, tzinfo=UTC)
    while at < end:
        after = at + timedelta(days=7)
        if at.astimezone(info).utcoffset() != after.astimezone(info).utcoffset():
            low, high = at, after
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                same = middle.astimezone(info).utcoffset() == low.astimezone(info).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high.replace(microsecond=0))
        at = after
    return found


_shared: dict[int, list[str]] = {}


def shared_zones(db: Connection, zones: list[str]) -> list[str]:
    """Those of these zones in which the server's tz database and Python's say the same; their versions differ now and then."""
    if len(zones) not in _shared:
        known = {str(name) for (name,) in db.execute("select name from outbox_engine.zones")}
        days = [datetime(1975, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(0, 365 * 63, 12)]
        _shared[len(zones)] = [
            zone
            for zone in zones
            if zone in known and offsets(db, zone, days) == [d.astimezone(zone_info(zone)).utcoffset() for d in days]
        ]
    return _shared[len(zones)]


def offsets(db: Connection, zone: str, at: list[datetime]) -> list[timedelta]:
    rows = db.execute(
        "select outbox_engine.utc_offset(t, %s) from unnest(%s::timestamptz[]) with ordinality u (t, n) order by n", [zone, at]
    )
    return [row[0] for row in rows]  # type: ignore[misc]


def instants(db: Connection, asked: list[tuple[str, datetime]]) -> dict[tuple[str, datetime], datetime]:
    rows = db.execute(
        "select z, t, outbox_engine.instant_of(t, z) from unnest(%s::text[], %s::timestamp[]) u (z, t)",
        [[zone for zone, _ in asked], [local for _, local in asked]],
    ).fetchall()
    return {(zone, local): answer for zone, local, answer in rows}  # type: ignore[misc]


def one(db: Connection, question: str, values: list[Any] | None = None) -> Any:
    row = db.execute(question, values).fetchone()
    assert row is not None
    return row[0]
