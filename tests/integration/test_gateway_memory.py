"""Calls leave no garbage behind."""

import gc

from jobs.gateway.gateway import Gateway

CALLS = 10


async def test_calls_are_freed_without_the_garbage_collector(gateway: Gateway) -> None:
    """The webhook app sends megabytes a second and collects garbage rarely."""
    await gateway.ping()
    gc.collect()
    gc.disable()
    try:
        for _ in range(CALLS):
            await gateway.ping()
        left = gc.collect()
    finally:
        gc.enable()

    assert left < CALLS
