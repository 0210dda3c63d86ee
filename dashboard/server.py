"""Serves the dashboard with uvicorn until a signal comes."""

import signal
import socket
from types import FrameType
from typing import Final

import structlog
import uvicorn

from dashboard.app import Dashboard
from jobs.runtime import liveness
from jobs.runtime.settings import ProcessSettings

log = structlog.get_logger()

_STOP_SECONDS: Final = 8
_IDLE_SECONDS: Final = 75
_MOST_CONNECTIONS: Final = 512


async def serve(dashboard: Dashboard, listener: socket.socket, process: ProcessSettings) -> None:
    """Serve until SIGTERM or SIGINT: then end live pages, finish open requests, and return within ten seconds."""
    config = uvicorn.Config(
        dashboard,
        log_config=None,
        log_level="warning",
        access_log=False,  # addresses hold what people searched for
        proxy_headers=False,  # DASHBOARD_TRUSTED_PROXIES decides which proxies count
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = _Server(config, dashboard)
    server.stop_on_signals()
    host, port = listener.getsockname()[:2]
    log.info("dashboard.listening", host=host, port=port)
    async with liveness.answering("dashboard", process.outbox_run_dir, dashboard.problem):
        await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends live pages when it stops: it would wait for their streams otherwise."""

    def __init__(self, config: uvicorn.Config, dashboard: Dashboard) -> None:
        super().__init__(config)
        self._dashboard = dashboard

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._dashboard.live.close()
        await super().shutdown(sockets)

    def stop_on_signals(self) -> None:
        """Keep signals from killing the process, also one that comes before the server serves."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            self.should_exit = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
