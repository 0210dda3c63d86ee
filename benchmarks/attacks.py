"""Attacks on the webhook app, as data: what each connection sends first, and what it goes on sending.

Each holds a number of connections open, and opens a new one for each that the app closes.
"""

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from benchmarks import worker
from benchmarks.worker import started
from jobs.providers.sinch.signature import sign

DELIVERY: Final = "/webhooks/sinch/delivery"
TOKEN: Final = "a token of the attacks"
_MIB: Final = 1024 * 1024
_SIGNED: Final = "x-sinch-webhook-signature: forged\r\n"
_AGAIN_SECONDS: Final = 0.2
_OPENING_AT_ONCE: Final = 200
_ANSWER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Attack:
    """``opening`` is sent once on each connection, then ``more`` every ``pause`` seconds (0: as fast as it is read).

    ``reads``: whether answers are read.
    """

    name: str
    connections: int
    opening: bytes = b""
    more: bytes = b""
    pause: float = 0.0
    reads: bool = True


def request(body: bytes = b"", *, head: str = "", length: int | None = None, path: str = DELIVERY) -> bytes:
    """A request to the webhook app. ``head`` are more headers; ``length`` is a body's that is not all sent."""
    framing = "transfer-encoding: chunked" if length == -1 else f"content-length: {len(body) if length is None else length}"
    return f"POST {path} HTTP/1.1\r\nhost: webhook\r\n{framing}\r\n{head}\r\n".encode() + body


def signed(raw: bytes, secret: str) -> bytes:
    """A callback as Sinch sends it."""
    signature = sign(secret, raw, nonce="nonce", timestamp="1736760161").decode()
    head = (
        f"x-sinch-webhook-signature: {signature}\r\nx-sinch-webhook-signature-nonce: nonce\r\n"
        "x-sinch-webhook-signature-timestamp: 1736760161\r\nx-sinch-webhook-signature-algorithm: HmacSHA256\r\n"
    )
    return request(raw, head=head)


def report(*, batch_id: str = "no batch of ours", recipients: int = 1, **fields: object) -> bytes:
    """A report on a batch, which names its recipients."""
    numbers = [str(14155550000 + number) for number in range(recipients)]
    line = {"code": 0, "status": "Delivered", "count": recipients, "recipients": numbers}
    return json.dumps({"type": "delivery_report_sms", "batch_id": batch_id, "statuses": [line], **fields}).encode()


def attacks(secret: str, connections: int) -> Iterable[Attack]:
    """All attacks. Those that only wait come from so many connections, those that send all the time from a few."""
    few, line, health = 20, b"x-more: " + b"v" * 100 + b"\r\n", b"GET /healthz HTTP/1.1\r\nhost: webhook\r\n\r\n"
    start, chunk = b"GET /healthz HTTP/1.1\r\nhost: webhook\r\n", b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    chunked = request(head=_SIGNED, length=-1)
    yield Attack("headers without end", few, start, line * 500)
    yield Attack("one header without end", few, start + b"x-more: ", b"v" * 65536)
    yield Attack("a request line without end", few, b"GET /", b"a" * 65536)
    yield Attack("20,000 headers in one request", few, start, (b"a:\r\n" * 20_000 + b"\r\n" + start))
    yield Attack("slow headers", connections, start, b"x-more: v\r\n", 1.0)
    yield Attack("half-sent headers, 30 KB each", connections, start + b"x-more: " + b"v" * 30_000)
    yield Attack("slow body before authentication", connections, request(b"x" * 900_000, head=_SIGNED, length=_MIB), b"x", 1.0)
    yield Attack(
        "slow body after authentication",
        connections,
        request(b"x" * 900_000, head=f"x-webhook-token: {TOKEN}\r\n", length=_MIB),
        b"x",
        1.0,
    )
    yield Attack("a body without end", few, chunked, chunk)
    yield Attack("a body of single bytes", few, chunked, b"1\r\n \r\n" * 10_000)
    yield Attack("forged bodies of 1 MiB", few, b"", request(b"x" * _MIB, head=_SIGNED))
    yield Attack("trailers without end", few, chunked + b"1\r\n{\r\n0\r\n", line * 500)
    yield Attack("one trailer without end", few, chunked + b"1\r\n{\r\n0\r\nx-more: ", b"v" * 65536)
    yield Attack("a chunk extension without end", few, chunked + b"1;", b"v" * 65536)
    yield Attack("pipelined requests", few, b"", health * 10_000)
    yield Attack("answers that are not read", connections, health, health, 0.05, reads=False)
    yield Attack("idle connections", connections)
    yield Attack("idle connections after a request", connections, health)
    yield Attack("bytes that are no HTTP", connections, b"\x16\x03\x01\x02\x00\x01\x00")
    yield Attack("a reference of 64 KB for 10,000 recipients", 4, b"", signed(large_report(), secret), 0.5)
    yield Attack("200,000 brackets, signed", few, b"", signed(b"[" * 200_000, secret), 0.05)


