"""When campaigns send: the SQL against plain models in Python, and one message for each time however many processes expand."""

# Wall-clock times have no zone.
# ruff: noqa: DTZ001

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.local.stack import LocalStack
from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks, number
from tests.nightly import examples
from tests.stack import Connection

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/St_Johns",
    "Europe/Dublin",
    "Asia/Kathmandu",
]
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(
    lambda t: t.replace(second=0, microsecond=0, tzinfo=UTC)
)
near_changes = st.sampled_from(
    [
        datetime(2027, 3, 28, 1, tzinfo=UTC),  # Berlin forward
        datetime(2027, 10, 31, 1, tzinfo=UTC),  # Berlin back
        datetime(2027, 10, 2, 15, 30, tzinfo=UTC),  # Lord Howe forward by half an hour
        datetime(2027, 4, 3, 15, tzinfo=UTC),  # and back
        datetime(2027, 9, 25, 14, tzinfo=UTC),  # Chatham forward
    ]
).flatmap(lambda t: st.integers(-200, 200).map(lambda minutes: t + timedelta(minutes=minutes)))


@examples(60)
@given(
    zone=st.sampled_from(ZONES),
    after=st.one_of(moments, near_changes),
    minutes=st.sets(st.sampled_from([0, 5, 15, 30, 35, 45]), min_size=1),
    hours=st.sets(st.integers(0, 4), min_size=1),
)
@example(zone="Australia/Lord_Howe", after=datetime(2027, 10, 2, 15, 0, tzinfo=UTC), minutes={15, 35}, hours={2})
@example(zone="Europe/Berlin", after=datetime(2027, 3, 28, 0, 30, tzinfo=UTC), minutes={30}, hours={2, 3})
def test_cron_times_come_once_and_in_order(
    db: Connection, zone: str, after: datetime, minutes: set[int], hours: set[int]
) -> None:
    until = after + timedelta(days=3)
    cron = f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))} * * *"
    answered = db.execute(
        "select t, outbox_engine.cron_local_time(%s, t, %s)"
        " from outbox_engine.cron_instants(outbox_engine.read_cron(%s), %s, %s, %s, 1000) with ordinality x (t, n) order by n",
        [cron, zone, cron, zone, after, until],
    ).fetchall()

    first = after.astimezone(ZoneInfo(zone)).date() - timedelta(days=2)
    wanted = {
        instant(datetime.combine(first + timedelta(days=n), time(hour, minute)), zone)
        for n in range(8)
        for hour in hours
        for minute in minutes
    }
    assert [at for at, _ in answered] == sorted(at for at in wanted if after < at <= until)
    for at, named in answered:
        assert isinstance(named, datetime)
        assert (named.minute in minutes, named.hour in hours) == (True, True)
        assert instant(named, zone) == at


@examples(60)
@given(
    zone=st.sampled_from(ZONES),
    event=st.one_of(moments, near_changes),
    offsets=st.lists(st.tuples(st.integers(-40, 40), st.integers(-30, 30)), min_size=1, max_size=5),
)
def test_offsets_move_days_by_wall_clock(db: Connection, zone: str, event: datetime, offsets: list[tuple[int, int]]) -> None:
    """Hours move in real time."""
    answered = db.execute(
        "select t from outbox_engine.campaign_times(row(null, null, null, null, 'reminder', null, null, null,"
        " %s::interval[], null, null, null, null, null, null, null, null, null, null, null, 0, 0, null, null, null, null)"
        "::public.outbox_campaigns, %s, %s, '-infinity', 'infinity', 100) with ordinality x (t, n) order by n",
        [[f"{days} days {hours} hours" for days, hours in offsets], event, zone],
    ).fetchall()

    def moved(days: int, hours: int) -> datetime:
        if days == 0:
            return event + timedelta(hours=hours)
        shown = event.astimezone(ZoneInfo(zone)).replace(tzinfo=None) + timedelta(days=days)
        return instant(shown, zone) + timedelta(hours=hours)

    assert [at for (at,) in answered] == sorted({moved(days, hours) for days, hours in offsets})


