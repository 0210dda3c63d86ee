"""`GET /metrics` of `outbox run`, which serves nothing else."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import structlog
import uvicorn

from jobs.gateway.exposition import PATH, Exposition
from jobs.runtime import listening
from jobs.runtime.settings import SettingsError

log = structlog.get_logger()

_GOODBYE_SECONDS: Final = 1
_BACKLOG: Final = 128


@asynccontextmanager
async def serving(host: str, port: int, exposition: Exposition) -> AsyncIterator[None]:
    """Answer scrapes while the block runs. Raises SettingsError if the port cannot be had."""
    listener = _listen(host, port)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == PATH and scope["method"] in {"GET", "HEAD"}:
            await exposition(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GOODBYE_SECONDS,
        )
    )
    port = listener.getsockname()[1]
    serving_task = asyncio.create_task(server.serve(sockets=[listener]), name="metrics")
    log.info("metrics.listening", host=host, port=port)
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([serving_task])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listening.listen(host, port, backlog=_BACKLOG)
    except OSError as error:
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        name = "METRICS_HOST" if is_host else "METRICS_PORT"
        raise SettingsError(f"{name}: cannot listen on {host}:{port}: {error.strerror or error}") from None


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the scheduler."""
        yield
