"""Sessions: signed cookies that end after twelve hours, when a password changes, and on signing out."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from dashboard.roles import Person, Role

SECONDS: Final = 12 * 3600
_ALGORITHM: Final = "HS256"
_MOST_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a person, by its id."""

    id: str
    person: Person
    since: int
    ends: int


class Sessions:
    """Signs and reads cookies. The key of a role comes from ``secret`` and from the password of that role, where it has one."""

    def __init__(
        self, secret: bytes, passwords: Mapping[Role, str] | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        given = passwords or {}
        self._keys = {role: _key(secret, role, given.get(role, "")) for role in (Role.VIEWER, Role.OPERATOR)}
        self._clock = clock
        self._ended: dict[str, int] = {}

    def issue(self, person: Person) -> str:
        """The cookie of a new session."""
        now = int(self._clock())
        claims: dict[str, Any] = {"sub": person.name, "role": person.role.name, "account": person.account}
        claims |= {"iat": now, "exp": now + SECONDS, "jti": secrets.token_hex(8)}
        return jwt.encode(claims, self._keys[person.role], _ALGORITHM)

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie, None if the cookie is not ours or its session has ended."""
        for role, key in self._keys.items():
            claims = _verified(cookie, key)
            if claims is not None and claims["role"] == role.name:
                break
        else:
            return None
        if claims["exp"] <= self._clock() or claims["jti"] in self._ended:
            return None
        return Session(claims["jti"], Person(claims["sub"], role, claims["account"]), claims["iat"], claims["exp"])

    def end(self, session: Session) -> None:
        """Accept this session no more, also where its cookie was copied. Other processes hear nothing of it."""
        now = self._clock()
        self._ended = {one: ends for one, ends in self._ended.items() if ends > now}
        if len(self._ended) < _MOST_ENDED:
            self._ended[session.id] = session.ends


def _key(secret: bytes, role: Role, password: str) -> bytes:
    return hmac.new(secret, f"outbox dashboard\n{role.name}\n{password}".encode(), hashlib.sha256).digest()


def _verified(cookie: str, key: bytes) -> dict[str, Any] | None:
    required = ["sub", "role", "account", "iat", "exp", "jti"]
    try:
        # The expiry is compared with our own clock, which tests can set.
        claims: dict[str, Any] = jwt.decode(
            cookie, key, algorithms=[_ALGORITHM], options={"require": required, "verify_exp": False, "verify_iat": False}
        )
    except jwt.InvalidTokenError:
        return None
    return claims
