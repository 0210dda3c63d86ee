"""`outbox cancel`: cancels messages that wait, and those in a request if they come back."""

from collections.abc import Sequence
from typing import Annotated

import typer

from jobs.gateway.operating import Operating, Outcome
from jobs.runtime.counts import counted
from scheduler.commands import selecting
from scheduler.commands.operator import Failed, agreed, console, operate


def cancel(
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID…", help="Messages by their id.", show_default=False, parser=selecting.message_id),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All messages that are not sent yet, such as those of a copy.")] = False,
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="All messages of this campaign that are not sent yet.")
    ] = None,
    idempotency_key: Annotated[
        list[str] | None, typer.Option("--idempotency-key", help="The message with this key. May be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the outcome without changing anything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --campaign and --all: do not ask first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Cancel messages. Prints the outcome of each; exit code 1 if it was too late for any.

    A message in a request is cancelled if it returns unsent. Campaigns make further messages: pause or stop them first.
    """
    if sum(map(bool, (ids, every, campaign, idempotency_key))) != 1:
        raise typer.BadParameter("name messages by id, or give --campaign, --idempotency-key or --all")

    async def act(operating: Operating, some: Sequence[int]) -> Sequence[Outcome]:
        return await operating.cancel(some, dry_run=dry_run)

    async def work(operating: Operating) -> int:
        chosen = ids or await _chosen(operating, campaign, idempotency_key or [], every=every)
        question = f"Cancel {counted(len(chosen), 'message')}{f' of {campaign}' if campaign else ''}?"
        if (every or campaign) and chosen and not dry_run and not agreed(question, yes=yes):
            console().print("nothing was changed")
            return 1
        outcomes = await selecting.in_chunks("cancelling", chosen, lambda some: act(operating, some))
        return selecting.say(outcomes, as_json=as_json, trial=dry_run)

    return operate(work)


async def _chosen(operating: Operating, campaign: str | None, keys: Sequence[str], *, every: bool) -> list[int]:
    if every or campaign is not None:
        waiting = ("scheduled", "pending", "sending")
        return await selecting.select(operating, statuses=waiting, campaign=campaign, since=None)
    found: list[int] = []
    for key in keys:
        matches = await operating.find(key, read_as="idempotency_key")
        if not matches.messages:
            raise Failed(f"no message has the idempotency key {key!r}; nothing was changed")
        found += [message.id for message in matches.messages]
    return found
