"""How connections of both HTTP parsers end. A real one that reads nothing would take megabytes to get there."""

import asyncio
from typing import Any

import pytest
from uvicorn.server import ServerState

from webhook.commands import server_config
from webhook.connections import Fault

pytestmark = pytest.mark.parametrize("parser", ["httptools", "h11"])

UNSENT = 9_000
HALF_A_BODY = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n" + b"x" * 5_000
WHOLE = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"


class Clogged(asyncio.Transport):
    """A transport whose client does not read what is sent."""

    unsent = UNSENT
    is_aborted = False
    is_read = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None: ...
    def close(self) -> None: ...
    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def abort(self) -> None:
        self.is_aborted = True


async def wait_for_body(_scope: Any, receive: Any, _send: Any) -> None:
    while (await receive())["type"] == "http.request":
        pass


def connection_of(parser: str) -> Any:
    config = server_config(wait_for_body, parser=parser)
    config.load()
    made: Any = config.http_protocol_class
    return made(config=config, server_state=ServerState(), app_state={})


@pytest.mark.parametrize("is_paused", [True, False])
async def test_connection_that_reads_nothing_is_aborted(parser: str, is_paused: bool) -> None:
    connection, transport = connection_of(parser), Clogged()
    connection.connection_made(transport)
    if is_paused:
        transport.unsent = 0
        connection.pause_writing()
    connection.end(Fault.UNREAD)
    connection.connection_lost(None)

    assert transport.is_aborted


async def test_ended_request_keeps_no_body(parser: str) -> None:
    connection = connection_of(parser)
    connection.connection_made(Clogged())
    connection.data_received(HALF_A_BODY)
    assert len(connection.cycle.body) == 5_000

    connection.end(Fault.MEMORY)

    assert len(connection.cycle.body) == 0
    connection.connection_lost(None)


@pytest.mark.parametrize("further", [WHOLE, b"garbage\r\n\r\n", b"\x16\x03\x01"])
async def test_nothing_is_read_beyond_a_request(parser: str, further: bytes) -> None:
    connection = connection_of(parser)
    transport: Any = Clogged()
    connection.connection_made(transport)
    connection.data_received(WHOLE)
    assert transport.is_read

    connection.data_received(further)

    assert not transport.is_read
    connection.connection_lost(None)
