"""Work in small steps, which leaves half of the database's time to others."""

import asyncio
from collections.abc import Awaitable, Callable


async def in_steps(step: Callable[[], Awaitable[bool]]) -> None:
    """Call ``step`` until it returns False. Each pause takes as long as the step before it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while await step():
        await asyncio.sleep(loop.time() - began)
        began = loop.time()
