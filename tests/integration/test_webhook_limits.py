"""The limits of the webhook app on real sockets, with each HTTP parser. `test_webhook_attacks.py` attacks a process."""

import asyncio
import errno
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.integration.webhook_app import DELIVERY, SECRET, Memory, report, serving, settings, signed
from webhook.limits import Limits

TOKEN = "token-1"
SHORT = 0.05
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
START = HEALTH[:-2]
WAYS = {"sinch_webhook_secrets": SECRET, "webhook_tokens": TOKEN}
LATER, TOO_LARGE = "503", "431"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

pytestmark = pytest.mark.parametrize("parser", ["httptools", "h11"])


class Server:
    """A running app, and raw connections to it."""

    def __init__(self, client: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self.client = client
        self._stack = stack

    async def connect(self, first: bytes = b"") -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.client.base_url.port)
        self._stack.callback(abort, writer)
        writer.write(first)
        await writer.drain()
        return reader, writer

    async def answer(self, first: bytes) -> str:
        """The status of the answer to what is sent on a new connection."""
        return await status(await self.connect(first))

    async def health(self) -> int:
        return (await self.client.get("/healthz", headers={"connection": "close"})).status_code


def abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def limited(parser: str, memory: Memory | None = None, **limits: Any) -> AsyncIterator[Server]:
    async with (
        serving(memory or Memory(), settings(**WAYS), limits=Limits(**limits), parser=parser) as client,
        AsyncExitStack() as stack,
    ):
        yield Server(client, stack)


async def status(connection: Connection) -> str:
    async with asyncio.timeout(10):
        line = await connection[0].readline()
        return line.split()[1].decode() if line else "closed"


async def rest(connection: Connection) -> bytes:
    """All that still comes, until the app closes the connection."""
    async with asyncio.timeout(10):
        try:
            return await connection[0].read()
        except ConnectionResetError:
            return b""


def post(head: str, body: bytes) -> bytes:
    return f"POST {DELIVERY} HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode() + body


def fields(request: dict[str, Any]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in request["headers"].items())


def whole(request: dict[str, Any]) -> bytes:
    return post(f"{fields(request)}content-length: {len(request['content'])}\r\n", request["content"])


CLAIMED = fields(signed(report()))
HALF = post(f"{CLAIMED}content-length: 1000\r\n", b"{")


@pytest.mark.parametrize(
    "endless",
    [START + b"x: ", START + b"a: b\r\n" * 50, b"GET /", b"GET / HTTP/1.1\r\nx"],
    ids=["value", "fields", "path", "name"],
)
async def test_endless_headers_are_refused(parser: str, endless: bytes) -> None:
    async with limited(parser) as server:
        connection = await server.connect(endless + b"v" * Limits().head_bytes)
        assert await status(connection) == TOO_LARGE
        await rest(connection)


@pytest.mark.parametrize(("number", "answer"), [(99, "200"), (100, TOO_LARGE), (5000, TOO_LARGE)])
async def test_headers_have_a_greatest_number(parser: str, number: int, answer: str) -> None:
    async with limited(parser) as server:
        assert await server.answer(START + b"a: b\r\n" * number + b"\r\n") == answer


async def test_headers_beyond_the_limit_never_reach_the_app(parser: str) -> None:
    memory = Memory()
    async with limited(parser, memory) as server:
        request = signed(report())
        request["headers"]["x-more"] = "v" * Limits().head_bytes
        assert await server.answer(whole(request)) == TOO_LARGE

    assert memory.reports == []


@pytest.mark.parametrize("half", [START, b"G", b"\r\n", HALF, post(f"x-webhook-token: {TOKEN}\r\ncontent-length: 9\r\n", b"{")])
async def test_slow_requests_are_told_to_repeat(parser: str, half: bytes) -> None:
    async with limited(parser, head_seconds=SHORT, body_seconds=SHORT) as server:
        connection = await server.connect(half)
        if half.strip():
            assert await status(connection) == LATER
        await rest(connection)


async def test_a_trickle_does_not_extend_the_time(parser: str) -> None:
    async with limited(parser, head_seconds=SHORT) as server:
        reader, writer = await server.connect(START)
        trickling = asyncio.create_task(trickle(writer))
        assert await status((reader, writer)) == LATER
        trickling.cancel()


