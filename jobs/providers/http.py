"""Requests to a provider, each made exactly once: what it answered, and whether it can have been sent.

Nothing is repeated here: no retries, no redirects, no proxies from the environment (a proxy could repeat a request, and would
answer in the provider's name). A request that runs out of time has its socket reset, so that nothing of it is sent later.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

from jobs.providers.answers import Answer, http_date
from jobs.providers.connection import Connection
from jobs.runtime.clocks import Clocks, monotonic
from jobs.runtime.tls import trust

CONNECTIONS: Final = 64
"""The most connections of one client. No request waits for one: the dispatch job's small requests may be this many."""

# Idle for longer, the other side may close a connection just as we write to it, and the outcome would be ambiguous.
_KEEP_IDLE_SECONDS: Final = 3.0


class NeverSent(Exception):
    """No connection was established, so the request certainly was not sent. The text states why."""


class HttpClient:
    """Requests over HTTP/1.1 to one origin, an http or https URL without a path. Close it with :meth:`aclose`.

    One connection carries one request at a time. With ``keeps_connections`` False each request has its own. ``headers`` go
    with every request, and ``clocks`` learn the provider's time from every answer.
    """

    def __init__(self, origin: str, *, headers: Mapping[str, str], clocks: Clocks, keeps_connections: bool = True) -> None:
        parts = urlsplit(origin)
        self._tls = trust(trust_env=False) if parts.scheme == "https" else None
        if self._tls is not None:
            self._tls.set_alpn_protocols(["http/1.1"])
        self._host = (parts.hostname or "").encode("idna").decode("ascii")
        self._port = parts.port or (80 if self._tls is None else 443)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        common = {
            "Host": f"{shown}:{parts.port}" if parts.port else shown,
            "Accept": "application/json",
            "User-Agent": "supabase-outbox",
        }
        self._headers = [*common.items(), *headers.items()]
        self._clocks = clocks
        self._keeps = keeps_connections
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: deque[tuple[float, Connection]] = deque()
        self._busy: set[Connection] = set()

    async def post(
        self,
        path: str,
        content: bytes,
        *,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        is_ours: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        """One POST of JSON, ``deadline`` seconds in all. ``headers`` are those of this request alone.

        Once the status is known the answer counts, even if its body breaks off. After an answer that ``is_ours`` disowns the
        connection is closed: the next answer on it may be another's, too. Raises :class:`NeverSent`; every other error says
        that the request may have been sent.
        """
        fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        return await self._exchange(
            "POST", path, [*self._headers, *fields.items()], content=content, deadline=deadline, is_ours=is_ours
        )

    async def get(self, path: str, params: Mapping[str, str], *, deadline: float) -> Answer:
        """One GET, ``deadline`` seconds in all, which raises as :meth:`post` does."""
        target = f"{path}?{urlencode(params)}" if params else path
        return await self._exchange("GET", target, [*self._headers, ("Accept-Encoding", "gzip, deflate")], deadline=deadline)

    async def aclose(self) -> None:
        """Reset all connections."""
        for _, connection in self._idle:
            connection.abort()
        for connection in self._busy:
            connection.abort()
        self._idle.clear()
        # The event loop closes the sockets at its next turn, which a caller that ends the loop might not give it.
        await asyncio.sleep(0)

    async def _exchange(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        *,
        deadline: float,
        content: bytes = b"",
        is_ours: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        ends = monotonic() + deadline
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        request = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + content
        connection = await self._take(deadline)
        kept = False
        try:
            sent = monotonic()
            answer = await connection.ask(request, ends=ends)
            self._note_date(answer, sent, connection.answered_at)
            kept = self._keeps and connection.is_reusable and (is_ours is None or is_ours(answer))
        finally:
            self._give_back(connection, kept=kept)
        return answer

    async def _take(self, deadline: float) -> Connection:
        """A connection of which nothing is expected.

        Waiting for a connection, connecting and the TLS handshake end well before the deadline does. So a deadline that passes
        always means that a request was in flight, and NeverSent that none was.
        """
        if deadline <= 0:
            raise NeverSent("no time left to begin")
        if self._slots.locked():
            try:
                async with asyncio.timeout(deadline / 4):
                    await self._slots.acquire()
            except TimeoutError:
                raise NeverSent("all connections are busy") from None
        else:
            await self._slots.acquire()
        try:
            connection = self._take_idle() or await self._connect(deadline / 4)
        except BaseException:
            self._slots.release()
            raise
        self._busy.add(connection)
        return connection

    def _take_idle(self) -> Connection | None:
        """The connection that was used last, because the others are idle for longer."""
        while self._idle:
            since, connection = self._idle.pop()
            if monotonic() - since < _KEEP_IDLE_SECONDS and connection.is_silent:
                return connection
            connection.abort()
        return None

    async def _connect(self, seconds: float) -> Connection:
        try:
            async with asyncio.timeout(seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, self._host, self._port, ssl=self._tls, happy_eyeballs_delay=0.25
                )
        except Exception as error:
            # Whatever it is, nothing was written.
            raise NeverSent(describe(error)) from error
        return connection

    def _give_back(self, connection: Connection, *, kept: bool) -> None:
        self._busy.discard(connection)
        self._slots.release()
        if kept:
            self._idle.append((monotonic(), connection))
        else:
            connection.abort()
        oldest = monotonic() - _KEEP_IDLE_SECONDS
        while self._idle and self._idle[0][0] <= oldest:
            self._idle.popleft()[1].abort()

    def _note_date(self, answer: Answer, sent: float, received: float) -> None:
        date = http_date(answer.headers.get("date", ""))
        if date is not None:
            self._clocks.provider_says(date, sent=sent, received=received)


def describe(error: Exception) -> str:
    """One line about an error, without what may be long."""
    return f"{type(error).__name__} {error}".strip()[:200]
