"""The versions of new migrations beside those that a project has."""

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.installing.stamps import new_stamps, sorted_before_by_name, version_of

NOW = datetime(2026, 11, 29, 22, 45, 1, tzinfo=UTC)

digits = st.text(string.digits, min_size=1, max_size=20)
times = st.datetimes().map(lambda at: f"{at.year:04}{at:%m%d%H%M%S}")
dates = st.dates().map(lambda day: f"{day.year:04}{day:%m%d}")
versions = st.sets(digits | times | dates, max_size=12)


@given(versions, st.integers(1, 5))
def test_new_stamps_sort_after_every_existing_one(existing: set[str], count: int) -> None:
    stamps = new_stamps(existing, NOW, count)

    assert len(stamps) == count
    assert stamps == sorted(set(stamps))
    assert all(stamp > version for stamp in stamps for version in existing)
    assert all(version_of(f"{stamp}_outbox_0001_initial.sql") == stamp for stamp in stamps)


@given(st.sets(times, max_size=8), st.integers(1, 5))
def test_new_stamps_are_times_where_one_is_left(existing: set[str], count: int) -> None:
    last_of_all = "99991231235900"
    stamps = new_stamps({min(stamp, last_of_all) for stamp in existing}, NOW, count)

    for stamp in stamps:
        assert len(stamp) == 14
        datetime.strptime(f"{stamp}Z", "%Y%m%d%H%M%S%z")


@pytest.mark.parametrize(
    ("existing", "stamps"),
    [
        ([], ["20261129224501", "20261129224502"]),
        (["20261123100000"], ["20261129224501", "20261129224502"]),
        (["0", "00010101"], ["20261129224501", "20261129224502"]),
        (["20261129224501"], ["20261129224502", "20261129224503"]),
        (["20261231235959"], ["20270101000000", "20270101000001"]),
        (["20280228235959"], ["20280229000000", "20280229000001"]),
        (["20301231"], ["20301231000001", "20301231000002"]),
        (["2026112922450177"], ["20261129224502", "20261129224503"]),
        (["9"], ["90000101000000", "90000101000001"]),
        (["99999999999999"], ["999999999999990", "9999999999999900"]),
        (["20269999"], ["20270101000000", "20270101000001"]),
    ],
    ids=str,
)
def test_stamps_begin_now_or_after_the_newest(existing: list[str], stamps: list[str]) -> None:
    assert new_stamps(existing, NOW, 2) == stamps


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("20261129224501_orders.sql", "20261129224501"),
        ("0_x.sql", "0"),
        ("1_.sql", "1"),
        ("orders.sql", None),
        ("20261129.sql", None),
        ("20261129_orders.sql.bak", None),
        ("20261129_orders.SQL", None),
        ("٢_orders.sql", None),
    ],
)
def test_file_name_gives_the_supabase_cli_version(name: str, version: str | None) -> None:
    assert version_of(name) == version


def test_prefix_of_a_stamp_is_out_of_order() -> None:
    assert sorted_before_by_name(["2", "20261129", "20261130", "20261129224501"], "20261129224501") == ["2", "20261129"]
