"""The order of the first claims of a process's accounts."""

import asyncio

import pytest

from jobs.runtime import first_claims
from jobs.runtime.first_claims import FirstClaims


async def test_later_account_claims_after_earlier_ones() -> None:
    claims = FirstClaims()
    first, second, third = (claims.join() for _ in range(3))
    waiting = asyncio.ensure_future(third.turn())
    for one in (first, second):
        await asyncio.sleep(0)
        assert not waiting.done()
        one.is_over()

    await waiting


async def test_first_account_waits_for_nobody() -> None:
    claims = FirstClaims()
    first, second = claims.join(), claims.join()
    second.is_over()

    await first.turn()


async def test_account_claims_once_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier one's provider hangs."""
    monkeypatch.setattr(first_claims, "PATIENCE_SECONDS", 0.0)
    claims = FirstClaims()
    claims.join()

    await claims.join().turn()
