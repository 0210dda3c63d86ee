"""The windows of the screen Delivery, its CSV, and its charts."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from starlette.exceptions import HTTPException

from dashboard.charts import Series, bars, lines
from dashboard.pages.delivery_window import window_of, zone_of

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 10, 26, 9, 30, tzinfo=UTC)


def test_last_day_ends_with_this_hour() -> None:
    window = window_of({}, BERLIN, NOW)

    assert (window.unit, len(window.slots)) == ("hour", 24)
    assert window.until == datetime(2026, 10, 26, 10, tzinfo=UTC)
    assert window.slots[-1].label == "Mon 10:00"


def test_days_are_those_of_the_zone() -> None:
    """The clocks go back on the 25th, so that day has 25 hours."""
    window = window_of({"from": "2026-10-25", "to": "2026-10-26", "by": "day"}, BERLIN, NOW)

    assert window.since == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert window.until == datetime(2026, 10, 26, 23, tzinfo=UTC)
    assert [window.place(at) for at in (window.since, window.slots[1].since, window.until)] == [0, 1, None]
    by_hour = window_of({"from": "2026-10-25", "to": "2026-10-25", "by": "hour"}, BERLIN, NOW)
    assert len(by_hour.slots) == 25


@pytest.mark.parametrize(
    "query",
    [
        {"window": "1y"},
        {"by": "week"},
        {"from": "yesterday"},
        {"from": "2026-02-01", "to": "2026-01-01"},
        {"from": "0001-01-01"},
        {"from": "2024-01-01", "to": "2026-01-01"},
        {"from": "2026-01-01", "to": "2026-03-01", "by": "hour"},
    ],
)
def test_impossible_window_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(HTTPException):
        window_of(query, BERLIN, NOW)


@pytest.mark.parametrize("name", [None, "", "Nowhere/City", "../../etc/passwd", "/etc/passwd", "a\0b", "Europe", "x" * 5000])
def test_unknown_zone_is_utc(name: str | None) -> None:
    assert zone_of(name).key == "UTC"
    assert zone_of(name, "Asia/Kolkata").key == "Asia/Kolkata"


def test_charts_escape_and_link() -> None:
    drawn = bars("<b>", ["<i>"], [Series("<u>", "good", (3,))], links=["/messages?status=a&b=<"])

    assert "<b>" not in drawn
    assert "<i>" not in drawn
    assert "<u>" not in drawn
    assert "href='/messages?status=a&amp;b=&lt;'" in drawn


def test_durations_have_plain_axes() -> None:
    drawn = lines("Time", ["a", "b"], [Series("p50", "go", (4.0, None))], "duration")

    assert ">10 s<" in drawn
    assert ">5.0 s<" in drawn
