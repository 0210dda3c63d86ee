"""One connection to a provider. It carries one request at a time, and resets where anything else arrives on it."""

import asyncio
import select
import socket
import struct
import zlib
from typing import Final, cast

import h11

from jobs.providers.answers import Answer
from jobs.runtime.clocks import monotonic

# Lingering for zero seconds makes close() a reset: data that the peer did not take yet is dropped, not delivered late.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_LONGEST_HEAD: Final = 100 * 1024


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection that is open already.

    An answer belongs to the only request that is open. So that none can be taken for another's, the connection is never used
    again after a request without a whole answer, after bytes beyond an answer, or after bytes that no request asked for.
    """

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._transport: asyncio.Transport | None = None
        self._asked: asyncio.Future[Answer] | None = None
        self._head: Answer | None = None
        self._body: list[bytes] = []
        self._is_open = False
        self.answered_at = 0.0
        """When the status of the last answer arrived, on the monotonic clock."""

    async def ask(self, method: str, target: str, headers: list[tuple[str, str]], content: bytes, *, ends: float) -> Answer:
        """Make one request, and read its answer until ``ends`` on the monotonic clock.

        Raises TimeoutError, ConnectionError, or what is wrong with the answer, if none came. The connection must not be used
        again then, nor when :meth:`begin_next` returns False.
        """
        loop = asyncio.get_running_loop()
        self._head, self._body, self._asked = None, [], loop.create_future()
        request = h11.Request(method=method, target=target, headers=headers)
        raw = [self._h11.send(event) for event in (request, h11.Data(data=content), h11.EndOfMessage())]
        timer = loop.call_at(ends, self._end, TimeoutError("no time left"))
        try:
            if self._transport is None or not self._is_open:
                raise ConnectionResetError("closed before the request")
            self._transport.write(b"".join(part or b"" for part in raw))
            return await self._asked
        finally:
            timer.cancel()
            self._asked = None

    def begin_next(self) -> bool:
        """Make ready for another request. False if none may follow the last one."""
        if not self._is_open or self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        if self._h11.trailing_data != (b"", False):
            return False
        self._h11.start_next_cycle()
        return True

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
        if self._asked is None:
            self.abort()
            return
        self._read(data)

    def eof_received(self) -> None:
        """The end of the connection may be the end of an answer."""
        self._is_open = False
        if self._asked is not None:
            self._read(b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._is_open = False
        self._end(error or ConnectionResetError("closed without an answer"))

    def _read(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
            while True:
                event = self._h11.next_event()
                if isinstance(event, h11.Response):
                    self.answered_at = monotonic()
                    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
                    self._head = Answer(event.status_code, headers, None)
                elif isinstance(event, h11.Data):
                    self._body.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self._finish()
                    return
                elif not isinstance(event, h11.InformationalResponse):
                    return
        except h11.RemoteProtocolError as error:
            self._end(error)

    def _finish(self) -> None:
        head, asked = self._head, self._asked
        if head is not None and asked is not None and not asked.done():
            asked.set_result(Answer(head.status, head.headers, _decoded(head, b"".join(self._body))))

    def _end(self, error: Exception) -> None:
        """No more of the answer comes. Its status counts if it is known."""
        asked = self._asked
        self.abort()
        if asked is None or asked.done():
            return
        if self._head is None:
            asked.set_exception(error)
        else:
            asked.set_result(self._head)


def _decoded(head: Answer, body: bytes) -> bytes | None:
    """The body as it was before it was compressed. None if it cannot be decompressed."""
    if head.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompress(body, wbits=zlib.MAX_WBITS | 32)
    except zlib.error:
        return None
