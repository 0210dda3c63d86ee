"""`GET /metrics`: the metrics of this process and of the database, as Prometheus reads them. A plain ASGI app."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from ipaddress import ip_address
from time import monotonic
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from pydantic import SecretStr

from jobs.gateway.errors import GatewayError
from jobs.gateway.measures import Measures
from jobs.runtime.metrics import REGISTRY
from jobs.runtime.outage import Outage

PATH: Final = "/metrics"
DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names where workers of one parent keep their values."""
_FRESH_SECONDS: Final = 10.0
_DATABASE_SECONDS: Final = 4.0
"""Prometheus gives up after ten seconds, and would miss the values of the process too."""
_FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip", b"cf-connecting-ip"})

Scope = Mapping[str, Any]
Send = Callable[[Any], Awaitable[None]]


class Exposition:
    """Answers scrapes. ``read`` is called at most every ``fresh`` seconds, whoever scrapes, and has four seconds to answer.

    While the database does not answer, ``outbox_database_up`` is 0 and the values of the database are left out. ``schema`` is
    the newest schema version that this package knows.

    With ``token``, a scrape needs it as a bearer token. Without, it has to come from a private or loopback address, and not
    through a proxy.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Measures]],
        *,
        token: SecretStr | None,
        schema: int,
        fresh: float = _FRESH_SECONDS,
    ) -> None:
        self._read = read
        self._token = None if token is None else _digest(token.get_secret_value().encode())
        self._info = {"version": version("supabase-outbox"), "schema": str(schema)}
        self._fresh = fresh
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._measures: Measures | None = None
        self._outage = Outage("metrics.database_away", ended="metrics.database_back")

    async def __call__(self, scope: Scope, _receive: object, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is None:
            kind, body = await self.render(_header(scope, b"accept").decode("latin-1"))
            await _answer(send, 200, body, kind)
        else:
            await _answer(send, *refusal)

    async def render(self, accept: str = "") -> tuple[str, bytes]:
        """The content type and the text, in the format that ``accept`` asks for."""
        encode, kind = choose_encoder(accept)
        return kind, encode(_Joined([*self._own(), *await self._of_database()]))

    def _own(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("outbox_build_info", "The version of this process.", labels=list(self._info))
        info.add_metric(list(self._info.values()), 1)
        yield info
        # The library names types in this place only.
        workers: Any = MultiProcessCollector
        yield from workers(None).collect() if os.environ.get(DIRECTORY) else REGISTRY.collect()

    async def _of_database(self) -> list[Metric]:
        async with self._lock:
            if monotonic() - self._read_at >= self._fresh:
                self._measures = await self._ask()
                self._read_at = monotonic()
            measures = self._measures
        up = GaugeMetricFamily(
            "outbox_database_up", "Whether the database answered when it was last asked.", value=measures is not None
        )
        return [up, *(() if measures is None else measures.families())]

    async def _ask(self) -> Measures | None:
        try:
            async with asyncio.timeout(_DATABASE_SECONDS):
                measures = await self._read()
        except (GatewayError, TimeoutError) as error:
            self._outage.failed(error=str(error) or type(error).__name__)
            return None
        self._outage.recovered()
        return measures

    def _refusal(self, scope: Scope) -> tuple[int, bytes] | None:
        if self._token is not None:
            scheme, _, given = _header(scope, b"authorization").partition(b" ")
            is_known = scheme.lower() == b"bearer" and hmac.compare_digest(_digest(given.strip()), self._token)
            return None if is_known else (401, b"give METRICS_TOKEN as a bearer token\n")
        if _is_near(scope):
            return None
        return 403, b"without METRICS_TOKEN, metrics are for private addresses, and not through a proxy\n"


class _Joined(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _is_near(scope: Scope) -> bool:
    """Whether the request comes from a private address itself, and not from a proxy with one."""
    if any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    peer = scope.get("client")
    try:
        return peer is None or ip_address(peer[0]).is_private
    except ValueError:
        return False


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


async def _answer(send: Send, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
