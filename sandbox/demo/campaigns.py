"""The campaigns of the demo: reminders of appointments, and one with a window."""

from dataclasses import dataclass
from datetime import datetime

from sandbox.demo.appointments import Appointments, plan_appointments
from sandbox.demo.night import Night, plan_night
from sandbox.demo.work import Message


@dataclass(frozen=True, slots=True)
class Campaigns:
    """What the campaigns of the demo must send, and must not."""

    appointments: Appointments
    night: Night

    @property
    def messages(self) -> tuple[Message, ...]:
        return (*self.appointments.reminders, *self.night.messages)


def plan_campaigns(start: datetime) -> Campaigns:
    return Campaigns(plan_appointments(start), plan_night(start))
