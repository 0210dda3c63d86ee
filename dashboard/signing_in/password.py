"""Signing in with a password: one for operators, and maybe one for viewers."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from dashboard.roles import Person, Role
from dashboard.signing_in.ways import NotAdmitted


class PasswordWay:
    """Compares digests, so that timing shows neither content nor length."""

    fields: Final[tuple[str, ...]] = ("password",)
    advice: Final = ""

    def __init__(self, operator: str, viewer: str | None) -> None:
        self._operator = _digest(operator)
        self._viewer = None if viewer is None else _digest(viewer)

    def recognise(self, request: Request) -> Person | None:  # noqa: ARG002  # no request names a person without a session
        return None

    async def admit(self, given: Mapping[str, str]) -> Person:
        digest = _digest(given.get("password", ""))
        is_operator = hmac.compare_digest(digest, self._operator)
        is_viewer = self._viewer is not None and hmac.compare_digest(digest, self._viewer)
        if is_operator:
            return Person("operator", Role.OPERATOR)
        if is_viewer:
            return Person("viewer", Role.VIEWER)
        raise NotAdmitted("The password is wrong.")

    async def still_admitted(self, person: Person) -> Person | None:
        """A changed password ends sessions by their key."""
        return person


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