async def trickle(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x: y\r\n")
        await asyncio.sleep(SHORT / 10)


@pytest.mark.parametrize("first", [b"", HEALTH])
async def test_idle_connections_end_without_a_word(parser: str, first: bytes) -> None:
    async with limited(parser, idle_seconds=SHORT, log_seconds=SHORT) as server:
        with capture_logs() as logs:
            connection = await server.connect(first)
            assert (await rest(connection)).count(b"HTTP/1.1") == len(first) // len(HEALTH)

    assert [line for line in logs if line["event"] == "connections.limited"] == []


def test_idle_time_exceeds_that_of_proxies(parser: str) -> None:
    """nginx and AWS keep connections for 60 seconds; a request on one that is just ending would be lost."""
    assert Limits().idle_seconds > 60


@pytest.mark.parametrize("trailer", [f"x-webhook-token: {TOKEN}", "authorization: Basic dXNlcjpwYXNz"])
async def test_trailers_never_become_headers(parser: str, trailer: str) -> None:
    body = json.dumps(report()).encode()
    chunks = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, trailer.encode())

    async with limited(parser) as server:
        assert await server.answer(post("transfer-encoding: chunked\r\n", chunks)) == "401"
        signed_chunks = post(f"transfer-encoding: chunked\r\n{CLAIMED}", chunks)
        assert await server.answer(signed_chunks) == "204"


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("wait", [False, True])
async def test_body_of_an_upgrade_request_is_read(parser: str, protocol: str, wait: bool) -> None:
    memory = Memory()
    request = whole(signed(report())).replace(b"\r\n", f"\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n".encode(), 1)
    cut = request.index(b"\r\n\r\n") + 4 if wait else len(request)
    async with limited(parser, memory) as server:
        reader, writer = await server.connect(request[:cut])
        if wait:
            assert await server.health() == 200
            writer.write(request[cut:])
        assert await status((reader, writer)) == "204"

    assert len(memory.reports) == 1


async def test_connect_is_refused(parser: str) -> None:
    async with limited(parser) as server:
        answers = await rest(await server.connect(b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + HEALTH))

    assert answers.count(b"HTTP/1.1 4") == answers.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("endless", [b"0\r\nx: ", b"0\r\n" + b"x: y\r\n" * 50, b"1;"], ids=["trailer", "trailers", "extension"])
async def test_what_is_no_body_is_bounded(parser: str, endless: bytes) -> None:
    async with limited(parser) as server:
        connection = await server.connect(
            post(f"transfer-encoding: chunked\r\n{CLAIMED}", b"1\r\n{\r\n" + endless + b"v" * 2 * Limits().head_bytes)
        )
        assert await status(connection) == TOO_LARGE
        await rest(connection)


@pytest.mark.parametrize("further", [HEALTH, HEALTH * 1000, b"garbage\r\n\r\n", b"GET /he"])
async def test_pipelined_requests_end_after_one_answer(parser: str, further: bytes) -> None:
    memory = Memory()
    async with limited(parser, memory) as server:
        answers = await rest(await server.connect(whole(signed(report())) + further))

    assert answers.count(b"HTTP/1.1") == answers.count(b"204 No Content") == 1
    assert len(memory.reports) == 1


async def test_oldest_idle_connection_makes_room(parser: str) -> None:
    async with limited(parser, connections=5) as server:
        old = await server.connect()
        others = [await server.connect(HEALTH) for _ in range(4)]
        assert [await status(other) for other in others] == ["200"] * 4

        assert await server.health() == 200
        assert await rest(old) == b""
        for reader, writer in others[1:]:
            assert not reader.at_eof()
            assert not writer.is_closing()


async def test_connections_that_brought_callbacks_stay(parser: str) -> None:
    async with limited(parser, connections=5) as server:
        proven = await server.connect(whole(signed(report())))
        assert await status(proven) == "204"
        for _ in range(20):
            await server.connect(START)

        assert await server.health() == 200
        proven[1].write(whole(signed(report(1))))
        assert b"204" in await asyncio.wait_for(proven[0].readuntil(b"204"), 10)


