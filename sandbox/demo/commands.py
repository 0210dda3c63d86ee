"""``outbox demo``: everything on this machine, with real work."""

import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated

import httpx
import psycopg
import typer
from rich.console import Console
from rich.live import Live
from supabase import create_client
from supabase.lib.client_options import SyncClientOptions

from sandbox.demo.parts import PartFailed, Parts, running, tail
from sandbox.demo.verdict import Verdict, judge
from sandbox.demo.view import FINAL, Connection, Snapshot, line, look, screen
from sandbox.demo.work import STOPPER, Work, plan_work, put
from sandbox.local.errors import StackError

_LOOK_SECONDS = 0.5
_PLAIN_EVERY = 10


def demo(
    messages: Annotated[int, typer.Option(help="How many messages to send.", min=1, max=100_000)] = 200,
    leave: Annotated[bool, typer.Option("--exit", help="Stop when all are final, instead of staying open.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one summary object on stdout, the rest on stderr.")] = False,
    port: Annotated[int, typer.Option(help="Port of the Supabase API and table browser; 0 takes a free one.", min=0)] = 0,
) -> None:
    """Start a local Supabase, a Sinch simulator, the scheduler and the webhook app, and watch messages move.

    Exit code 0 only if nothing was lost or sent twice, by the simulator's own books.
    """
    console = Console(stderr=as_json)
    folder = Path(tempfile.mkdtemp(prefix="outbox-demo-"))
    try:
        console.print("Starting a local Supabase, a Sinch simulator, the scheduler and the webhook app …")
        with running(folder, port=port) as parts:
            verdict = _show(parts, plan_work(messages), console, stay=not leave and not as_json)
    except KeyboardInterrupt:
        console.print("Stopped. Nothing is left running.")
        raise typer.Exit(130) from None
    except (PartFailed, StackError) as error:
        typer.echo(f"outbox demo: {error}", err=True)
        raise typer.Exit(1) from None

    if as_json:
        sys.stdout.write(json.dumps(verdict.as_dict()) + "\n")
    else:
        console.print(_in_words(verdict))
    if not verdict.good:
        typer.echo(f"the end of the scheduler's log, all of it in {folder}:\n{tail(folder / 'scheduler.log')}", err=True)
        raise typer.Exit(1)


def _show(parts: Parts, work: Work, console: Console, *, stay: bool) -> Verdict:
    where = {"table browser": f"{parts.stack.url}/", "logs": str(parts.logs), "psql": parts.stack.db_url}
    with closing(psycopg.connect(parts.stack.admin_url, autocommit=True)) as db, httpx.Client(timeout=30) as http:
        began = monotonic()
        put(create_client(parts.stack.url, parts.stack.secret_key, SyncClientOptions(httpx_client=http)), work)
        parts.simulator.text_in(sender=STOPPER, to="+12025550100", body="Stop!")
        limit = began + 90 + len(work.rows) / 50
        last = _watch(db, console, where, until=lambda now: now.final >= now.total or monotonic() > limit, note="")
        seconds = monotonic() - began
        verdict = judge(work, parts.simulator, statuses=last.statuses, stuck=_stuck(db), seconds=seconds)
        if stay:
            _watch(db, console, where, until=lambda _: False, note=f"{_in_words(verdict)} Ctrl-C ends the demo.")
    return verdict


def _watch(
    db: Connection, console: Console, where: dict[str, str], *, until: Callable[[Snapshot], bool], note: str
) -> Snapshot:
    """Show the outbox until told otherwise, live where there is a terminal, a line now and then where there is none."""
    before = now = look(db)
    looks = 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            if console.is_terminal:
                live.update(screen(now, before, where=where, note=note), refresh=True)
            elif looks % _PLAIN_EVERY == 0:
                console.print(line(now))
            if until(now):
                return now
            sleep(_LOOK_SECONDS)
            before, now, looks = now, look(db), looks + 1


def _stuck(db: Connection) -> int:
    row = db.execute("select count(*) from public.outbox where status <> all (%s)", [list(FINAL)]).fetchone()
    return int(str(row[0])) if row else 0


def _in_words(verdict: Verdict) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in verdict.statuses.items())
    return (
        f"{verdict.messages} messages in {verdict.seconds} s with {verdict.requests} requests: {counts}. "
        f"By the provider's books {verdict.lost} lost, {verdict.sent_twice} sent twice, {verdict.sent_wrongly} sent wrongly."
    )
