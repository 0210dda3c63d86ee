"""``outbox receiver``: a server that gets events, verifies and prints them."""

from datetime import datetime
from typing import Annotated, Any

import typer

from jobs.runtime.standard_webhooks import secrets_in
from sandbox.listening import listen_as_asked
from sandbox.receiver.app import GUIDE, Received, Receiver
from sandbox.receiver.server import serve


def receiver(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)] = 8090,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHSEC",
            help="A secret of the endpoint, whsec_… May be repeated. Without one no signature is checked.",
        ),
    ] = None,
) -> None:
    """Run a server that gets events, verifies and prints them.

    It is for trying endpoints out. The path of its URL decides what it answers: /hook, /status/500, /redirect or /hang. Start
    `outbox run` with EVENTS_ALLOW_PRIVATE_NETWORKS=1, and add its URL with `outbox events add`.
    """
    try:
        secrets = [one for text in secret or () for one in secrets_in(text)]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--secret") from None
    listener, url = listen_as_asked(host, port)
    serve(
        Receiver(secrets=secrets, on_event=_print),
        listener,
        lambda: typer.echo(f"listening on {url}; its paths:\n{GUIDE}", err=True),
    )


def _print(received: Received) -> None:
    signature = "verified" if received.verified else "WRONG SIGNATURE"
    answer = received.status or "no answer"
    typer.echo(f"{datetime.now():%H:%M:%S} {received.event_id} {signature}, {received.path} {answer}")  # noqa: DTZ005  for people
    typer.echo(f"  {_line(received)}")


def _line(received: Received) -> str:
    try:
        event: Any = received.json
        return f"{event['type']} {event['data']}"
    except (ValueError, KeyError, TypeError):
        return f"{len(received.body)} bytes that are no event"
