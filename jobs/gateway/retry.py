"""Asks the database again until it answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from jobs.gateway.errors import GatewayUnavailable

log = structlog.get_logger()
T = TypeVar("T")

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


async def until_answered(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Make ``call`` until it returns, with growing jittered pauses while Supabase is away. Says so once.

    For completions: what happened at the provider must reach the database however long that takes. Ends only by answer,
    cancellation, or an error other than :class:`jobs.gateway.errors.GatewayUnavailable`.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await call()
        except GatewayUnavailable as error:
            if pause == _FIRST_PAUSE_SECONDS:
                log.warning("completion.waiting", what=what, error=str(error))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
