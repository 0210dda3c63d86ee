"""``outbox simulator``: the simulator of Sinch and Vonage alone."""

from pathlib import Path
from typing import Annotated

import typer

from sandbox.listening import listen_as_asked
from sandbox.simulator.behaviour import Behaviour, Span
from sandbox.simulator.server import Server, make_server, serve
from sandbox.simulator.sinch.plans import PlanSettings
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.tokens import public_key_of

Secret = Annotated[
    str | None, typer.Option(help="Secret that signs callbacks; of several, the first.", envvar="SINCH_WEBHOOK_SECRETS")
]
Rate = Annotated[float | None, typer.Option(help="Messages per second that leave the plan's queue.", min=0.001)]
VonageId = Annotated[str, typer.Option(help="Vonage application id.", envvar="VONAGE_APPLICATION_ID")]
VonageKey = Annotated[
    str | None,
    typer.Option(
        help="The application's private or public key: PEM text or a file. Default: any signature is taken.",
        envvar="VONAGE_PRIVATE_KEY",
    ),
]
VonageApiKey = Annotated[str, typer.Option(help="The Vonage account's API key.", envvar="VONAGE_API_KEY")]
VonageApiSecret = Annotated[str, typer.Option(help="The Vonage account's API secret.", envvar="VONAGE_API_SECRET")]
VonageSecret = Annotated[
    str | None, typer.Option(help="Secret that signs webhooks; of several, the first.", envvar="VONAGE_SIGNATURE_SECRETS")
]
VonageUrl = Annotated[
    str | None, typer.Option(help="URL for statuses and inbounds of the application.", envvar="VONAGE_CALLBACK_URL")
]
_DEMO = ApplicationSettings()


def simulator(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    plan: Annotated[str, typer.Option(help="Sinch service plan id.", envvar="SINCH_SERVICE_PLAN_ID")] = "demo-plan",
    token: Annotated[str, typer.Option(help="The plan's API token.", envvar="SINCH_API_TOKEN")] = "demo-token",
    callback_url: Annotated[str | None, typer.Option(help="The plan's callback URL.", envvar="SINCH_CALLBACK_URL")] = None,
    inbound_url: Annotated[str | None, typer.Option(help="URL for inbounds. Default: the callback URL.")] = None,
    webhook_secret: Secret = None,
    rate: Rate = None,
    vonage_application: VonageId = _DEMO.id,
    vonage_key: VonageKey = None,
    vonage_api_key: VonageApiKey = _DEMO.api_key,
    vonage_api_secret: VonageApiSecret = _DEMO.api_secret,
    vonage_signature_secret: VonageSecret = None,
    vonage_callback_url: VonageUrl = None,
    latency: Annotated[str, typer.Option(help="Seconds before each answer: 0.05, or 0.02-0.2.")] = "0",
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 1,
) -> None:
    """Run a simulator of Sinch's SMS API and of Vonage's Messages and Reports APIs, on one port.

    GET /_sim lists its controls with examples, and the numbers that fail.
    """
    settings = PlanSettings(
        id=plan,
        token=token,
        callback_url=callback_url,
        inbound_url=inbound_url,
        webhook_secret=_first(webhook_secret),
        rate=rate,
    )
    secret = _first(vonage_signature_secret)
    application = ApplicationSettings(
        id=vonage_application,
        public_key=_public_key(vonage_key) if vonage_key else None,
        api_key=vonage_api_key,
        api_secret=vonage_api_secret,
        signature_secrets=(secret,) if secret else (),
        status_url=vonage_callback_url,
    )
    _run(host, port, make_server(Behaviour(seed=seed, latency=_span(latency)), [settings], [application]))


def _run(host: str, port: int, server: Server) -> None:
    """Serve until a signal comes. Both base URLs are the only output."""
    listener, url = listen_as_asked(host, port)
    serve(server, listener, lambda: print(f"SINCH_BASE_URL={url}\nVONAGE_BASE_URL={url}", flush=True))  # noqa: T201


def _first(secrets: str | None) -> str | None:
    return secrets.split(",")[0].strip() if secrets else None


def _public_key(given: str) -> str:
    """The public key in PEM text, with real or escaped line breaks, or in the file of that name."""
    try:
        text = given.replace("\\n", "\n") if "-----BEGIN" in given else Path(given).read_text(encoding="ascii")
        return public_key_of(text)
    except (OSError, ValueError, TypeError) as error:
        typer.echo(f"outbox: --vonage-key: neither PEM text nor a file that holds a key: {error}", err=True)
        raise typer.Exit(2) from None


def _span(text: str) -> Span:
    low, _, high = text.partition("-")
    try:
        return (float(low), float(high)) if high else float(low)
    except ValueError:
        typer.echo(f"outbox: --latency: {text!r} is neither a number of seconds nor a range like 0.02-0.2", err=True)
        raise typer.Exit(2) from None
