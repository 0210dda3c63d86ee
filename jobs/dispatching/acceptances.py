"""Writes acceptances down together: while one call is under way, the next group gathers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from jobs.gateway.values import Dispatch

_LINGER_SECONDS: Final = 0.01
"""Far less than a lease: should we die meanwhile, recovery finds what was accepted at the provider."""

Record = Callable[[Sequence[tuple[str, str]]], Awaitable[tuple[Dispatch, ...]]]


class Acceptances:
    """Groups (dispatch id, batch id) facts so that several finished requests cost one call.

    ``expected`` says how many requests are open, those waiting here included: a fact waits a moment for others to come.
    """

    def __init__(self, record: Record, *, expected: Callable[[], int]) -> None:
        self._record = record
        self._expected = expected
        self._waiting: list[tuple[tuple[str, str], asyncio.Future[tuple[Dispatch, ...]]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, dispatch_id: str, batch_id: str) -> tuple[Dispatch, ...]:
        """Return once this acceptance is committed, with the dispatches that the commit brought, to one caller of the group."""
        done: asyncio.Future[tuple[Dispatch, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append(((dispatch_id, batch_id), done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="acceptances")
        return await done

    async def stop(self) -> None:
        """Give up what is not written yet; recovery finds it at the provider."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while self._waiting:
                if self._expected() > len(self._waiting):
                    await asyncio.sleep(_LINGER_SECONDS)
                group, self._waiting = self._waiting, []
                await self._write_group(group)
        finally:
            self._writer = None

    async def _write_group(self, group: list[tuple[tuple[str, str], asyncio.Future[tuple[Dispatch, ...]]]]) -> None:
        try:
            brought = await self._record([fact for fact, _ in group])
        except BaseException as error:
            for _, done in group:
                if not done.done():
                    done.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        for place, (_, done) in enumerate(group):
            if not done.done():
                done.set_result(brought if place == 0 else ())
