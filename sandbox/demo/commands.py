"""``outbox demo``: everything on this machine, with real work."""

import json
import math
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from sandbox.demo import words
from sandbox.demo.campaigns import plan_campaigns
from sandbox.demo.film import Film
from sandbox.demo.interrupts import Interrupted, Interrupts, interruptible
from sandbox.demo.parts import PartFailed, Parts, running
from sandbox.demo.show import Show
from sandbox.demo.svg import draw
from sandbox.demo.verdict import Verdict
from sandbox.demo.work import MOST_MESSAGES, TROUBLE_FROM, plan_burst, plan_work
from sandbox.local.errors import StackError, WrongUsage
from sandbox.local.stack import LocalStack
from sandbox.simulator.behaviour import ProviderName

_SECONDS_FOR_WHAT_IS_DUE = 10
_LEAST_RATE = 5
_TITLE = "The demo in a terminal: messages wait, go out and are delivered. At the end none was lost or sent twice."


def demo(
    *,
    messages: Annotated[int, typer.Option(help="How many messages to send.", min=1, max=MOST_MESSAGES)] = 200,
    burst: Annotated[
        int, typer.Option(help="How many more to send at full speed at the end; 0 for none.", min=0, max=MOST_MESSAGES)
    ] = 10_000,
    open_pages: Annotated[bool, typer.Option("--open", help="Open the phones and the dashboard in the browser.")] = False,
    leave: Annotated[
        bool, typer.Option("--exit", help="Exit when all messages are final, as it does if stdout is not a terminal.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON summary on stdout, all else on stderr. Implies --exit.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep logs and database in this folder, replacing those of an earlier demo.")
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port of the Supabase API and table browser; 0 picks a free one.", min=0, max=65535)
    ] = 0,
    providers: Annotated[
        str, typer.Option(help="Which providers have an account: sinch, or sinch,vonage. The first of two goes away meanwhile.")
    ] = "sinch",
    seed: Annotated[int, typer.Option(help="Seed of the random numbers: the same seed sends the same messages.")] = 1,
    svg: Annotated[Path | None, typer.Option(help="Also write what the screen shows to this file, as an animated SVG.")] = None,
) -> None:
    """Start a local Supabase, simulators of the providers, the scheduler and the webhook app, and watch messages move.

    Exit code 0 only if the simulator's records show nothing lost or sent twice.
    """
    console = Console(stderr=as_json, highlight=False, emoji=False, markup=False)
    names = _names(providers)
    film = None if svg is None else Film()
    demonstration = Demonstration(
        console,
        names,
        open_pages=open_pages,
        messages=messages,
        burst=burst,
        seed=seed,
        live=console.is_terminal and not as_json,
        film=film,
    )
    try:
        with interruptible() as interrupts:
            verdict = demonstration.run(interrupts, data_dir, port, stay=console.is_terminal and not (leave or as_json))
    except Interrupted as interrupted:
        console.print("Stopped. Nothing is left running.")
        raise typer.Exit(128 + interrupted.number) from None
    except (PartFailed, StackError) as error:
        code = 2 if isinstance(error, WrongUsage) else 1
        failure = {"error": str(error), "errors": [str(error)], "exit_code": code}
        typer.echo(json.dumps(failure) if as_json else f"outbox demo: {error}", err=True)
        raise typer.Exit(code) from None

    if svg is not None and film is not None:
        svg.write_text(draw(film.frames, title=_TITLE), encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(verdict.as_dict()) + "\n")
    raise typer.Exit(0 if verdict.good else 1)


