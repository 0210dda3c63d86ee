"""``outbox simulator``: the Sinch simulator alone."""

from typing import Annotated

import typer

from sandbox.simulator.behaviour import Behaviour, Span
from sandbox.simulator.server import listen, make_server, serve
from sandbox.simulator.sinch.plans import PlanSettings


def simulator(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    plan: Annotated[str, typer.Option(help="Service plan id.", envvar="SINCH_SERVICE_PLAN_ID")] = "demo-plan",
    token: Annotated[str, typer.Option(help="The plan's API token.", envvar="SINCH_API_TOKEN")] = "demo-token",
    callback_url: Annotated[str | None, typer.Option(help="The plan's callback URL.", envvar="SINCH_CALLBACK_URL")] = None,
    inbound_url: Annotated[str | None, typer.Option(help="URL for inbounds. Default: the callback URL.")] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(help="Secret that signs callbacks; of several, the first.", envvar="SINCH_WEBHOOK_SECRETS")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Messages per second that leave the plan's queue.", min=0.001)] = None,
    latency: Annotated[str, typer.Option(help="Seconds before each answer: 0.05, or 0.02-0.2.")] = "0",
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 1,
) -> None:
    """Run a simulator of Sinch's SMS API. GET /_sim lists its controls with examples, and the numbers that fail."""
    settings = PlanSettings(
        id=plan,
        token=token,
        callback_url=callback_url,
        inbound_url=inbound_url,
        webhook_secret=webhook_secret.split(",")[0].strip() if webhook_secret else None,
        rate=rate,
    )
    behaviour = Behaviour(seed=seed, latency=_span(latency))
    try:
        listener = listen(host, port)
    except OSError as error:
        typer.echo(f"outbox: --port: cannot listen on {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
    address = f"[{host}]" if ":" in host else host
    line = f"SINCH_BASE_URL=http://{address}:{listener.getsockname()[1]}"
    serve(make_server(behaviour, [settings]), listener, lambda: print(line, flush=True))  # noqa: T201  the only output


def _span(text: str) -> Span:
    low, _, high = text.partition("-")
    try:
        return (float(low), float(high)) if high else float(low)
    except ValueError:
        typer.echo(f"outbox: --latency: {text!r} is neither a number of seconds nor a range like 0.02-0.2", err=True)
        raise typer.Exit(2) from None
