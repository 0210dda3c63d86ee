"""What a provider's callbacks are to the webhook app: something that proves where it comes from and that can be read."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from jobs.providers.base import CallbackItem


class NotJson(ValueError):
    """The body is no JSON at all."""


class Verdict(Enum):
    """What the provider's own proof of origin says about a request."""

    ABSENT = "absent"
    """There is none."""
    VERIFIED = "verified"
    """It is the provider's."""
    UNVERIFIABLE = "unverifiable"
    """There is one, and no secret to check it with is configured."""
    FORGED = "forged"
    """There is one, and it is wrong."""


class CallbackReader(Protocol):
    """One provider's callbacks. It keeps no state and does no I/O."""

    def claims_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the request carries the provider's proof of origin at all. Header names are lower case."""
        ...

    def authenticate(self, headers: Mapping[str, str], raw: bytes) -> Verdict:
        """Check that proof over the body exactly as it arrived, in constant time."""
        ...

    def parse(self, raw: bytes) -> list[CallbackItem]:
        """What the callback says. Raises :class:`NotJson` and nothing else; what it cannot read is an ``Unusable``."""
        ...
