"""`outbox health`: the probe of a container."""

import json
import urllib.error
import urllib.request
from typing import Annotated
from urllib.parse import urlsplit

import typer

from jobs.runtime import liveness, settings
from jobs.runtime.liveness import Health
from jobs.runtime.settings import ProcessSettings
from scheduler.commands.terminal import Failed, WrongUsage


def health(
    ready: Annotated[
        bool, typer.Option("--ready", help="Also ask whether it can work: the database answers and its schema fits.")
    ] = False,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Ask a webhook app at this address instead, over HTTP.")
    ] = None,
    seconds: Annotated[float, typer.Option("--timeout", min=0.1, max=600, help="Seconds to wait for all answers.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Ask the processes on this machine whether they are alive. Exit with 0 if all are, with 1 if one is not or none runs."""
    if url is not None:
        found = [_over_http(url, ready=ready, seconds=seconds)]
        places = [url]
    else:
        directory = settings.load(ProcessSettings).outbox_run_dir
        found = liveness.ask(directory, ready=ready, seconds=seconds)
        places = [str(place) for place in liveness.places(directory)]
    problems = [f"{_called(one)}: {one.problem}" for one in found if one.problem is not None]
    if as_json:
        processes = [{"process": one.process, "pid": one.pid or None, "problem": one.problem} for one in found]
        typer.echo(json.dumps({"healthy": bool(found) and not problems, "processes": processes}))
        return 0 if found and not problems else 1
    if not found:
        raise Failed(f"no process of the outbox runs here, looked in {', '.join(places)} (OUTBOX_RUN_DIR names another place)")
    if problems:
        raise Failed("; ".join(problems))
    for one in found:
        typer.echo(f"{_called(one)}: {'ready' if ready else 'alive'}")
    return 0


def _called(one: Health) -> str:
    return f"{one.process} ({one.pid})" if one.pid else one.process


def _over_http(url: str, *, ready: bool, seconds: float) -> Health:
    """The answer of a webhook app, which is not asked through a proxy."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise WrongUsage("--url: is not an address such as http://127.0.0.1:8080")
    asked = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}{'/readyz' if ready else '/healthz'}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=seconds):
            return Health("webhook", 0, None)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(200).decode(errors="replace").strip()
        return Health("webhook", 0, f"answers {error.code}: {said}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Health("webhook", 0, f"does not answer: {getattr(reason, 'strerror', None) or reason}")
