"""Live pages: one poller for each process, which tells those who watch that something changed."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

log = structlog.get_logger()

MOST_WATCHERS: Final = 64
_POLL_SECONDS: Final = 2.0
_KEEP_ALIVE_SECONDS: Final = 15.0
_STREAM_SECONDS: Final = 600.0
"""A stream ends then, and the browser opens the next one: it shows again that the person may watch."""
_RENDERED_SECONDS: Final = 10.0
"""A page may be so old when its stream opens. It may have missed a change of that time."""


class Crowded(Exception):
    """As many people watch as the dashboard allows."""


class Live:
    """Polls ``ask`` while somebody watches. Whatever ``ask`` returns is compared with its last answer."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Hashable]],
        *,
        most: int = MOST_WATCHERS,
        poll_seconds: float = _POLL_SECONDS,
        keep_alive_seconds: float = _KEEP_ALIVE_SECONDS,
        stream_seconds: float = _STREAM_SECONDS,
    ) -> None:
        self._ask = ask
        self._most = most
        self._poll_seconds = poll_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._stream_seconds = stream_seconds
        self._watchers: set[asyncio.Event] = set()
        self._polling: asyncio.Task[None] | None = None
        # Kept while no stream is open: a page that was made meanwhile is current if the next answer is the same.
        self._last: Hashable = object()
        self._changed_at = -math.inf
        self._is_closed = False

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    @property
    def is_polling(self) -> bool:
        return self._polling is not None and not self._polling.done()

    @property
    def is_full(self) -> bool:
        return self._is_closed or len(self._watchers) >= self._most

    def close(self) -> None:
        """End all streams, so that the server can stop. New ones are refused."""
        self._is_closed = True
        for changed in self._watchers:
            changed.set()
        self._stop_polling()

    async def stream(self) -> AsyncIterator[bytes]:
        """The events of one watcher. Raises :class:`Crowded` at its first item if there are too many."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._stream_seconds
        with self._watching() as changed:
            # A proxy that holds answers back shows it by not passing this on.
            yield b"retry: 3000\nevent: hello\ndata: -\n\n"
            while loop.time() < ends:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(self._keep_alive_seconds, max(0.0, ends - loop.time())))
                if changed.is_set():
                    if self._is_closed:
                        return
                    changed.clear()
                    yield b"event: changed\ndata: -\n\n"
                else:
                    yield b": keep-alive\n\n"

    @contextmanager
    def _watching(self) -> Iterator[asyncio.Event]:
        if self.is_full:
            raise Crowded
        changed = asyncio.Event()
        if asyncio.get_running_loop().time() - self._changed_at < _RENDERED_SECONDS:
            changed.set()
        self._watchers.add(changed)
        if not self.is_polling:
            self._polling = asyncio.create_task(self._poll(), name="dashboard poller")
        try:
            yield changed
        finally:
            self._watchers.discard(changed)
            if not self._watchers:
                self._stop_polling()

    def _stop_polling(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def _poll(self) -> None:
        while True:
            found = await self._answer()
            if found != self._last:
                self._last = found
                self._changed_at = asyncio.get_running_loop().time()
                for changed in self._watchers:
                    changed.set()
            await asyncio.sleep(self._poll_seconds)

    async def _answer(self) -> Hashable:
        """An error is an answer too: pages then show it."""
        try:
            return await self._ask()
        except Exception as error:  # noqa: BLE001  # one failed look must not end the poller of all pages
            log.debug("dashboard.poll_failed", error=type(error).__name__)
            return type(error).__name__
