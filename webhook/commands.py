"""`outbox webhook`: the webhook app as a process of its own."""

import asyncio
import gc
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import FrameType
from typing import Annotated, Final

import structlog
import typer
import uvicorn

from jobs.runtime import environment, listening, liveness, settings, telemetry
from jobs.runtime.settings import MetricsSettings, ProcessSettings, SupabaseSettings, TelemetrySettings, WebhookSettings
from jobs.schema import releases
from jobs.schema.admission import Admission, SchemaUnfit
from jobs.schema.releases import BrokenPackage
from webhook.limits import Limits
from webhook.schema_gate import SchemaGate
from webhook.server import LimitedConfig, LimitedServer
from webhook.shared_metrics import shared_values
from webhook.workers import BACKLOG, CannotWork, supervise

log = structlog.get_logger()
_STOP_SECONDS = 8
_MOST_WORKERS = 60
_OBJECTS_PER_COLLECTION = 50_000
_FIRST_CHECK_SECONDS: Final = 2.0
"""How long callbacks wait at the start until the database's schema is known."""


def webhook(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 picks a free one. Without it, the setting PORT or 8080.", min=0, max=65535),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that serve the port.", min=1, max=_MOST_WORKERS)] = 1,
) -> None:
    """Run the webhook app, which receives callbacks: delivery reports and replies."""
    access, project, process, logs, _ = settings.gathered(
        lambda: settings.load(WebhookSettings),
        lambda: settings.load(SupabaseSettings),
        lambda: settings.load(ProcessSettings),
        lambda: settings.load(TelemetrySettings),
        lambda: settings.load(MetricsSettings),
    )
    telemetry.configure(logs, component="webhook")
    asked, port = ("PORT", process.port) if port is None else ("--port", port)
    log.info("webhook.starting", supabase=project.supabase_url, host=host, port=port)
    environment.warn_of_misspelled(settings.names())
    try:
        listeners = [listen(host, port)] if workers == 1 else listen_each(host, port, workers)
    except OSError as error:
        typer.echo(f"outbox: {listening.refusal(host, port, asked, error)}", err=True)
        raise typer.Exit(2) from None
    try:
        if workers == 1:
            serve(access, project, process, listeners[0])
        else:
            asyncio.run(_keep_workers(listeners, process))
    except (SchemaUnfit, BrokenPackage, CannotWork) as error:
        typer.echo(f"outbox: {error}", err=True)
        raise typer.Exit(1) from None


