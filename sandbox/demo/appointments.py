"""The appointments example: an app books, moves and cancels appointments, and the engine makes the reminders."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import psycopg

from jobs.runtime.masking import mask
from sandbox.demo.work import HELD_SECONDS, Message, number
from sandbox.local.binaries import REPOSITORY

_EXAMPLE: Final = REPOSITORY / "supabase" / "examples" / "appointments.sql"
_NUMBERS_FROM: Final = 50_000
"""Ordinary messages go to the numbers before these."""
_BOOK: Final = "insert into public.appointments (patient, phone, timezone, starts_at) values (%s, %s, %s, %s)"

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Appointment:
    """An appointment as a row of the app's table."""

    patient: str
    phone: str
    timezone: str
    starts_at: datetime

    @property
    def reminder(self) -> Message:
        """The text that the example's template and trigger make of it."""
        when = self.starts_at.astimezone(ZoneInfo(self.timezone)).strftime("%a %d %b at %H:%M")
        return Message(self.phone, f"Hi {self.patient}, we see you {when}. To get no more texts, reply STOP.")


@dataclass(frozen=True, slots=True)
class Appointments:
    """Appointments a little more than one hour away: the hour's reminder is sent in the demo, the day's is too late.

    ``tomorrow`` is a little more than a day away: its day's reminder is sent in the demo, its hour's is not due yet. ``kept``
    do not change, ``moved`` is moved to ``moved_to``, ``cancelled`` is cancelled, and the patient of ``stopped`` replies STOP.
    """

    tomorrow: Appointment
    kept: tuple[Appointment, ...]
    moved: Appointment
    moved_to: Appointment
    cancelled: Appointment
    stopped: Appointment

    @property
    def reminders(self) -> tuple[Message, ...]:
        """Exactly the reminders that must be sent."""
        return tuple(appointment.reminder for appointment in (self.tomorrow, *self.kept, self.moved_to))

    @property
    def booked(self) -> tuple[Appointment, ...]:
        return (self.tomorrow, *self.kept, self.moved, self.cancelled, self.stopped)


def plan_appointments(start: datetime) -> Appointments:
    """Seven patients in three time zones."""
    people = (
        ("Ada", "Europe/Berlin"),
        ("Grace", "America/New_York"),
        ("Edsger", "Asia/Tokyo"),
        ("Barbara", "Europe/Berlin"),
        ("Tony", "America/New_York"),
        ("Radia", "Asia/Tokyo"),
    )
    soon = start + timedelta(hours=1, seconds=HELD_SECONDS)
    *kept, moved, cancelled, stopped = (
        Appointment(patient, number(_NUMBERS_FROM + place), timezone, soon + timedelta(seconds=place / 4))
        for place, (patient, timezone) in enumerate(people)
    )
    moved_to = replace(moved, starts_at=moved.starts_at + timedelta(seconds=2))
    # In a zone whose clocks never change, so that a day has 24 hours.
    tomorrow = Appointment("Alan", number(_NUMBERS_FROM + len(people)), "Asia/Tokyo", soon + timedelta(hours=23))
    return Appointments(tomorrow, tuple(kept), moved, moved_to, cancelled, stopped)


class Book:
    """The app's side, in SQL. ``db`` may create tables."""

    def __init__(self, db: Connection, appointments: Appointments) -> None:
        self._db = db
        self._appointments = appointments

    def open(self) -> str:
        self._db.execute(_EXAMPLE.read_text(encoding="utf-8").encode())
        for one in self._appointments.booked:
            self._db.execute(_BOOK, [one.patient, one.phone, one.timezone, one.starts_at])
        return "an app books seven appointments in three time zones: reminders an hour or a day before follow by a trigger"

    def move(self) -> str:
        moved = self._appointments.moved_to
        self._db.execute("update public.appointments set starts_at = %s where phone = %s", [moved.starts_at, moved.phone])
        return f"the appointment of {mask(moved.phone)} is moved: the reminder moves along"

    def cancel(self) -> str:
        phone = self._appointments.cancelled.phone
        self._db.execute("update public.appointments set status = 'cancelled' where phone = %s", [phone])
        return f"the appointment of {mask(phone)} is cancelled: no reminder"
