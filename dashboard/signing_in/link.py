"""Signing in with an address that the dashboard prints: for a dashboard that only this machine reaches."""

import getpass
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request

from dashboard.roles import Person, Role
from dashboard.signing_in.ways import NotAdmitted


class LinkWay:
    """Other users of the machine reach the same port, so the port alone admits none of them.

    Each token admits once. ``announce`` is told the next one.
    """

    fields: Final[tuple[str, ...]] = ()
    advice: Final = "Open the address that outbox dashboard printed last. It works once."

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._token = secrets.token_urlsafe(32)

    def begin(self) -> None:
        """Announce the token."""
        self._announce(self._token)

    def recognise(self, request: Request) -> Person | None:  # noqa: ARG002  # no request names a person without a session
        return None

    async def admit(self, given: Mapping[str, str]) -> Person:
        if not hmac.compare_digest(given.get("token", "").encode(), self._token.encode()):
            raise NotAdmitted("The address was used before, or it is not the one that outbox dashboard printed last.")
        self._token = secrets.token_urlsafe(32)
        self._announce(self._token)
        return Person(_user(), Role.OPERATOR)

    async def still_admitted(self, person: Person) -> Person | None:
        return person


def _user() -> str:
    """The user of the machine who runs the dashboard."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that has no name.
        return "operator"
