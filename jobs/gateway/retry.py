"""Repeats a call to the database until the database answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from jobs.gateway.errors import GatewayUnavailable
from jobs.runtime.outage import Outage

T = TypeVar("T")

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


async def until_answered(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Repeat ``call`` until it returns, with growing jittered pauses while Supabase is away. ``what`` names it in the log.

    For calls that record an outcome: what happened at the provider must reach the database, however long that takes. Ends only
    with an answer, a cancellation, or an error other than :class:`jobs.gateway.errors.GatewayUnavailable`.
    """
    outage = Outage("completion.waiting")
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await call()
        except GatewayUnavailable as error:
            outage.failed(what=what, error=str(error))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
