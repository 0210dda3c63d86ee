"""What every way to sign in has in common."""

from collections.abc import Mapping
from typing import Protocol

from starlette.requests import Request

from dashboard.roles import Person


class NotAdmitted(Exception):
    """The person may not sign in. The text says why, and helps no one to guess."""


class Way(Protocol):
    """A way to sign in.

    ``fields`` are the fields of its form, in order: ``email``, ``password``, ``code``. Without fields it has no form, and
    ``advice`` says how to get in.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def advice(self) -> str: ...

    def recognise(self, request: Request) -> Person | None:
        """The person whom the request itself names, without a session. None for ways that have sessions."""

    async def admit(self, given: Mapping[str, str]) -> Person:
        """The person who gave these values. Raises :class:`NotAdmitted`."""

    async def still_admitted(self, person: Person) -> Person | None:
        """The person as of now, None if the person may not see the dashboard any more."""
