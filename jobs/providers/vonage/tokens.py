"""The tokens (JWT, RS256) that requests to Vonage carry.

A request is signed anew each time, which takes 0.2 ms and keeps no state that could expire under load.
"""

from datetime import timedelta
from typing import Final
from uuid import uuid4

from jobs.runtime import checks
from jobs.runtime.clocks import Clocks, monotonic

_VALID: Final = timedelta(minutes=15)
"""As Vonage's own packages have it. 30 seconds to 24 hours are allowed."""
_EARLIER: Final = timedelta(seconds=30)
"""A token from the future is refused. Until Vonage has answered once, its time is known by other clocks, which may be ahead;
and its servers may differ among themselves."""


class Tokens:
    """Signs as one application, with the private key in ``pem``. Raises ValueError if that is no such key."""

    def __init__(self, application: str, pem: str, clocks: Clocks) -> None:
        self._application = application
        self._clocks = clocks
        self._key = checks.rsa_key(pem)

    def new(self) -> str:
        """A token for one request, dated by Vonage's clock."""
        import jwt

        issued = int((self._clocks.reached_by_provider(monotonic()) - _EARLIER).timestamp())
        claims = {
            "application_id": self._application,
            "iat": issued,
            "exp": issued + int(_VALID.total_seconds()),
            "jti": str(uuid4()),
        }
        return jwt.encode(claims, self._key, algorithm="RS256")
