"""`outbox held`: messages that the provider may have accepted before the database was restored."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich import box
from rich.table import Table

from jobs.gateway.held import HeldMessage
from jobs.gateway.operating import Operating, Outcome
from jobs.runtime.counts import counted
from jobs.runtime.masking import mask
from scheduler.commands import selecting
from scheduler.commands.operator import agreed, console, operate, say_json
from scheduler.commands.times import utc

_AT_ONCE: Final = 1000
_SHOWN: Final = 50


def held(
    *,
    send: Annotated[
        list[int] | None, typer.Option("--send", metavar="ID", help="Send this message. May be repeated.", show_default=False)
    ] = None,
    send_all: Annotated[bool, typer.Option("--send-all", help="Send all held messages.")] = False,
    forget: Annotated[
        str | None,
        typer.Option("--forget", metavar="BATCH", help="Hold no more messages because of unreadable numbers in this batch."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the outcome without changing anything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --send-all: do not ask first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """List the messages that are held since `outbox adopt`, or send them. Numbers are masked.

    Before the restore the provider accepted a message for the same number: with the same text, or with a text that cannot be
    compared. Send those that it did not accept. `outbox cancel` ends the others; all end when they expire. A batch with a
    number that cannot be read holds each number once, until --forget.
    """
    if sum((bool(send), send_all, forget is not None)) > 1:
        raise typer.BadParameter("give one of --send, --send-all and --forget")

    async def work(operating: Operating) -> int:
        if forget is not None:
            return await _forget(operating, forget, as_json=as_json, dry_run=dry_run)
        if not send and not send_all:
            return _list(await _all(operating), as_json=as_json)
        chosen = send or [message.id for message in await _all(operating)]
        if send_all and not dry_run and chosen and not agreed(f"Send {counted(len(chosen), 'message')}?", yes=yes):
            console().print("nothing was changed")
            return 1

        async def act(some: Sequence[int]) -> Sequence[Outcome]:
            return await operating.send_held(some, dry_run=dry_run)

        return selecting.say(await selecting.in_chunks("sending", chosen, act), as_json=as_json, trial=dry_run)

    return operate(work)


async def _all(operating: Operating) -> list[HeldMessage]:
    messages: list[HeldMessage] = []
    while True:
        some = await operating.list_held(after=messages[-1].id if messages else 0, most=_AT_ONCE)
        messages += some
        if len(some) < _AT_ONCE:
            return messages


async def _forget(operating: Operating, batch: str, *, as_json: bool, dry_run: bool) -> int:
    if dry_run:
        raise typer.BadParameter("--dry-run goes with --send and --send-all")
    done = await operating.forget_adopted(batch)
    if as_json:
        say_json({"batch": batch, "forgotten": done})
    else:
        console().print(
            f"batch {batch} holds no more messages: the messages held so far stay held"
            if done
            else f"batch {batch} holds no messages because of a number that cannot be read"
        )
    return 0 if done else 1


def _list(messages: Sequence[HeldMessage], *, as_json: bool) -> int:
    if as_json:
        say_json({"messages": list(messages)})
        return 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "recipient", "text", "accepted in batch", "at", "expires"):
        table.add_column(name)
    for one in messages[:_SHOWN]:
        text = "the same" if one.has_same_text else "cannot be compared"
        table.add_row(str(one.id), mask(one.recipient), text, one.batch_id, utc(one.sent_at), utc(one.expires_at))
    console().print(f"{counted(len(messages), 'message')} held since a restore", *([table] if messages else []))
    if not messages:
        console().print("texts that the provider refused are held too: outbox status shows those")
    if len(messages) > _SHOWN:
        console().print(f"… and {len(messages) - _SHOWN:,} more: --json has them all")
    return 0
