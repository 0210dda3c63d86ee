"""The protocol of a provider's callbacks: the webhook app checks where they come from, and reads them."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from jobs.providers.base import CallbackItem


class Verdict(Enum):
    """The result of checking the provider's proof of origin, such as a signature."""

    ABSENT = "absent"
    """The request has none."""
    VERIFIED = "verified"
    """The proof is valid."""
    UNVERIFIABLE = "unverifiable"
    """The request has one, and no secret is configured to check it with."""
    FORGED = "forged"
    """The proof is wrong."""


class CallbackReader(Protocol):
    """One provider's callbacks. It keeps no state and does no I/O."""

    @property
    def secrets_setting(self) -> str:
        """The setting that gives the secrets which proofs of origin are checked with."""
        ...

    @property
    def committed_status(self) -> int:
        """The HTTP status that acknowledges a committed callback, 200 or 204."""
        ...

    def may_verify_later(self, *, signed: bool) -> bool:
        """Whether the provider repeats a callback that got a 5xx, and its proof of origin may verify then.

        So such a callback, which nothing admits now, is answered with 503 instead of 401.
        """
        ...

    def claims_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the request carries the provider's proof of origin at all. Header names are lower case."""
        ...

    def authenticate(self, headers: Mapping[str, str], raw: bytes) -> Verdict:
        """Check the proof over the body exactly as it arrived, in constant time."""
        ...

    def parse(self, raw: bytes) -> list[CallbackItem]:
        """Read the callback. Never raises: what cannot be read, even the whole body, becomes an ``Unusable``."""
        ...
