"""Reads an HTTP/1.1 answer. Nearly all have one form, which takes little time to read; h11 reads the others."""

import re
import zlib
from typing import Final

import h11

from jobs.providers.answers import Answer

_LONGEST_HEAD: Final = 100 * 1024
# Only what can be read in one way. Folded lines, odd names and other versions are h11's.
_PLAIN: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [ -~]*\r\n((?:[A-Za-z0-9-]+:[ -~]*\r\n)+)\r\n")
_LINE: Final = re.compile(r"([A-Za-z0-9-]+): *([ -~]*)\r\n")
_LENGTH: Final = re.compile(r"[0-9]{1,9}")
_END: Final = b"\r\n\r\n"


class Unfinished(ConnectionError):
    """The answer is not whole, or no HTTP."""


class AnswerReader:
    """Reads the answer to one request, which is no HEAD.

    ``head`` is the answer without a body once its status is known. ``may_go_on``: it was whole, and nothing followed it.
    """

    def __init__(self) -> None:
        self.head: Answer | None = None
        self.may_go_on = False
        self._bytes = b""
        self._ends = 0
        self._body_at = 0
        self._h11: h11.Connection | None = None
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> Answer | None:
        """Read on. Returns the whole answer once it has arrived. No ``data`` is the end of the connection.

        Raises :class:`Unfinished` if no more can be read.
        """
        if self._h11 is not None:
            return self._feed_h11(data)
        self._bytes += data
        if self.head is None:
            if data and _END not in self._bytes and len(self._bytes) < _LONGEST_HEAD:
                return None
            if not self._read_plain():
                return self._begin_h11(ended=not data)
        if self.head is not None and len(self._bytes) >= self._ends:
            self.may_go_on = len(self._bytes) == self._ends
            return self._whole(self._bytes[self._body_at : self._ends])
        if not data:
            raise Unfinished("closed before the end of the answer")
        return None

    def _read_plain(self) -> bool:
        """Read the head of an answer whose length is given. False if it is of another form."""
        plain = _PLAIN.match(self._bytes)
        if plain is None:
            return False
        lines = _LINE.findall(plain[2].decode("ascii"))
        headers = {name.lower(): value.rstrip() for name, value in lines}
        length, status = headers.get("content-length", ""), int(plain[1])
        if len(headers) < len(lines) or "transfer-encoding" in headers or not _LENGTH.fullmatch(length):
            return False
        if status in (204, 304) or headers.get("connection", "keep-alive").lower() != "keep-alive":
            return False
        self.head = Answer(status, headers, None)
        self._body_at = plain.end()
        self._ends = self._body_at + int(length)
        return True

    def _begin_h11(self, *, ended: bool) -> Answer | None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        # What was asked does not matter to how the answer ends.
        self._h11.send(h11.Request(method="GET", target="/", headers=[("Host", "provider")]))
        self._h11.send(h11.EndOfMessage())
        arrived, self._bytes = self._bytes, b""
        answer = self._feed_h11(arrived) if arrived else None
        return self._feed_h11(b"") if ended and answer is None else answer

    def _feed_h11(self, data: bytes) -> Answer | None:
        parser = self._h11
        if parser is None:
            return None
        try:
            parser.receive_data(data)
            while True:
                event = parser.next_event()
                if isinstance(event, h11.Response):
                    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
                    self.head = Answer(event.status_code, headers, None)
                elif isinstance(event, h11.Data):
                    self._body.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    done = parser.our_state is h11.DONE and parser.their_state is h11.DONE
                    self.may_go_on = done and parser.trailing_data == (b"", False)
                    return self._whole(b"".join(self._body))
                elif not isinstance(event, h11.InformationalResponse):
                    break
        except h11.RemoteProtocolError as error:
            raise Unfinished(str(error)) from error
        if not data:
            raise Unfinished("closed without an answer")
        return None

    def _whole(self, body: bytes) -> Answer | None:
        head = self.head
        return None if head is None else Answer(head.status, head.headers, _decoded(head, body))


def _decoded(head: Answer, body: bytes) -> bytes | None:
    """The body as it was before it was compressed. None if it cannot be decompressed."""
    if head.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompress(body, wbits=zlib.MAX_WBITS | 32)
    except zlib.error:
        return None
