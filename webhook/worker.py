"""One worker: ``python -m webhook.worker FD WORKERS`` serves the inherited socket ``FD`` until its stdin is closed.

`webhook/workers.py` starts it.
"""

import os
import socket
import sys

import structlog
import typer

from jobs.runtime import settings, telemetry
from jobs.runtime.settings import ProcessSettings, SettingsError, SupabaseSettings, TelemetrySettings, WebhookSettings
from jobs.schema.admission import SchemaUnfit
from jobs.schema.releases import BrokenPackage
from webhook.commands import serve
from webhook.workers import CANNOT_WORK


def main(arguments: list[str]) -> int:
    """Serve, and return the exit code."""
    descriptor, workers = (int(argument) for argument in arguments)
    try:
        # The parent has checked the settings; only a file .env that was edited since can be wrong.
        access, project = settings.load(WebhookSettings), settings.load(SupabaseSettings)
        process = settings.load(ProcessSettings)
        telemetry.configure(settings.load(TelemetrySettings), component="webhook")
    except SettingsError as error:
        typer.echo(f"outbox: {error}", err=True)
        return 2
    structlog.contextvars.bind_contextvars(worker=os.getpid())
    try:
        serve(access, project, process, socket.socket(fileno=descriptor), workers=workers, until_closed=sys.stdin.fileno())
    except (SchemaUnfit, BrokenPackage) as error:
        typer.echo(str(error))
        return CANNOT_WORK
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