def large_report() -> bytes:
    """A report that would be 640 MB if each of its recipients took a copy of its reference."""
    return report(recipients=10_000, client_reference="r" * 65536)


@dataclass(slots=True)
class Seen:
    """What the app answered while it was attacked. ``slowest`` is in seconds, ``acknowledged`` are places in the callbacks."""

    asked: int = 0
    healthy: int = 0
    slowest: float = 0.0
    acknowledged: list[int] = field(default_factory=list)


@contextmanager
def under(attack: Attack, port: int) -> Iterator[None]:
    """Keep the attack up during the block, from a process of its own. Yields once all its connections were opened."""
    with started(["-m", "benchmarks.attacks", str(port)], {}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None  # noqa: S101  # for the type checker
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(msgspec.json.encode(attack) + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        yield


async def _keep_up(attack: Attack, port: int) -> None:
    gate, opened = asyncio.Semaphore(_OPENING_AT_ONCE), asyncio.Semaphore(0)
    attackers = [asyncio.create_task(_attack(attack, port, gate, opened)) for _ in range(attack.connections)]
    for _ in attackers:
        await opened.acquire()
    worker.say(opened=attack.connections)
    # Whatever ends the measuring process closes stdin.
    await asyncio.to_thread(sys.stdin.buffer.read)
    for attacker in attackers:
        attacker.cancel()


async def _attack(attack: Attack, port: int, gate: asyncio.Semaphore, opened: asyncio.Semaphore) -> None:
    while True:
        with contextlib.suppress(OSError):
            async with gate:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.release()
            try:
                await _press(attack, reader, writer)
            finally:
                writer.transport.abort()
        await asyncio.sleep(_AGAIN_SECONDS)


async def _press(attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return when the app has closed the connection."""
    if not attack.reads:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    reading = asyncio.create_task(_read_to_end(reader))
    try:
        writer.write(attack.opening)
        await writer.drain()
        while attack.more and not reading.done():
            writer.write(attack.more)
            await writer.drain()
            await asyncio.sleep(attack.pause)
        await reading
    finally:
        reading.cancel()


async def _read_to_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass


async def probe(port: int, seen: Seen, callbacks: Iterable[bytes], *, every: float) -> None:
    """Ask for health and send a callback, each over a new connection; then the next, ``every`` seconds later."""
    for place, callback in enumerate(callbacks):
        began = time.perf_counter()
        healthy, answer = await asyncio.gather(
            ask(port, b"GET /healthz HTTP/1.1\r\nhost: webhook\r\nconnection: close\r\n\r\n"), ask(port, callback)
        )
        seen.slowest = max(seen.slowest, time.perf_counter() - began)
        seen.asked += 1
        seen.healthy += healthy == 200
        if answer == 204:
            seen.acknowledged.append(place)
        await asyncio.sleep(every)


async def ask(port: int, raw: bytes) -> int | None:
    """The status of the answer; None if none came."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(raw)
                return int((await reader.readline()).split()[1])
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, IndexError, ValueError):
        return None


def main() -> None:
    """Keep up the attack that the first line of stdin describes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_keep_up(msgspec.json.decode(sys.stdin.buffer.readline(), type=Attack), int(sys.argv[1])))


if __name__ == "__main__":
    main()
