"""The load generator: signed callbacks over many connections, as fast as they are answered.

A process of its own, so that it takes no time from what it measures but the machine's::

    python -m benchmarks.load < order.json > outcome.json

An HTTP client library would be busier than the server it measures. This one knows what every request is before the clock
starts, and of an answer no more than its status and length.
"""

import asyncio
import sys
import time
from collections import Counter, deque
from typing import cast

import msgspec
import uvloop

from jobs.providers.sinch.signature import sign

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Order(msgspec.Struct, frozen=True):
    """What to send where: every body once at most, in order, for at most ``seconds``.

    With ``again`` a body that is answered with 429 is sent once more, after the others and without a pause.
    """

    port: int
    path: str
    secret: str
    bodies: list[str]
    connections: int
    seconds: float
    again: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What came back. ``acknowledged`` are places in the order's bodies, ``milliseconds`` the time each answer took.

    ``cpu`` are the CPU seconds of this process between the first request and the last answer.
    """

    seconds: float
    cpu: float
    statuses: dict[int, int]
    acknowledged: list[int]
    milliseconds: list[float]
    broken: int


class _Run:
    """The state that all connections share: the requests still to make, and the answers so far."""

    def __init__(self, requests: list[bytes], *, until: float, again: bool) -> None:
        self.requests = requests
        self.numbers = deque(range(len(requests)))
        self.again = again
        self.until = until
        self.statuses: Counter[int] = Counter()
        self.acknowledged: list[int] = []
        self.took: list[float] = []
        self.broken = 0

    def next(self) -> int | None:
        return self.numbers.popleft() if self.numbers and time.perf_counter() < self.until else None


class _Connection(asyncio.Protocol):
    """One request after another; the next leaves when the last was answered."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""
        self._sent_at = 0.0
        self._number: int | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def start(self) -> None:
        self._number = self._run.next()
        if self._number is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._run.requests[self._number])

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(_END_OF_HEAD)
        if not found or len(rest) < _length(head):
            return
        self._received = b""
        self._note(int(head[9:12]))
        self.start()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._number is not None:
            self._run.broken += 1
        if not self.done.done():
            self.done.set_result(None)

    def _note(self, status: int) -> None:
        run = self._run
        run.took.append(time.perf_counter() - self._sent_at)
        run.statuses[status] += 1
        if status == 204 and self._number is not None:
            run.acknowledged.append(self._number)
        elif status == 429 and run.again and self._number is not None:
            run.numbers.append(self._number)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(_LENGTH)
    return 0 if at < 0 else int(lower[at + len(_LENGTH) :].split(b"\r", 1)[0])


def _request(order: Order, body: str) -> bytes:
    raw = body.encode()
    nonce, timestamp = "01KB0000000000000000000000", "1764000000"
    signature = sign(order.secret, raw, nonce=nonce, timestamp=timestamp).decode()
    head = (
        f"POST {order.path} HTTP/1.1\r\nhost: 127.0.0.1:{order.port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(raw)}\r\nx-sinch-webhook-signature: {signature}\r\nx-sinch-webhook-signature-nonce: {nonce}\r\n"
        f"x-sinch-webhook-signature-timestamp: {timestamp}\r\nx-sinch-webhook-signature-algorithm: HmacSHA256\r\n\r\n"
    )
    return head.encode() + raw


async def fire(order: Order) -> Outcome:
    """Send the requests of the order."""
    requests = [_request(order, body) for body in order.bodies]
    run = _Run(requests, until=float("inf"), again=order.again)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Connection(run), "127.0.0.1", order.port))[1] for _ in range(order.connections)
    ]

    began, cpu = time.perf_counter(), time.process_time()
    run.until = began + order.seconds
    for connection in connections:
        connection.start()
    await asyncio.wait([connection.done for connection in connections])
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu

    return Outcome(
        seconds=seconds,
        cpu=cpu,
        statuses=dict(run.statuses),
        acknowledged=run.acknowledged,
        milliseconds=sorted(round(took * 1000, 2) for took in run.took),
        broken=run.broken,
    )


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(fire(order))))


if __name__ == "__main__":
    main()
