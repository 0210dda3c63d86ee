"""One connection to a provider. It carries one request at a time, and resets where anything else arrives on it."""

import asyncio
import select
import socket
import struct
from typing import Final, cast

from jobs.providers.answers import Answer
from jobs.providers.reading import AnswerReader, Unfinished
from jobs.runtime.clocks import monotonic

# Lingering for zero seconds makes close() a reset: data that the peer did not take yet is dropped, not delivered late.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection that is open already.

    An answer belongs to the only request that is open. So that none can be taken for another's, the connection is never used
    again after a request without a whole answer, after bytes beyond an answer, or after bytes that no request asked for.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._is_open = False
        self._asked: asyncio.Future[Answer] | None = None
        self._reader: AnswerReader | None = None
        self._is_reusable = False
        self.answered_at = 0.0
        """When the status of the last answer arrived, on the monotonic clock."""

    async def ask(self, request: bytes, *, ends: float) -> Answer:
        """Make one request, and read its answer until ``ends`` on the monotonic clock.

        Raises TimeoutError, ConnectionError, or what is wrong with the answer, if none came. The connection must not be used
        again then, nor while ``is_reusable`` is false.
        """
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[Answer] = loop.create_future()
        self._asked, self._reader, self._is_reusable = asked, AnswerReader(), False
        timer = loop.call_at(ends, self._end, TimeoutError("no time left"))
        try:
            if self._transport is None or not self._is_open:
                raise ConnectionResetError("closed before the request")
            self._transport.write(request)
            return await asked
        finally:
            timer.cancel()
            self._asked = self._reader = None

    @property
    def is_reusable(self) -> bool:
        """Whether another request may follow the last one."""
        return self._is_reusable and self._is_open

    @property
    def is_silent(self) -> bool:
        """Whether nothing has arrived since the last answer, not even the end of the connection."""
        if not self._is_open or self._transport is None:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        """Reset the connection."""
        self._is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._is_open = cast("asyncio.Transport", transport), True
        opened = transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    def data_received(self, data: bytes) -> None:
        if self._asked is None or self._asked.done():
            # Nothing asked for it, so what follows on this connection would belong to no request either.
            self.abort()
        else:
            self._read(data)

    def eof_received(self) -> None:
        """The end of the connection may be the end of an answer."""
        self._is_open = False
        if self._asked is not None and not self._asked.done():
            self._read(b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._is_open = False
        self._end(error or ConnectionResetError("closed without an answer"))

    def _read(self, data: bytes) -> None:
        reader, asked = self._reader, self._asked
        if reader is None or asked is None:
            return
        knew = reader.head is not None
        try:
            answer = reader.feed(data)
        except Unfinished as error:
            self._end(error)
            return
        if not knew and reader.head is not None:
            self.answered_at = monotonic()
        if answer is not None:
            self._is_reusable = reader.may_go_on
            asked.set_result(answer)

    def _end(self, error: Exception) -> None:
        """No more of the answer comes. Its status counts if it is known."""
        asked, head = self._asked, None if self._reader is None else self._reader.head
        self.abort()
        if asked is None or asked.done():
            return
        if head is None:
            asked.set_exception(error)
        else:
            asked.set_result(head)