@examples(60)
@given(
    zone=st.one_of(st.none(), st.sampled_from(ZONES)),
    event=st.one_of(moments, near_changes),
    offsets=st.lists(
        st.sampled_from(
            ["-1 day", "-24 hours", "-1 day 1 hour", "1 month -30 days", "-1 week", "-1 hour", "0", "2 days -5 min"]
        ),
        max_size=6,
    ),
    after=st.integers(-12_000, 3_000),
    minutes=st.integers(0, 12_000),
)
def test_expansion_lists_due_times_and_the_next_one(
    db: Connection, zone: str | None, event: datetime, offsets: list[str], after: int, minutes: int
) -> None:
    since = event + timedelta(minutes=after)
    until = since + timedelta(minutes=minutes)
    row = db.execute(
        "select array(select t from unnest(d.times) t order by t), d.handled_until, d.next_at,"
        " array(select t from outbox_engine.campaign_times(c, %(event)s, %(zone)s, %(since)s, %(until)s, 300) t order by t),"
        " (select min(t) from outbox_engine.campaign_times(c, %(event)s, %(zone)s, %(until)s, 'infinity', 1) t)"
        " from jsonb_populate_record(null::public.outbox_campaigns, jsonb_build_object("
        " 'schedule', 'reminder', 'offsets', %(offsets)s::text[])) c,"
        " outbox_engine.due_times(c, %(event)s, %(zone)s, %(since)s, %(until)s) d",
        {"event": event, "zone": zone, "since": since, "until": until, "offsets": offsets},
    ).fetchone()

    assert row is not None
    times, next_at = row[3:]
    assert row[:3] == (times, until, next_at)


@examples(60)
@given(
    zone=st.sampled_from(ZONES),
    at=st.one_of(moments, near_changes),
    opens=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    closes=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    weekdays=st.sets(st.integers(1, 7), min_size=1),
)
@example(  # the clock skips the opening, which moves to half past three
    zone="Europe/Berlin", at=datetime(2027, 3, 28, tzinfo=UTC), opens=time(2, 30, fold=1), closes=time(9), weekdays={7}
)
@example(  # the clock shows the opening twice
    zone="Europe/Berlin", at=datetime(2027, 10, 31, tzinfo=UTC), opens=time(2, 30, fold=1), closes=time(9), weekdays={7}
)
@example(  # the clock shows the end twice
    zone="Europe/Berlin", at=datetime(2027, 10, 31, tzinfo=UTC), opens=time(1), closes=time(2, 30, fold=1), weekdays={7}
)
def test_message_gets_the_first_opening_of_its_window(
    db: Connection, zone: str, at: datetime, opens: time, closes: time, weekdays: set[int]
) -> None:
    if opens == closes:
        return
    row = db.execute(
        "select opens_at, closes_at from outbox_engine.window_opening(%s, %s, %s, %s::smallint[], %s)",
        [at, opens, closes, sorted(weekdays), zone],
    ).fetchone()

    openings = [o for n in range(-2, 16) if (o := opening(at, n, zone, opens, closes, weekdays)) is not None and o[1] > at]
    first = min(openings)
    assert row == (max(first[0], at), first[1])


def opening(at: datetime, n: int, zone: str, opens: time, closes: time, weekdays: set[int]) -> tuple[datetime, datetime] | None:
    day: date = at.astimezone(ZoneInfo(zone)).date() + timedelta(days=n)
    if day.isoweekday() not in weekdays:
        return None
    start = instant(datetime.combine(day, opens), zone)
    end = instant(datetime.combine(day + timedelta(days=closes <= opens), closes), zone)
    return (start, end) if end > start else None


def instant(local: datetime, zone: str) -> datetime:
    """A local time that a clock change skips moves forward by the gap; of two instants that show it, the first counts.

    That is what fold=0 means. A time may be drawn with fold=1, which the database never sees.
    """
    return local.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)


