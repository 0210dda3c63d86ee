"""What every operator's command has in common: its settings, its connection, and how it says what it found."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobs import settings, telemetry
from jobs.gateway.operating import Operating
from jobs.recording import GatewayError, GatewayRefused, KeyNotAccepted
from jobs.settings import SettingsError, SupabaseSettings, TelemetrySettings
from scheduler.commands.terminal import Failed, agreed, console, counted

__all__ = [
    "Failed",
    "agreed",
    "away",
    "console",
    "counted",
    "operate",
    "progress",
    "said_when_stopped",
    "say_json",
    "were_refused",
]


def operate(work: Callable[[Operating], Awaitable[int]]) -> int:
    """Do ``work`` with a connection to the project and return its exit code.

    Raises SettingsError where a setting is missing or wrong and :class:`Failed` where Supabase is away or refuses.
    """
    supabase = settings.load(SupabaseSettings)
    telemetry.configure(settings.load(TelemetrySettings), component="operator")
    try:
        return asyncio.run(_operate(supabase, work))
    except GatewayRefused as error:
        raise Failed(str(error).partition(": ")[2]) from None
    except KeyNotAccepted as error:
        raise SettingsError(str(error)) from None
    except GatewayError as error:
        raise Failed(away(supabase, error)) from None


def away(supabase: SupabaseSettings, error: GatewayError) -> str:
    """In words, that Supabase did not do what it was asked to."""
    return f"Supabase at {telemetry.mask_url(supabase.supabase_url)} does not answer: {error}"


async def _operate(supabase: SupabaseSettings, work: Callable[[Operating], Awaitable[int]]) -> int:
    operating = await Operating.connect(supabase)
    try:
        return await work(operating)
    finally:
        await operating.aclose()


@contextmanager
def said_when_stopped(standing: Callable[[], str]) -> Iterator[None]:
    """Where Ctrl-C ends a command half-way, one line on stderr says what was done until then."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"outbox: stopped; {standing()}", err=True)
        raise


def say_json(value: object, *, texts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> None:
    """One object on stdout, times in ISO 8601, phone numbers masked.

    Texts are dropped by their names wherever values are masked; ``texts`` are those that somebody asked for, by the part of
    the object they belong to, one for each of its items where it is a list.
    """
    plain = telemetry.scrub_value(_plain(value))
    for part, given in (texts or {}).items():
        items = plain[part] if isinstance(plain[part], list) else [plain[part]]
        for item, text in zip(items, given, strict=True):
            item.update(text)
    typer.echo(json.dumps(plain, ensure_ascii=False))


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
    """What is said of lines of a file that cannot be used."""
    return f"{counted(lines, 'line')} {'was' if lines == 1 else 'were'} refused"


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr for long work, where somebody looks. Call what it gives with how much is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
