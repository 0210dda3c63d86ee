"""Selects the messages of a command, and prints the outcome of each."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import typer
from rich.text import Text

from jobs.gateway.operating import Operating, Outcome
from jobs.runtime.counts import counted
from scheduler.commands.operator import Failed, console, progress, say_json
from scheduler.commands.outcomes import in_words

_STRETCH: Final = 50_000
"""Rows that one call reads, in well under a second."""
_AT_ONCE: Final = 1000
_CHUNK: Final = 500
_SAID_SINGLY: Final = 20
_ID: Final = re.compile(r"[0-9]{1,18}")


def message_id(text: str) -> int:
    """An argument as the id of a message. Raises typer.BadParameter for other text, such as an idempotency key."""
    if not _ID.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not the id of a message, such as 4711; outbox trace finds ids")
    return int(text)


async def select(
    operating: Operating, *, statuses: Sequence[str] | None, campaign: str | None, since: datetime | None
) -> list[int]:
    """The ids of all messages that match, oldest first. Reads the table in stretches, so it may take a while.

    Raises Failed if nothing matches and there is no campaign of this name.
    """
    ids: list[int] = []
    after: int | None = 0
    with progress("looking through the outbox", None) as show:
        while after is not None:
            chosen = await operating.select(
                statuses=statuses, campaign=campaign, since=since, after=after, stretch=_STRETCH, most=_AT_ONCE
            )
            ids += chosen.ids
            after = chosen.after
            show(after or chosen.last or 0)
    if campaign is not None and not ids and campaign not in {known.name for known in await operating.campaigns.list()}:
        raise Failed(f"campaign {campaign!r} does not exist; nothing was changed")
    return ids


async def in_chunks(
    what: str, ids: Sequence[int], act: Callable[[Sequence[int]], Awaitable[Sequence[Outcome]]]
) -> list[Outcome]:
    """Act on all messages, 500 in each call. ``what`` labels the progress bar."""
    outcomes: list[Outcome] = []
    with progress(what, len(ids)) as show:
        for first in range(0, len(ids), _CHUNK):
            outcomes += await act(ids[first : first + _CHUNK])
            show(len(outcomes))
    return outcomes


def say(outcomes: Sequence[Outcome], *, as_json: bool, trial: bool) -> int:
    """Print the outcome of each message, or counts if there are many. Returns the exit code: 1 if any was refused."""
    refused = sum(not outcome.done for outcome in outcomes)
    if as_json:
        say_json({"done": len(outcomes) - refused, "refused": refused, "dry_run": trial, "messages": _rows(outcomes)})
    elif not outcomes:
        console().print(counted(0, "message"))
    elif len(outcomes) <= _SAID_SINGLY:
        for outcome in outcomes:
            _line(f"{outcome.id}", outcome, dry_run=trial)
    else:
        for kind, count in Counter(map(_kind, outcomes)).most_common():
            these = [outcome for outcome in outcomes if _kind(outcome) == kind]
            first = ", ".join(str(outcome.id) for outcome in these[:5])
            _line(f"{counted(count, 'message')} ({first}{', …' if count > 5 else ''})", these[0], dry_run=trial)
    if trial and not as_json:
        console().print("nothing was changed: this was a dry run")
    return 1 if refused else 0


def _kind(outcome: Outcome) -> tuple[bool, str, str | None]:
    return outcome.done, outcome.outcome, outcome.was


def _rows(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    return [{"id": o.id, "was": o.was, "done": o.done, "outcome": o.outcome} for o in outcomes]


def _line(who: str, outcome: Outcome, *, dry_run: bool) -> None:
    was = f" ({outcome.was})" if outcome.was else ""
    words = in_words(outcome, dry_run=dry_run)
    console().print(Text.assemble(f"{who}{was}: ", (words, "green" if outcome.done else "yellow")))
