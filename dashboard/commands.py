"""`outbox dashboard`: the dashboard as a process of its own."""

import asyncio
import socket
from typing import Annotated, Final

import structlog
import typer

from dashboard.app import create_dashboard
from dashboard.protection import LOOPBACK_NAMES, is_loopback
from dashboard.server import serve
from dashboard.signing_in.link import LinkWay
from jobs.gateway.operating import Operating
from jobs.runtime import environment, listening, settings, telemetry
from jobs.runtime.dashboard import DashboardSettings
from jobs.runtime.settings import ProcessSettings, SupabaseSettings, TelemetrySettings

log = structlog.get_logger()

PORT: Final = 8020
_BACKLOG: Final = 128


def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 picks a free one. Without it, DASHBOARD_PORT, PORT or 8020.", min=0, max=65535),
    ] = None,
) -> None:
    """Run the dashboard, which shows what the outbox does and lets operators act.

    Without a way to sign in it listens on this machine only, and prints an address that signs in once.
    """
    chosen, project, process, logs = settings.gathered(
        lambda: settings.load(DashboardSettings),
        lambda: settings.load(SupabaseSettings),
        lambda: settings.load(ProcessSettings),
        lambda: settings.load(TelemetrySettings),
    )
    telemetry.configure(logs, component="dashboard")
    environment.warn_of_misspelled(settings.names())
    listener = _listen(host, port, chosen, process)
    if chosen.sign_in == "link" and not _is_loopback(listener):
        listener.close()
        typer.echo(
            f"outbox: DASHBOARD_PASSWORD is not set: --host {host} can be reached from other machines. "
            "Set it, or DASHBOARD_AUTH, or listen on 127.0.0.1",
            err=True,
        )
        raise typer.Exit(2)
    log.info("dashboard.starting", supabase=project.supabase_url)
    asyncio.run(_run(chosen, project, process, listener))


def _listen(host: str, port: int | None, chosen: DashboardSettings, process: ProcessSettings) -> socket.socket:
    """The socket. Exits with 2 if it cannot listen."""
    if port is not None:
        name = "--port"
    elif chosen.dashboard_port is not None:
        name, port = "DASHBOARD_PORT", chosen.dashboard_port
    elif environment.given({"PORT"}):
        name, port = "PORT", process.port
    else:
        name, port = "--port", PORT
    try:
        return listening.listen(host, port, backlog=_BACKLOG)
    except OSError as error:
        typer.echo(f"outbox: {listening.refusal(host, port, name, error)}", err=True)
        raise typer.Exit(2) from None


async def _run(chosen: DashboardSettings, project: SupabaseSettings, process: ProcessSettings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}{chosen.dashboard_root_path or ''}"

    announced = False

    def announce(token: str) -> None:
        """Each address works once, and the next one is printed when it was used."""
        nonlocal announced
        purpose = " in another browser, or later: the address above was used" if announced else " (this address works once)"
        announced = True
        typer.echo(f"outbox: sign in at {address}/sign-in?token={token}{purpose}", err=True)

    operating = await Operating.connect(project)
    app = create_dashboard(
        chosen, project, operating, announce=announce, hosts=LOOPBACK_NAMES if _is_loopback(listener) else ()
    )
    try:
        if isinstance(app.door.way, LinkWay):
            app.door.way.begin()
        await serve(app, listener, process)
    finally:
        await app.aclose()
        await operating.aclose()


def _is_loopback(listener: socket.socket) -> bool:
    return is_loopback(listener.getsockname()[0])
