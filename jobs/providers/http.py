"""Requests to a provider, each made exactly once: what it answered, and whether it can have been sent.

Nothing is repeated here: no retries, no redirects, no proxies from the environment (a proxy could repeat a request, and would
answer in the provider's name). A request that runs out of time has its socket reset, so that what was not sent by then never
is.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Final

import httpx

from jobs.providers.answers import Answer, http_date
from jobs.runtime.clocks import Clocks, monotonic
from jobs.runtime.tls import trust

CONNECTIONS: Final = 80
"""The most connections of one client. No request waits for one: the dispatch job's small requests may be this many, urgent ones
among them. For every request httpx walks through its connections, which are no more than are open at once."""

KEEP_IDLE_SECONDS: Final = 3.0
"""Idle for longer, the other side may close a connection just as we write to it, and the outcome would be ambiguous."""

NO_LINGER: Final = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""Lingering for zero seconds makes close() a reset: data that the peer did not take yet is dropped, not delivered late."""

_SOCKET_OPTIONS: Final[list[tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    NO_LINGER,
]
_NEVER_ESTABLISHED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class NeverSent(Exception):
    """No connection was established, so the request certainly was not sent. The text states why."""


class HttpClient:
    """Requests to one origin, an http or https URL without a path. Close it with :meth:`aclose`.

    With ``keeps_connections`` False each request has a connection of its own. ``headers`` go with every request, and ``clocks``
    learn the provider's time from every answer.
    """

    def __init__(self, origin: str, *, headers: Mapping[str, str], clocks: Clocks, keeps_connections: bool = True) -> None:
        limits = httpx.Limits(
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS if keeps_connections else 0,
            keepalive_expiry=KEEP_IDLE_SECONDS,
        )
        transport = httpx.AsyncHTTPTransport(
            verify=trust(trust_env=False), limits=limits, retries=0, trust_env=False, socket_options=_SOCKET_OPTIONS
        )
        self._http = httpx.AsyncClient(
            base_url=origin,
            headers={"Accept": "application/json", "User-Agent": "supabase-outbox", **headers},
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )
        self._clocks = clocks

    async def post(
        self, path: str, content: bytes, *, deadline: float, is_ours: Callable[[Answer], bool] | None = None
    ) -> Answer:
        """One POST of JSON, ``deadline`` seconds in all.

        Once the status is known the answer counts, even if its body breaks off. After an answer that ``is_ours`` disowns the
        connection is closed: the next answer on it may be another's, too. Raises :class:`NeverSent`; every other error says
        that the request may have been sent.
        """
        request = self._http.build_request(
            "POST", path, content=content, headers={"Content-Type": "application/json"}, timeout=_phases(deadline)
        )
        return await self._exchange(request, deadline, is_ours)

    async def get(self, path: str, params: Mapping[str, str], *, deadline: float) -> Answer:
        """One GET, ``deadline`` seconds in all, which raises as :meth:`post` does."""
        request = self._http.build_request("GET", path, params=params, timeout=_phases(deadline))
        return await self._exchange(request, deadline, None)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _exchange(self, request: httpx.Request, deadline: float, is_ours: Callable[[Answer], bool] | None) -> Answer:
        if deadline <= 0:
            raise NeverSent("no time left to begin")
        answer: Answer | None = None
        try:
            async with asyncio.timeout(deadline):
                sent = monotonic()
                response = await self._http.send(request, stream=True)
                answer = Answer(response.status_code, response.headers, None)
                note_date(self._clocks, answer, sent=sent)
                answer = Answer(answer.status, answer.headers, await _read(response))
                if is_ours is not None and not is_ours(answer):
                    await response.extensions["network_stream"].aclose()
        except _NEVER_ESTABLISHED as error:
            raise NeverSent(describe(error)) from error
        except Exception:
            if answer is None:
                raise
        return answer


def note_date(clocks: Clocks, answer: Answer, *, sent: float) -> None:
    """Learn the provider's time from an answer whose status has just arrived. ``sent`` is on the monotonic clock."""
    date = http_date(answer.headers.get("date", ""))
    if date is not None:
        clocks.provider_says(date, sent=sent, received=monotonic())


def describe(error: Exception) -> str:
    """One line about an error, without what may be long."""
    return f"{type(error).__name__} {error}".strip()[:200]


def _phases(deadline: float) -> httpx.Timeout:
    """Waiting for a connection, connecting and the TLS handshake end well before the deadline does.

    So a deadline that passes always means that a request was in flight, and the three errors for the others that none was.
    """
    seconds = max(deadline, 0.0) / 4
    return httpx.Timeout(None, pool=seconds, connect=seconds)


async def _read(response: httpx.Response) -> bytes:
    try:
        return await response.aread()
    finally:
        await response.aclose()
