"""Cron in SQL against a cron library with a different implementation."""

# Cron works with wall-clock times, which have no zone.
# ruff: noqa: DTZ001

from datetime import datetime, timedelta

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from tests.nightly import examples
from tests.stack import Connection

_NEXT = "select outbox_engine.cron_next(outbox_engine.read_cron(%s), %s)"


def field(least: int, most: int) -> st.SearchStrategy[str]:
    value = st.integers(least, most)
    # The library takes `0-0` for the whole field, so spans are longer than one.
    span = st.tuples(value, value).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: f"{pair[0]}-{pair[1]}")
    part = st.one_of(
        value.map(str),
        span,
        st.integers(1, most).map(lambda step: f"*/{step}"),
        st.tuples(span, st.integers(1, most)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


expressions = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)).map(" ".join)


@examples(100)
@given(expression=expressions, after=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2035, 1, 1)))
def test_the_next_times_are_the_librarys(db: Connection, expression: str, after: datetime) -> None:
    theirs = CronSim(expression, after)
    at: datetime | None = after
    for _ in range(3):
        expected = next(theirs)
        if expected - after > timedelta(days=8 * 365):
            return
        at = next_time(db, expression, at)
        assert at == expected


def test_names_leap_days_and_both_sundays_are_understood(db: Connection) -> None:
    after = datetime(2026, 11, 24, 12, 0)

    assert next_time(db, "0 9 * * MON-FRI", after) == datetime(2026, 11, 25, 9, 0)
    assert next_time(db, "30 8 1 jan *", after) == datetime(2027, 1, 1, 8, 30)
    assert next_time(db, "0 0 29 2 *", after) == datetime(2028, 2, 29)
    assert next_time(db, "0 0 * * 7", after) == next_time(db, "0 0 * * 0", after) == datetime(2026, 11, 29)
    assert next_time(db, "0 12 13 * fri", after) == datetime(2026, 11, 27, 12, 0)
    assert next_time(db, "0 0 31 2 *", after) is None


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("* * * *", "4 fields"),
        ("60 * * * *", "minute '60'"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "day of week '8'"),
        ("*/0 * * * *", "minute '*/0'"),
        ("5-1 * * * *", "minute '5-1'"),
        ("@daily", "1 field, not 5"),
        ("", "is missing"),
        (None, "is missing"),
        ("1,,2 * * * *", "minute '1,,2'"),
    ],
)
def test_invalid_cron_expression_is_named(db: Connection, expression: str | None, says: str) -> None:
    row = db.execute("select (outbox_engine.read_cron(%s)).problem", [expression]).fetchone()

    assert row is not None
    assert says in str(row[0])


def next_time(db: Connection, expression: str, after: datetime | None) -> datetime | None:
    row = db.execute(_NEXT, [expression, after]).fetchone()
    assert row is not None
    assert row[0] is None or isinstance(row[0], datetime)
    return row[0]