class Demonstration:
    """One demo, from the first process to the end of the last one."""

    def __init__(
        self,
        console: Console,
        providers: Sequence[ProviderName],
        *,
        open_pages: bool,
        messages: int,
        burst: int,
        seed: int,
        live: bool,
        film: Film | None = None,
    ) -> None:
        self._console = console
        self._providers = providers
        self._open_pages = open_pages
        self._messages = messages
        self._burst = burst
        self._seed = seed
        self._live = live
        self._film = film

    def run(self, interrupts: Interrupts, data_dir: Path | None, port: int, *, stay: bool) -> Verdict:
        """Returns when nothing is left running. Removes a temporary folder unless something went wrong."""
        folder = _folder(data_dir)
        try:
            verdict = self._run(interrupts, folder, port, keep=data_dir is not None, stay=stay)
        except PartFailed:
            raise
        except BaseException:
            _forget(folder, data_dir)
            raise
        if verdict.good:
            _forget(folder, data_dir)
        else:
            self._say(f"The logs are in {folder}.")
        if stay:
            self._say("Stopped. Nothing is left running.")
        return verdict

    def _run(self, interrupts: Interrupts, folder: Path, port: int, *, keep: bool, stay: bool) -> Verdict:
        stack = LocalStack(
            folder / "supabase" if keep else None,
            port=port,
            fresh=True,
            durable=False,
            table_browser=True,
            progress=lambda step: self._say(f"{step} …"),
        )
        # Slow enough to see messages wait, and one-time codes overtake others.
        rate = max(_LEAST_RATE, self._messages / 2 / _SECONDS_FOR_WHAT_IS_DUE) / len(self._providers)
        with running(
            stack,
            folder,
            self._providers,
            messages_per_second=rate,
            seed=self._seed,
            interrupts=interrupts,
            progress=lambda s: self._say(f"{s} …"),
        ) as parts:
            self._show_pages(parts)
            began = datetime.now(UTC)
            work = replace(plan_work(self._messages, seed=self._seed, began=began), burst=plan_burst(self._burst))
            campaigns = plan_campaigns(began) if self._messages >= TROUBLE_FROM else None
            with Show(parts, work, campaigns, self._console, live=self._live, film=self._film) as show:
                verdict = show.watch()
                result = words.result(verdict)
                # A terminal would break a line within a word.
                self._console.print(result, soft_wrap=not self._live)
                if verdict.stuck:
                    self._say(words.still_open(show.stuck(), verdict.stuck))
                if not verdict.good:
                    self._say(parts.last_words("scheduler"))
                if stay:
                    self._stay(show, parts, result)
        return verdict

    def _show_pages(self, parts: Parts) -> None:
        for text, address in zip(words.page_lines(parts.pages), parts.pages.values(), strict=True):
            self._say(text)
            if self._open_pages and not webbrowser.open(address):
                self._say("There is no browser to open it in: set BROWSER, or open the address yourself.")

    def _stay(self, show: Show, parts: Parts, result: str) -> None:
        """Keep showing the outbox until a signal comes. The result and the commands stay on the screen."""
        invitation = ["", *words.invitation(parts.stack, str(parts.folder), parts.pages), ""]
        for text in invitation:
            self._say(text)
        width = self._console.width
        taken = len(Text(result).wrap(self._console, width))
        try:
            show.stay(lines_taken=taken + sum(math.ceil(max(len(text), 1) / width) for text in invitation))
        except Interrupted:
            return

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def _names(providers: str) -> Sequence[ProviderName]:
    """The replies and the lost reports of the scenario are Sinch's, so it comes first."""
    known: Mapping[str, Sequence[ProviderName]] = {"sinch": ("sinch",), "sinch,vonage": ("sinch", "vonage")}
    names = ",".join(name.strip() for name in providers.split(","))
    if names not in known:
        raise typer.BadParameter(f"{providers!r} is not one of: {' or '.join(known)}", param_hint="--providers")
    return known[names]


def _folder(data_dir: Path | None) -> Path:
    if data_dir is None:
        return Path(mkdtemp(prefix="outbox-demo-"))
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUsage(f"--data-dir {data_dir}: {error.strerror}") from None
    return data_dir.absolute()


def _forget(folder: Path, data_dir: Path | None) -> None:
    if data_dir is None:
        rmtree(folder, ignore_errors=True)
