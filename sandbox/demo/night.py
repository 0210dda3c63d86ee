"""A campaign with a window: one member has day and gets the text, another has night and gets it in the morning."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import psycopg

from sandbox.demo.work import Message, number

_NUMBERS_FROM: Final = 50_050
"""Ordinary messages and those of appointments go to the numbers before these."""
_OPENS: Final = time(8)
_CLOSES: Final = time(21)
_TEXT: Final = "The new menu is out."
_DAY: Final = 14.5
_NIGHT: Final = 2.5
"""Hours of the day, in the middle of the window and outside it."""
_PLACES: Final = (
    ("Honolulu", "Pacific/Honolulu"),
    ("Los Angeles", "America/Los_Angeles"),
    ("New York", "America/New_York"),
    ("Buenos Aires", "America/Argentina/Buenos_Aires"),
    ("London", "Europe/London"),
    ("Cairo", "Africa/Cairo"),
    ("Dubai", "Asia/Dubai"),
    ("Kolkata", "Asia/Kolkata"),
    ("Bangkok", "Asia/Bangkok"),
    ("Tokyo", "Asia/Tokyo"),
    ("Sydney", "Australia/Sydney"),
)
"""At any time one of them has day, and one has night for three hours more at least."""

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the campaign, and whether its window is open."""

    city: str
    zone: str
    message: Message

    def clock(self, now: datetime) -> time:
        return now.astimezone(ZoneInfo(self.zone)).time()


@dataclass(frozen=True, slots=True)
class Night:
    """``day`` gets the text at once. ``night`` gets it after the demo, so it must not be sent meanwhile."""

    day: Member
    night: Member

    @property
    def messages(self) -> tuple[Message, ...]:
        return (self.day.message, self.night.message)


def plan_night(start: datetime) -> Night:
    """Two cities: the one where it is closest to half past two in the afternoon, and the one closest to it at night."""
    return Night(
        Member(*_closest(start, _DAY), Message(number(_NUMBERS_FROM), _TEXT)),
        Member(*_closest(start, _NIGHT), Message(number(_NUMBERS_FROM + 1), _TEXT, sent=False)),
    )


def _closest(now: datetime, hour: float) -> tuple[str, str]:
    def distance(place: tuple[str, str]) -> float:
        local = now.astimezone(ZoneInfo(place[1]))
        apart = abs(local.hour + local.minute / 60 - hour)
        return min(apart, 24 - apart)

    return min(_PLACES, key=distance)


class Menu:
    """The app's side of the campaign, in SQL."""

    def __init__(self, db: Connection, night: Night) -> None:
        self._db = db
        self._night = night

    def announce(self) -> str:
        now, day, night = datetime.now(UTC), self._night.day, self._night.night
        self._db.execute("insert into public.outbox_templates (name, body) values ('menu', %s)", [_TEXT])
        self._db.execute(
            "insert into public.outbox_campaigns"
            " (name, template, schedule, starts_at, window_start, window_end, late_limit, status)"
            " values ('menu', 'menu', 'once', %s, %s, %s, '1 day', 'active')",
            [now, _OPENS, _CLOSES],
        )
        for member in (day, night):
            self._db.execute(
                "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone)"
                " values ('menu', %s, %s, %s)",
                [member.city, member.message.recipient, member.zone],
            )
        return (
            f"a campaign sends from {_OPENS:%H:%M} to {_CLOSES:%H:%M} local time: now in {day.city} ({day.clock(now):%H:%M}); "
            f"in {night.city} ({night.clock(now):%H:%M}) the text waits for the morning"
        )
