"""uvicorn's protocol of each HTTP parser, within the limits of :mod:`webhook.connections`.

The parsers differ in what they bound by themselves: httptools bounds nothing and turns the trailers of a chunked body into
headers; h11 bounds a head that is not complete. docs/decisions/0016-webhook-limits.md lists what of uvicorn this builds on.
"""

import asyncio
import logging
import weakref
from typing import TYPE_CHECKING, Any, Final

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from webhook.connections import Connections, Fault, Peer, Phase, Queue

_PIECE: Final = 16 * 1024
"""The parser is given so many bytes at once, so that little is read beyond a limit. Most callbacks are one piece."""
_UNSENT: Final = 8 * 1024
"""Bytes of answers that may wait for a client to read them."""
_LINES: Final = {Fault.LARGE_HEAD: b"431 Request Header Fields Too Large", Fault.INVALID: b"400 Bad Request"}
_LEAST_FRAMING: Final = len(b"1\r\n\r\n")
_ASKS: Final = (Phase.HEAD, Phase.BODY)
_IN_BODY: Final = (Phase.BODY, Phase.SURPLUS)
_QUIET: Final = (Phase.NEW, Phase.IDLE)
_LATER: Final = b"503 Service Unavailable"
"""A provider repeats a callback after a 5xx, so a slow one is not lost."""

# uvicorn warns of each invalid request. Those are counted in one line instead.
_errors = logging.getLogger("uvicorn.error.connections")
_errors.setLevel(logging.ERROR)

if TYPE_CHECKING:

    class _Base(asyncio.Protocol):
        """What the two protocols of uvicorn have in common, as far as it is used here."""

        logger: logging.Logger
        app_state: dict[str, Any]
        transport: asyncio.Transport
        flow: FlowControl
        cycle: Any

        def __init__(self, **how: Any) -> None: ...
        def on_response_complete(self) -> None: ...

else:
    _Base = object