def test_many_schedulers_at_once_make_each_message_once(stack: LocalStack, db: Connection, clocks: Clocks) -> None:
    clocks.set("2026-11-24 12:00+00")
    template(db)
    campaign(db, "once", schedule="once", starts_at="2026-11-24 12:00+00")
    campaign(db, "daily", schedule="cron", cron_expression="0 12 * * *", late_limit="3 days")
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, parameters)"
        " select c, n::text, '+1202555' || (1000 + n), 'UTC', '{\"name\": \"Ada\"}'"
        " from unnest(array['once', 'daily']) c, generate_series(1, 600) n"
    )
    clocks.move("50 hours")

    with ThreadPoolExecutor(4) as threads:
        for worker in [threads.submit(expand, stack.admin_url, 37) for _ in range(4)]:
            worker.result()

    per_campaign = db.execute(
        "select campaign, count(*), count(distinct (external_id, stands_for))"
        " from public.outbox_campaign_occurrences group by 1"
    )
    assert {name: (n, d) for name, n, d in per_campaign} == {"once": (600, 600), "daily": (1200, 1200)}
    assert db.execute("select count(*), count(distinct id) from public.outbox").fetchone() == (1200, 1200)
    expand(stack.admin_url, 37)  # While other processes are at work, counts may wait for the next call.
    counts = db.execute("select name, member_count, message_count from public.outbox_campaigns order by 1").fetchall()
    assert counts == [("daily", 600, 1200), ("once", 600, 0)]


@pytest.mark.parametrize("seed", range(6))
def test_jumping_clock_makes_each_message_once(stack: LocalStack, db: Connection, clocks: Clocks, seed: int) -> None:
    """As when the database moves to a host whose clock is seconds behind. No process reads a clock of its own."""
    random = Random(seed)
    clocks.set("2026-11-24 12:00+00")
    template(db)
    campaign(db, "minutes", schedule="cron", cron_expression="* * * * *", timezone="UTC")
    campaign(db, "visits", offsets=[f"-{n} minutes" for n in range(21, 29)])
    member(db, n=1, to="minutes", zone=None)
    member(db, n=2, to="visits", event_at="2026-11-24 12:30+00")

    for step in random.choices([-9, -2, 3, 8, 25, 61], k=40):
        clocks.move(f"{step} seconds")
        with ThreadPoolExecutor(2) as threads:
            for worker in [threads.submit(expand, stack.admin_url, 5) for _ in range(2)]:
                worker.result()

    clocks.set("2026-11-24 12:20+00")
    expand(stack.admin_url, 5)

    made: dict[str, list[datetime]] = {"minutes": [], "visits": []}
    for name, at in db.execute(
        "select o.campaign, c.occurs_at from public.outbox o"
        " left join public.outbox_campaign_occurrences c on c.outbox_id = o.id order by 2"
    ):
        assert isinstance(at, datetime)
        made[str(name)].append(at)
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert made["minutes"] == [noon + timedelta(minutes=n) for n in range(1, 22)]
    assert made["visits"] == [noon + timedelta(minutes=n) for n in range(2, 10)]


def expand(url: str, most: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            row = connection.execute("select public.outbox_expand_campaigns(%s)", [most]).fetchone()
            assert row is not None
            if not row[0]["more"]:
                return


def test_killed_scheduler_neither_repeats_nor_omits_messages(stack: LocalStack, db: Connection, clocks: Clocks) -> None:
    clocks.set("2026-11-24 12:00+00")
    template(db)
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00")
    for n in range(20):
        member(db, str(n), n=n)

    with psycopg.connect(stack.admin_url) as dying:
        dying.execute("select public.outbox_expand_campaigns(15)")
        expand(stack.admin_url, 3)
        assert len(rows(db)) == 5
        dying.rollback()
    expand(stack.admin_url, 7)

    assert sorted(recipient for (recipient,) in rows(db, "recipient")) == sorted(number(n) for n in range(20))


def test_stuck_campaign_is_alarmed_and_blocks_no_other(db: Connection, clocks: Clocks) -> None:
    clocks.set("2026-11-24 12:00+00")
    template(db)
    for name in ("a", "b"):
        campaign(db, name, schedule="once", starts_at="2026-11-24 12:00+00")
        member(db, to=name)
    db.execute("update public.outbox_campaigns set sender = '+12025550100' where name = 'a'")
    db.execute("select public.outbox_expand_campaigns(10)")
    db.execute("alter table public.outbox_campaigns disable trigger outbox_campaigns_change")
    db.execute("update public.outbox_campaigns set sender = '???' where name = 'a'")
    db.execute("alter table public.outbox_campaigns enable trigger outbox_campaigns_change")

    for _ in range(3):
        db.execute("select public.outbox_expand_campaigns(10)")
    assert rows(db, "campaign") == [("b",)]
    alarms = db.execute("select kind, detail ->> 'campaign', detail ->> 'problem' from outbox_engine.alarms").fetchall()
    assert alarms == [("campaign.stuck", "a", "sender '???' is not a sender")]
