"""What a request costs the process that makes it, by HTTP client, against a server that answers after 50 ms."""

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection as Pipe
from time import perf_counter, process_time
from typing import Final, cast

import httpx
import psutil
import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.result import Figure, Options, Plot, Result
from jobs.providers.base import Accepted, Submission
from jobs.providers.vonage.client import VonageClient
from jobs.providers.vonage.posts import CONNECTIONS

TITLE = "what does one request cost the process that makes it?"

_DELAY_SECONDS: Final = 0.05
_AT_ONCE: Final = 50
_PATIENCE_SECONDS: Final = 20.0
_BODY: Final = b'{"to":"14155550123","from":"14155550100","channel":"sms","message_type":"text","text":"%s"}' % (b"x" * 150)
_HEADERS: Final = {"Authorization": f"Bearer {'x' * 600}"}
_PATH: Final = "/v1/messages"
_HTTPX_PARTS: Final = 16
_SUBMITTING: Final = "the client of Vonage, signing each request"
_NOTE: Final = (
    f"{_AT_ONCE} requests at a time to a server on this machine that answers after {_DELAY_SECONDS * 1000:g} ms, over HTTP/1.1 "
    "without TLS. CPU is that of the client's process alone. All but the last send the same body and never sign."
)
Ask = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of CPU for each request, requests a second, and MiB resident at the end."""

    cpu: float
    per_second: float
    memory: float


def run(options: Options) -> Result:
    requests = 1000 if options.quick else 3000
    costs: dict[str, list[Cost]] = {case: [] for case in _CLIENTS}
    with _serving() as origin:
        for _ in range(options.repeats):
            for case, found in costs.items():
                # A process of its own, so that no case pays for what another has loaded.
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                    found.append(process.submit(_measure, case, origin, requests).result())
    figures: list[Figure] = []
    for case, found in costs.items():
        figures += [
            Figure(case, "CPU", "ms a request", tuple(cost.cpu for cost in found)),
            Figure(case, "requests", "1/s", tuple(cost.per_second for cost in found)),
            Figure(case, "memory", "MiB", tuple(cost.memory for cost in found)),
        ]
    return Result(tuple(figures), (Plot("CPU"),), (_NOTE,))


def _measure(case: str, origin: str, requests: int) -> Cost:
    return asyncio.run(_cost(_CLIENTS[case], origin, requests))


async def _cost(make: Callable[[str, AsyncExitStack], Awaitable[Ask]], origin: str, requests: int) -> Cost:
    async with AsyncExitStack() as stack:
        ask = await make(origin, stack)
        await _ask_all(ask, 4 * _AT_ONCE)
        cpu, began = process_time(), perf_counter()
        await _ask_all(ask, requests)
        cpu, took = process_time() - cpu, perf_counter() - began
        return Cost(1000 * cpu / requests, requests / took, psutil.Process().memory_info().rss / 2**20)


async def _ask_all(ask: Ask, requests: int) -> None:
    left = iter(range(requests))

    async def go_on() -> None:
        for _ in left:
            await ask()

    await asyncio.gather(*(go_on() for _ in range(_AT_ONCE)))


async def _httpx(origin: str, stack: AsyncExitStack, *, clients: int) -> Ask:
    limits = httpx.Limits(max_connections=-(-CONNECTIONS // clients))
    made = [await stack.enter_async_context(httpx.AsyncClient(base_url=origin, limits=limits)) for _ in range(clients)]
    turns = iter(range(10**9))

    async def ask() -> None:
        client = made[next(turns) % clients]
        _check((await client.post(_PATH, content=_BODY, headers=_HEADERS, timeout=_PATIENCE_SECONDS)).status_code)

    return ask


async def _aiohttp(origin: str, stack: AsyncExitStack) -> Ask:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

    async def ask() -> None:
        async with session.post(origin + _PATH, data=_BODY, headers=_HEADERS) as answer:
            await answer.read()
            _check(answer.status)

    return ask


async def _vonage(origin: str, stack: AsyncExitStack) -> Ask:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    client = VonageClient(application="application", private_key=pem, host=origin, sender="+14155550100")
    stack.push_async_callback(client.aclose)
    submission = Submission("b6f5c1de-0000-4000-8000-000000000001", None, "x" * 150, ["+14155550123"])

    async def ask() -> None:
        outcome = await client.submit(submission, deadline=_PATIENCE_SECONDS)
        _check(202 if isinstance(outcome, Accepted) else 0)

    return ask


_CLIENTS: Final[dict[str, Callable[[str, AsyncExitStack], Awaitable[Ask]]]] = {
    "aiohttp": _aiohttp,
    f"{_HTTPX_PARTS} clients of httpx": partial(_httpx, clients=_HTTPX_PARTS),
    "httpx": partial(_httpx, clients=1),
    _SUBMITTING: _vonage,
}


def _check(status: int) -> None:
    if status != 202:
        raise SystemExit(f"the server answers {status} instead of 202")


@contextmanager
def _serving() -> Iterator[str]:
    """A server in a process of its own, until the end of the block. Yields its origin."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(port: "Pipe[int, int]") -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0, backlog=CONNECTIONS * 4)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


class _Server(asyncio.Protocol):
    """Accepts every request after a while, each under an id of its own."""

    _ids = iter(range(10**9))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._heard = cast("asyncio.Transport", transport), b""

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, end, body = self._heard.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length):
            self._heard = b""
            asyncio.get_running_loop().call_later(_DELAY_SECONDS, self._accept)

    def _accept(self) -> None:
        body = b'{"message_uuid":"aaaaaaaa-bbbb-cccc-dddd-%012d"}' % next(self._ids)
        head = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        if not self._transport.is_closing():
            self._transport.write(head + body)