def serve(
    access: WebhookSettings,
    project: SupabaseSettings,
    process: ProcessSettings,
    listener: socket.socket,
    *,
    workers: int = 1,
    until_closed: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: then accept no more, finish open requests, and return within ten seconds.

    As one of ``workers`` processes that share a listener, this applies its part of the limits, and also ends when the pipe
    ``until_closed`` is closed. Raises SchemaUnfit if the database has a schema that this package must not work with.
    """
    with asyncio.Runner(loop_factory=server_config(None).get_loop_factory()) as runner:
        runner.run(_serve(access, project, process, listener, workers=workers, until_closed=until_closed))


async def _keep_workers(listeners: Sequence[socket.socket], process: ProcessSettings) -> None:
    """Each worker answers `outbox health` for itself, and the parent only shows that it runs."""

    async def problem(_ready: bool) -> None:
        return None

    with shared_values():
        async with liveness.answering("webhook", process.outbox_run_dir, problem):
            await supervise(listeners)


async def _serve(
    access: WebhookSettings,
    project: SupabaseSettings,
    process: ProcessSettings,
    listener: socket.socket,
    *,
    workers: int,
    until_closed: int | None,
) -> None:
    from jobs.gateway.exposition import Exposition
    from jobs.gateway.gateway import Gateway  # A parent of workers does without the memory that the client takes.
    from jobs.providers.registry import paths_in_use
    from webhook.app import create_app
    from webhook.auth_hook import PATH as AUTH_HOOK

    paths = [*paths_in_use(access), *([AUTH_HOOK] if access.supabase_auth_hook_secrets else [])]
    gateway = await Gateway.connect(project)
    known, scraping = releases.packaged(), settings.load(MetricsSettings)
    gate = SchemaGate(Admission(gateway.installed_schema, known).check)
    try:
        read = partial(gateway.metrics, by_country=scraping.metrics_by_country)
        metrics = Exposition(read, token=scraping.metrics_token, schema=known.newest)
        app = create_app(access, gateway, gate, workers=workers, metrics=metrics)
        server = LimitedServer(server_config(app, limits=Limits().for_worker(workers)))
        _stop_on_signals(server)
        if until_closed is None:
            host, port = listener.getsockname()[:2]
            log.info("webhook.listening", host=host, port=port, paths=paths)
        else:
            log.info("worker.listening", paths=paths)
            _stop_when_closed(server, until_closed)
        _collect_seldom()
        async with liveness.answering("webhook", process.outbox_run_dir, app.problem), _watched(gate, server):
            await server.serve(sockets=[listener])
    finally:
        await gateway.aclose()
    if gate.unfit is not None:
        raise SchemaUnfit(gate.unfit)


@asynccontextmanager
async def _watched(gate: SchemaGate, server: uvicorn.Server) -> AsyncIterator[None]:
    """Watch the gate, and stop the server if it can never open. Most often it opens before the first callback is read."""

    def stop_if_unfit(_watching: "asyncio.Task[None]") -> None:
        server.should_exit = server.should_exit or gate.unfit is not None

    watching = asyncio.create_task(gate.watch(), name="schema gate")
    watching.add_done_callback(stop_if_unfit)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(gate.decided.wait(), _FIRST_CHECK_SECONDS)
        yield
    finally:
        watching.cancel()


def _collect_seldom() -> None:
    """Collect garbage rarely. A callback leaves no cycles; collecting after every 700 objects costs a fifth of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_PER_COLLECTION)


def server_config(app: object, *, limits: Limits | None = None, parser: str = "auto") -> LimitedConfig:
    """The configuration of the server. ``parser`` is the HTTP parser: see :class:`webhook.server.LimitedConfig`."""
    limits = limits or Limits()
    return LimitedConfig(
        app,  # None where only the choice of the event loop is asked for
        limits=limits,
        parser=parser,
        log_config=None,
        log_level="warning",
        access_log=False,  # it would write a line for each callback that says nothing new
        proxy_headers=False,  # WEBHOOK_TRUSTED_PROXIES decides which proxies count
        server_header=False,
        lifespan="on",
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(limits.idle_seconds),
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def listen_each(host: str, port: int, number: int) -> list[socket.socket]:
    """A listening socket for each of ``number`` workers. All have the same port. Raises OSError like :func:`listen`.

    Linux divides new connections evenly between sockets with SO_REUSEPORT. From one socket, an idle worker takes nearly all.
    Elsewhere SO_REUSEPORT divides nothing, so the workers share one socket.
    """
    alone = listen(host, port)  # A port that is taken with SO_REUSEPORT could be taken a second time without an error.
    if sys.platform != "linux":
        return [alone, *(alone.dup() for _ in range(number - 1))]
    port = alone.getsockname()[1]
    alone.close()
    return [listen(host, port, shared=True) for _ in range(number)]


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. Raises OSError if the host is unknown or the port is taken. ``shared`` sets SO_REUSEPORT."""
    return listening.listen(host, port, backlog=BACKLOG, shared=shared)


def _stop_on_signals(server: uvicorn.Server) -> None:
    """Keep signals from killing the process.

    While it serves, the server catches signals itself and then raises them again for the handler before it. That must not end
    the process with a failure, and a signal that comes before the server serves must not be lost.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _stop_when_closed(server: uvicorn.Server, descriptor: int) -> None:
    """Stop when the pipe is closed at its other end. Nothing is ever written to it."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True
        loop.remove_reader(descriptor)

    loop.add_reader(descriptor, stop)