class Limited(_Base):
    """What both protocols share. The subclasses say how far their parser has come."""

    def __init__(self, connections: Connections, **how: Any) -> None:
        super().__init__(**how)
        self.logger = _errors
        self.limited = connections
        self.phase: Phase = Phase.NEW
        self.queue: Queue | None = None
        self.held = 0
        self.peer = Peer(connections)
        self.app_state = {**self.app_state, "peer": self.peer}
        self.fault = Fault.INVALID
        self.framing = 0
        """Bytes of the head, and then of what surrounds the body: the sizes and extensions of chunks, and trailers."""
        self._received = 0

    def has_head(self) -> bool:
        """Whether the headers of the request are complete."""
        raise NotImplementedError

    def has_begun(self) -> bool:
        """Whether a part of the headers has arrived. Asked only if they are not complete."""
        raise NotImplementedError

    def has_many_fields(self) -> bool:
        """Whether the headers are too many already. Asked only if they are not complete."""
        return False

    def has_message(self) -> bool:
        """Whether the whole request has arrived."""
        raise NotImplementedError

    def has_more(self) -> bool:
        """Whether bytes of a further request have arrived before the answer."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_UNSENT)
        self.limited.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.limited.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            if self.queue is None or self._is_last():
                return
            self._read(data if len(data) <= _PIECE else data[start : start + _PIECE])

    def _read(self, piece: bytes) -> None:
        """Parse one piece, within the limits. Most requests are one piece, for which there is nothing to limit."""
        size = len(piece)
        if self.phase is Phase.NEW or self.phase is Phase.IDLE:
            self._received = self.framing = 0
        self._received += size
        self.framing += size
        super().data_received(piece)
        if self.queue is None:
            return
        self._progress()
        if self.phase is not Phase.ANSWERING:
            self._limit_unfinished(size)
        elif self.has_more():
            self._end_after_answer()

    def _limit_unfinished(self, size: int) -> None:
        limits = self.limited.limits
        if self.phase is Phase.HEAD and (self.framing >= limits.head_bytes or self.has_many_fields()):
            self.end(Fault.LARGE_HEAD)
        elif self.phase is Phase.SURPLUS and self._received >= limits.surplus_bytes:
            self.end(Fault.LARGE_BODY)
        elif self.phase in _IN_BODY and self.framing >= limits.framing_bytes:
            self.end(Fault.LARGE_HEAD)
        elif self.phase in _ASKS:
            self.limited.hold(self, size)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._progress()

    def _progress(self) -> None:
        """Enter the phase that the parser and the answer have come to."""
        if self.queue is None or self.phase is Phase.UNREAD:
            return
        phase: Phase
        if not self.has_head():
            phase = Phase.HEAD if self.has_begun() else Phase.IDLE
        elif self.cycle.response_complete:
            phase = Phase.IDLE if self.has_message() else Phase.SURPLUS
        else:
            phase = Phase.ANSWERING if self.has_message() else Phase.BODY
        if phase is not self.phase:
            if phase is Phase.BODY:
                self.framing = 0
            self.limited.enter(self, phase)

    def _is_last(self) -> bool:
        """Whether the connection ends after the answer, so that what still comes is dropped."""
        return self.phase is Phase.ANSWERING and self.has_more()

    def _end_after_answer(self) -> None:
        self.limited.tally.note(Fault.PIPELINED.value)
        self.cycle.keep_alive = False
        self.flow.pause_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.queue is not None:
            self.limited.enter(self, Phase.UNREAD)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.queue is not None and self.phase is Phase.UNREAD:
            self.limited.enter(self, Phase.ANSWERING)
            self._progress()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the signature is uvicorn's
        """Called by uvicorn when the parser refuses the input. An answer that is under way still goes out."""
        cycle = self.cycle
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self.end(self.fault)

    def end(self, fault: Fault) -> None:
        """Close the connection, with an answer if the client waits for one."""
        if self.queue is None:
            return
        if fault is not Fault.IDLE:
            self.limited.tally.note(fault.value)
        phase = self.phase
        self.limited.closing(self)
        if self.cycle is not None:
            # The app forgets its part of the body only when it runs again; before that, others may fill the memory.
            self.cycle.body = bytearray()
        if phase in _ASKS or (fault in _LINES and phase in _QUIET):
            self.transport.write(_response(_LINES.get(fault, _LATER)))
        self.transport.close()
        if phase is Phase.UNREAD or self.transport.get_write_buffer_size():
            # Closing would wait until the client reads.
            self.transport.abort()


class _CountingH11(h11.Connection):
    """Also refuses a request with too many headers or chunks, for each takes h11 long, and counts the bytes of the body."""

    def __init__(self, protocol: "LimitedH11") -> None:
        limits = protocol.limited.limits
        super().__init__(h11.SERVER, limits.head_bytes)
        self._fields = limits.head_fields
        self._framing = limits.framing_bytes
        self._chunks = 0
        self._protocol = weakref.proxy(protocol)

    def next_event(self) -> Any:
        try:
            event = super().next_event()
            if isinstance(event, h11.Data):
                self._protocol.framing -= len(event.data)
                self._chunks += event.chunk_start
                if self._chunks * _LEAST_FRAMING > self._framing:
                    raise h11.RemoteProtocolError("too many chunks", error_status_hint=431)
            elif isinstance(event, h11.Request):
                self._chunks = 0
                if len(event.headers) > self._fields:
                    raise h11.RemoteProtocolError("too many headers", error_status_hint=431)
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                self._protocol.fault = Fault.LARGE_HEAD
            raise
        return event


class LimitedH11(Limited, H11Protocol):
    """h11 is always installed: uvicorn needs it."""

    def __init__(self, connections: Connections, **how: Any) -> None:
        super().__init__(connections, **how)
        self.conn = _CountingH11(self)

    def has_begun(self) -> bool:
        return self.has_more()

    def has_head(self) -> bool:
        return self.conn.their_state is not h11.IDLE

    def has_message(self) -> bool:
        return self.conn.their_state is not h11.SEND_BODY

    def has_more(self) -> bool:
        return bool(self.conn.trailing_data[0])


def _response(line: bytes) -> bytes:
    later = b"retry-after: 10\r\n" if line is _LATER else b""
    return b"HTTP/1.1 " + line + b"\r\ncontent-length: 0\r\n" + later + b"connection: close\r\n\r\n"