async def test_callbacks_being_committed_are_never_dropped(parser: str) -> None:
    memory = Memory()
    memory.answers.clear()
    async with limited(parser, memory, connections=32) as server:
        waiting = [await server.connect(whole(signed(report(number)))) for number in range(30)]
        await memory.was_called.wait()
        idle = [await server.connect() for _ in range(40)]
        assert await server.health() == 200
        memory.answers.set()

        assert [await status(one) for one in waiting] == ["204"] * 30
        assert any([await rest(one) == b"" for one in idle[:10]])


async def test_crowd_leaves_connections_for_health_checks(parser: str) -> None:
    memory = Memory()
    memory.answers.clear()
    async with limited(parser, memory, connections=32) as server:
        waiting = [await server.connect(whole(signed(report(number)))) for number in range(31)]
        assert await status(waiting[-1]) == "429"
        assert await server.health() == 200
        memory.answers.set()
        assert [await status(one) for one in waiting[:30]] == ["204"] * 30


async def test_oldest_large_request_makes_room(parser: str) -> None:
    async with limited(parser, held_bytes=100_000) as server:
        half = post(f"{CLAIMED}content-length: 90000\r\n", b"x" * 60_000)
        first = await server.connect(half)
        await server.health()
        second = await server.connect(half)

        assert await status(first) == LATER
        assert (await server.client.post(DELIVERY, **signed(report()))).status_code == 204
        second[1].write(b"x" * 30_000)
        assert await status(second) == "401"


async def test_memory_returns_after_each_request(parser: str) -> None:
    async with limited(parser, held_bytes=100_000) as server:
        for number in range(10):
            padded = json.dumps(report(number)).encode().ljust(60_000)
            assert (await server.client.post(DELIVERY, **signed(padded))).status_code == 204


async def test_refused_body_is_read_to_its_end(parser: str) -> None:
    """To hang up at once would lose the answer: the connection is of use afterwards."""
    async with limited(parser) as server:
        reader, writer = await server.connect(post("content-length: 200000\r\n", b"x" * 100_000))
        assert await status((reader, writer)) == "401"
        writer.write(b"x" * 100_000 + HEALTH)
        assert b"alive" in await asyncio.wait_for(reader.readuntil(b"alive"), 10)


async def test_refused_body_has_an_end(parser: str) -> None:
    async with limited(parser, surplus_bytes=100_000) as server:
        connection = await server.connect(post("content-length: 1000000\r\n", b"x" * 200_000))
        assert await status(connection) == "401"
        await rest(connection)


async def test_many_refusals_make_one_line(parser: str) -> None:
    written = asyncio.Event()

    def note(_logger: object, _method: str, event: EventDict) -> EventDict:
        written.set()
        return event

    async with limited(parser, log_seconds=0.5) as server:
        with capture_logs(processors=[note]) as logs:
            for _ in range(10):
                assert await server.answer(b"\x16\x03\x01 no HTTP\r\n\r\n") == "400"
                assert await server.answer(START + b"a: b\r\n" * 200 + b"\r\n") == TOO_LARGE
            await asyncio.wait_for(written.wait(), 10)

    assert [(line["event"], line["invalid_http"], line["large_headers"]) for line in logs] == [("connections.limited", 10, 10)]


def fail_an_accept(monkeypatch: pytest.MonkeyPatch, cause: int) -> list[OSError]:
    """The next accept fails. The one that is under way takes one more connection first. Returns what has not failed yet."""
    loop: Any = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(cause, os.strerror(cause))]

    async def failing(listener: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", failing)
    return failures


@pytest.mark.parametrize("cause", [errno.EMFILE, errno.ENFILE])
async def test_lack_of_files_ends_idle_connections(parser: str, cause: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(parser) as server:
        old = await server.connect(HEALTH)
        assert await status(old) == "200"
        fail_an_accept(monkeypatch, cause)
        await server.connect()

        await rest(old)
        assert await server.health() == 200


async def test_other_failed_accepts_end_no_connection(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(parser) as server:
        old = await server.connect(HEALTH)
        await old[0].readuntil(b"alive")
        failures = fail_an_accept(monkeypatch, errno.ECONNABORTED)
        await server.connect()

        assert await server.health() == 200
        assert failures == []
        old[1].write(HEALTH)
        assert b"200 OK" in await asyncio.wait_for(old[0].readuntil(b"alive"), 10)
