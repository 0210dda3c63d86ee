"""The order of the first claims of a process's accounts.

An account that stands by takes over where the database knows of no earlier one that is alive. When a process starts, it must
not look before they had their first claim.
"""

import asyncio
from contextlib import suppress
from typing import Final

PATIENCE_SECONDS: Final = 3.0
"""How long an account waits for the first claims of earlier ones: a provider that is away must not hold up the next."""


class FirstClaim:
    """The first claim of one account, which comes after those of ``earlier`` accounts."""

    def __init__(self, earlier: "tuple[FirstClaim, ...]") -> None:
        self._earlier = earlier
        self._is_over = asyncio.Event()

    async def turn(self) -> None:
        """Wait until each earlier account has claimed, or could not."""
        if not self._is_over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    for one in self._earlier:
                        await one.ended()

    async def ended(self) -> None:
        """Wait until :meth:`is_over` was called."""
        await self._is_over.wait()

    def is_over(self) -> None:
        """The account has claimed, or could not."""
        self._is_over.set()


class FirstClaims:
    """Those of all accounts of a process, in their order."""

    def __init__(self) -> None:
        self._joined: tuple[FirstClaim, ...] = ()

    def join(self) -> FirstClaim:
        """The first claim of the next account."""
        claim = FirstClaim(self._joined)
        self._joined += (claim,)
        return claim
