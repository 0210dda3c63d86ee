"""uvicorn's protocol with httptools, within limits. httptools is optional: the extra ``fast`` brings it."""

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from webhook.connections import Connections, Fault
from webhook.protocols import Limited


class _Parser(httptools.HttpRequestParser):
    """Lets requests that ask for another protocol stay with HTTP: httptools skips their body, or takes it for a request."""

    def __init__(self, protocol: "LimitedHttptools") -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._protocol.stay_with_http(data[upgrade.args[0] :])


class LimitedHttptools(Limited, HttpToolsProtocol):
    """Bounds the number of headers, which httptools does not, and drops trailers and pipelined requests."""

    def __init__(self, connections: Connections, **how: Any) -> None:
        super().__init__(connections, **how)
        self.parser = _Parser(self)
        self.headers = []
        self._has_head = False
        self._has_message = False
        self._has_more = False

    def has_begun(self) -> bool:
        return not self._has_head

    def has_many_fields(self) -> bool:
        return len(self.headers) > self.limited.limits.head_fields

    def has_head(self) -> bool:
        return self._has_head

    def has_message(self) -> bool:
        return self._has_message

    def has_more(self) -> bool:
        return self._has_more

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._has_more = True
            return
        self._has_head = self._has_message = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._has_more:
            return
        if len(self.headers) > self.limited.limits.head_fields:
            self.fault = Fault.LARGE_HEAD
            raise ValueError("too many headers")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("CONNECT")
            return
        super().on_headers_complete()
        self._has_head = True
        # Trailers and the headers of pipelined requests are added to this list, which nobody reads. A proxy that removes a
        # header may let it pass as a trailer.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        if not self._has_more:
            self.framing -= len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._has_head and not self._has_more:
            self._has_message = True
            super().on_message_complete()

    def stay_with_http(self, rest: bytes) -> None:
        """Read a request again without its header Upgrade, which a server may ignore (RFC 9110, 7.8), and then its body."""
        if self._has_more:
            return
        fields = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade")
        version = self.parser.get_http_version().encode()
        head = b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, fields)
        self.parser = _Parser(self)
        self.parser.feed_data(head + rest)
