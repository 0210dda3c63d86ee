"""The time that the screen Delivery shows, cut into hours or days, as its address says."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException

from jobs.gateway.browsing.figures import Unit

OWN: Final = "own"
WINDOWS: Final = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_DAYS: Final = {"24h": 1, "7d": 7, "30d": 30}
_MOST_DAYS: Final = 366
_MOST_DAYS_BY_HOUR: Final = 31
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Slot:
    """One hour or day, until ``until`` (exclusive)."""

    label: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """``name`` is a key of :data:`WINDOWS`, or ``own`` for dates of the address. ``first`` and ``last`` are days there."""

    name: str
    unit: Unit
    zone: ZoneInfo
    first: date
    last: date
    slots: tuple[Slot, ...]

    @property
    def since(self) -> datetime:
        return self.slots[0].since

    @property
    def until(self) -> datetime:
        return self.slots[-1].until

    def place(self, at: datetime) -> int | None:
        """The place of the slot that begins at ``at``. Days are compared as dates: the database may have newer zones."""
        if self.unit == "hour":
            place = (at - self.since) // _HOUR
        else:
            place = (at.astimezone(self.zone).date() - self.first).days
        return place if 0 <= place < len(self.slots) else None


def window_of(query: Mapping[str, str], zone: ZoneInfo, now: datetime) -> Window:
    """What the address asks for. Raises HTTPException for dates that cannot be."""
    today = now.astimezone(zone).date()
    if query.get("from") or query.get("to"):
        first, last = _dates(query, today)
        unit = query.get("by") or ("hour" if (last - first).days < 2 else "day")
        return _window(OWN, unit, zone, first, last)
    name = query.get("window") or "24h"
    if name not in WINDOWS:
        raise HTTPException(400, "The window is none of 24h, 7d and 30d. Choose one, or give dates.")
    unit = query.get("by") or ("hour" if name == "24h" else "day")
    if name == "24h" and unit == "hour":
        end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
        slots = _hours(end - _DAY, end, zone)
        return Window(name, "hour", zone, slots[0].since.astimezone(zone).date(), today, slots)
    return _window(name, unit, zone, today - timedelta(days=_DAYS[name] - 1), today)


def zone_of(*names: str | None) -> ZoneInfo:
    """The first of these time zones that is one, else UTC."""
    for name in filter(None, names):
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            continue
    return ZoneInfo("UTC")


def _dates(query: Mapping[str, str], today: date) -> tuple[date, date]:
    try:
        last = date.fromisoformat(query.get("to") or today.isoformat())
        first = date.fromisoformat(query.get("from") or last.isoformat())
    except ValueError:
        raise HTTPException(400, "A date is written as 2026-01-31.") from None
    if not date(2000, 1, 1) <= first <= last < date(2200, 1, 1):
        raise HTTPException(400, "The first day is after the last one, or not between the years 2000 and 2199.")
    if (last - first).days >= _MOST_DAYS:
        raise HTTPException(400, f"These are more than {_MOST_DAYS} days. Choose fewer.")
    return first, last


def _window(name: str, unit: str, zone: ZoneInfo, first: date, last: date) -> Window:
    if unit == "day":
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return Window(
            name,
            "day",
            zone,
            first,
            last,
            tuple(Slot(f"{d:%a} {d.day} {d:%b}", _midnight(d, zone), _midnight(d + _DAY, zone)) for d in days),
        )
    if unit != "hour":
        raise HTTPException(400, "Figures are by hour or day.")
    if (last - first).days >= _MOST_DAYS_BY_HOUR:
        raise HTTPException(400, f"By hour, at most {_MOST_DAYS_BY_HOUR} days are shown. Choose fewer, or show them by day.")
    return Window(name, "hour", zone, first, last, _hours(_midnight(first, zone), _midnight(last + _DAY, zone), zone))


def _hours(since: datetime, until: datetime, zone: ZoneInfo) -> tuple[Slot, ...]:
    """Whole hours of UTC, as the figures have them, in the clock of ``zone``."""
    begin = since.replace(minute=0, second=0, microsecond=0)
    starts = [begin + n * _HOUR for n in range(-(-(until - begin) // _HOUR))]
    return tuple(Slot(f"{at.astimezone(zone):%a %H:%M}", at, at + _HOUR) for at in starts)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
