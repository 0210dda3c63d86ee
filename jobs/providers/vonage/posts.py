"""Requests to Vonage's Messages API, each made exactly once, over many connections.

With a request for each message their cost counts: httpx walks through its connections for every request, so this is aiohttp
(`benchmarks/clients.py` compares them). As in :mod:`jobs.providers.http`, nothing is repeated, and a request that runs out of
time has its socket reset.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from aiohttp.connector import Connection

from jobs.providers.answers import Answer
from jobs.providers.http import KEEP_IDLE_SECONDS, NO_LINGER, NeverSent, describe, note_date
from jobs.runtime.clocks import Clocks, monotonic
from jobs.runtime.tls import trust

CONNECTIONS: Final = 576
"""As many as the dispatch job has requests open where each has one message, urgent ones too, so that none waits."""

_NEVER_ESTABLISHED: Final = (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError)
_taken: ContextVar[list[asyncio.Transport]] = ContextVar("_taken")
"""The connection of the request that is being made."""


class Posts:
    """POSTs of JSON to one URL. Close it with :meth:`aclose`. ``clocks`` learn Vonage's time from every answer."""

    def __init__(self, url: str, *, clocks: Clocks) -> None:
        self._url = url
        self._clocks = clocks
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, content: bytes, *, headers: Mapping[str, str], deadline: float, is_ours: Callable[[Answer], bool]
    ) -> Answer:
        """One POST, ``deadline`` seconds in all.

        Once the status is known the answer counts, even if its body breaks off. After an answer that ``is_ours`` disowns the
        connection is closed: the next answer on it may be another's, too. Raises :class:`NeverSent`; every other error says
        that the request may have been sent.
        """
        if deadline <= 0:
            raise NeverSent("no time left to begin")
        taken: list[asyncio.Transport] = []
        _taken.set(taken)
        # Not a timeout around the request: aiohttp would close the connection politely, and send what is written before.
        timer = asyncio.get_running_loop().call_later(deadline, _abort, taken)
        answer: Answer | None = None
        ours = False
        sent = monotonic()
        try:
            async with self._open().post(
                self._url, data=content, headers=headers, timeout=_phases(deadline), allow_redirects=False
            ) as response:
                fields = {name.lower(): value for name, value in response.headers.items()}
                answer = Answer(response.status, fields, None)
                note_date(self._clocks, answer, sent=sent)
                answer = Answer(answer.status, fields, await response.read())
                ours = is_ours(answer)
        except _NEVER_ESTABLISHED as error:
            raise NeverSent(describe(error)) from error
        except Exception:
            if answer is None and monotonic() >= sent + deadline:
                raise TimeoutError(f"none within {deadline:g} s") from None
            if answer is None:
                raise
        finally:
            timer.cancel()
            if not ours:
                # aiohttp may have given the connection back already.
                _abort(taken)
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """The session, made inside the event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(
                    limit=CONNECTIONS,
                    keepalive_timeout=KEEP_IDLE_SECONDS,
                    ssl=trust(trust_env=False),
                    socket_factory=_socket,
                ),
                headers={"Accept": "application/json", "User-Agent": "supabase-outbox", "Content-Type": "application/json"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


class _Connector(aiohttp.TCPConnector):
    """Gives out connections on which nothing arrived since the last answer: that would be taken for the next one."""

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        while True:
            connection = await super().connect(*args, **kwargs)
            protocol, transport = connection.protocol, connection.transport
            if protocol is not None and transport is not None and not protocol.should_close and _is_silent(transport):
                _taken.get().append(transport)
                return connection
            connection.close()


def _abort(taken: list[asyncio.Transport]) -> None:
    for transport in taken:
        transport.abort()


def _is_silent(transport: asyncio.Transport) -> bool:
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLIN)
    return not poll.poll(0)


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(*NO_LINGER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _phases(deadline: float) -> aiohttp.ClientTimeout:
    """Waiting for a connection, connecting and the TLS handshake end well before the deadline does."""
    return aiohttp.ClientTimeout(total=None, connect=deadline / 4, sock_connect=deadline / 4)
