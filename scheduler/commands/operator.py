"""The common parts of every operator's command: settings, the connection, and the output."""

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobs.gateway.errors import FunctionMissing, GatewayError, GatewayFault, GatewayRefused, KeyNotAccepted
from jobs.gateway.operating import Operating
from jobs.runtime import settings, telemetry
from jobs.runtime.counts import counted
from jobs.runtime.masking import scrub, scrub_value
from jobs.runtime.settings import OperatorSettings, SettingsError, SupabaseSettings, TelemetrySettings
from scheduler.commands.terminal import Failed, WrongUsage, agreed, console, json_line
from scheduler.commands.times import all_in_utc

__all__ = [
    "Failed",
    "WrongUsage",
    "agreed",
    "console",
    "failure",
    "operate",
    "progress",
    "said_when_stopped",
    "say_json",
    "were_refused",
]

_PATIENCE_SECONDS: Final = 1.5


def operate(work: Callable[[Operating], Awaitable[int]]) -> int:
    """Do ``work`` with a connection to the project and return its exit code.

    Raises SettingsError if a setting is missing or wrong, and :class:`Failed` if Supabase is away or refuses the call.
    """
    supabase, operator, logs = settings.gathered(
        lambda: settings.load(SupabaseSettings),
        lambda: settings.load(OperatorSettings),
        lambda: settings.load(TelemetrySettings),
    )
    telemetry.configure(logs, component="operator")
    be_brief_about_names()
    try:
        return asyncio.run(_operate(supabase, operator.outbox_actor or _user(), work))
    except GatewayRefused as error:
        raise Failed(scrub(all_in_utc(str(error).partition(": ")[2]))) from None
    except KeyNotAccepted as error:
        raise SettingsError(str(error)) from None
    except GatewayError as error:
        raise Failed(scrub(f"Supabase at {supabase.supabase_url} {failure(error)}")) from None


def be_brief_about_names() -> None:
    """Have the resolver of the C library give up after four seconds a name server, not ten. A person waits for the answer."""
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")


def failure(error: GatewayError) -> str:
    """What Supabase did instead of what it was asked, to go after its name."""
    match error:
        case FunctionMissing():
            return f"answers, but {error}"
        case GatewayFault() | GatewayRefused():
            return f"answers with an error: {error}"
        case _:
            return f"does not answer: {error}"


async def _operate(supabase: SupabaseSettings, actor: str, work: Callable[[Operating], Awaitable[int]]) -> int:
    answered = asyncio.Event()
    operating = await Operating.connect(supabase, actor=actor, via="command", answered=answered.set)
    waiting = asyncio.create_task(_say_who_is_asked(supabase.supabase_url, answered))
    try:
        return await work(operating)
    finally:
        waiting.cancel()
        await operating.aclose()


async def _say_who_is_asked(url: str, answered: asyncio.Event) -> None:
    """Name the address on stderr if no answer comes soon: it may be a wrong one. Errors of ``--json`` stay JSON."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await answered.wait()
    except TimeoutError:
        if "--json" not in sys.argv:
            typer.echo(f"outbox: waiting for an answer of Supabase at {url}", err=True)


def _user() -> str:
    """The user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user without a name.
        return f"uid {os.getuid()}"


@contextmanager
def said_when_stopped(progress_so_far: Callable[[], str]) -> Iterator[None]:
    """If Ctrl-C ends a command half-way, print one line on stderr with the progress so far."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"outbox: stopped; {progress_so_far()}", err=True)
        raise


def say_json(value: object, *, texts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> None:
    """One object on stdout, times in ISO 8601, phone numbers masked.

    Masking drops message texts by the names of their fields. ``texts`` are the texts that the operator asked for, by the part
    of the object that they belong to; for a list, one for each of its items.
    """
    plain = scrub_value(_plain(value))
    for part, given in (texts or {}).items():
        items = plain[part] if isinstance(plain[part], list) else [plain[part]]
        for item, text in zip(items, given, strict=True):
            item.update(text)
    typer.echo(json_line(plain))


def _plain(value: object) -> Any:
    match value:
        case date():
            return value.isoformat()
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def were_refused(lines: int) -> str:
    """A sentence about refused lines of a file: ``2 lines were refused``."""
    return f"{counted(lines, 'line')} {'was' if lines == 1 else 'were'} refused"


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, on a terminal only. Call the yielded function with the amount that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
