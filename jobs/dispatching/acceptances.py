"""Records acceptances in groups: while one call is under way, the next group gathers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from jobs.gateway.values import Dispatch

_LINGER_SECONDS: Final = 0.01
"""Far less than a lease. If the process dies meanwhile, recovery finds the accepted batches at the provider."""
_CROWD: Final = 8
_LONGEST_LINGER_SECONDS: Final = 0.08
"""With a request for each message, a call for those of 10 ms would be one for every eight messages."""

Record = Callable[[Sequence[tuple[str, str]]], Awaitable[tuple[Dispatch, ...]]]


class Acceptances:
    """Records pairs of dispatch id and batch id, so that several finished requests cost one call.

    ``record`` is that call. ``expected`` returns how many requests are open, including those that wait here: while others are
    open, a pair waits 10 ms for theirs. Where requests are ``single``, with one message each, it waits longer the more are
    open, 80 ms at most.
    """

    def __init__(self, record: Record, *, expected: Callable[[], int], single: bool = False) -> None:
        self._record = record
        self._expected = expected
        self._single = single
        self._waiting: list[tuple[tuple[str, str], asyncio.Future[tuple[Dispatch, ...]]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, dispatch_id: str, batch_id: str) -> tuple[Dispatch, ...]:
        """Return once this acceptance is committed.

        Returns the dispatches that the commit brought to one caller of the group, and nothing to the others. Raises what
        ``record`` raised.
        """
        done: asyncio.Future[tuple[Dispatch, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append(((dispatch_id, batch_id), done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="acceptances")
        return await done

    async def stop(self) -> None:
        """Cancel the call under way. Recovery finds the accepted batches at the provider."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while self._waiting:
                if (others := self._expected() - len(self._waiting)) > 0:
                    await asyncio.sleep(self._linger(others))
                group, self._waiting = self._waiting, []
                await self._write_group(group)
        finally:
            self._writer = None

    def _linger(self, others: int) -> float:
        return min(_LONGEST_LINGER_SECONDS, _LINGER_SECONDS * max(1, others / _CROWD)) if self._single else _LINGER_SECONDS

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
        for index, (_, done) in enumerate(group):
            if not done.done():
                done.set_result(brought if index == 0 else ())
