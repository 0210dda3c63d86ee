"""`outbox replies`: what recipients wrote, and decisions about replies that may be opt-outs."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from jobs.gateway.operating import Operating
from jobs.gateway.replies import Decision, Reply
from jobs.runtime.masking import mask
from scheduler.commands.operator import console, operate, say_json
from scheduler.commands.times import utc

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="What recipients wrote. Replies that may be an opt-out wait for your decision.",
)

_AT_ONCE: Final = 500
_LONGEST_TEXT: Final = 300
_WORDS: Final = {
    "missing": "no such reply; outbox replies lists them",
    "opted_out": "opted out: {number} gets no more messages",
    "superseded": "{number} is not suppressed: a START or an operator's decision after this reply counts",
    "dismissed": "no opt-out; nothing else changed",
    "no_number": "its sender {number} is no phone number, so nothing can be suppressed",
    "is_opt_out": "it is an opt-out already; deleting {number} from outbox_suppressions lifts that",
    "not_unclear": "it waits for no decision",
}
_WORDS_OF_DRY_RUNS: Final = {
    "opted_out": "would opt {number} out, unless a START or an operator's decision came after this reply",
    "dismissed": "would count as no opt-out",
}


@app.callback()
def list_replies(
    context: typer.Context,
    *,
    unclear: Annotated[bool, typer.Option("--unclear", help="Only those that wait for a decision.")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many, the newest first.")] = 50,
    show_numbers: Annotated[bool, typer.Option("--show-numbers", help="Show the phone numbers in full.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """List what recipients wrote. Numbers are masked, texts are not."""
    if context.invoked_subcommand is not None:
        return 0

    async def work(operating: Operating) -> int:
        replies = await _newest(operating, most, unclear=unclear)
        if as_json:
            _say(replies, show_numbers=show_numbers)
        else:
            _print(replies, most, unclear=unclear, show_numbers=show_numbers)
        return 0

    return operate(work)


@app.command()
def decide(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Replies by their id.", show_default=False)],
    *,
    opt_out: Annotated[
        bool | None,
        typer.Option("--opt-out/--no", help="It is an opt-out, as if it were STOP; or it is none.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the outcome without changing anything.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Decide whether replies are opt-outs. Prints the outcome of each; exit code 1 if any was refused.

    --opt-out suppresses the sender from the time of the reply on, also for a reply without a word of the list. Waiting
    messages to the number end at once, and a later START lifts it. Repeating a decision changes nothing.
    """
    if opt_out is None:
        raise typer.BadParameter("give --opt-out or --no")

    async def work(operating: Operating) -> int:
        decisions: list[Decision] = []
        for first in range(0, len(ids), _AT_ONCE):
            decisions += await operating.decide_replies(ids[first : first + _AT_ONCE], opt_out=opt_out, dry_run=dry_run)
        if as_json:
            say_json({"dry_run": dry_run, "replies": decisions})
        else:
            for decision in decisions:
                console().print(Text.assemble(f"{decision.id}: ", _in_words(decision, dry_run=dry_run)))
            if dry_run:
                console().print("nothing was changed: this was a dry run")
        return 0 if all(decision.done for decision in decisions) else 1

    return operate(work)


async def _newest(operating: Operating, most: int, *, unclear: bool) -> list[Reply]:
    replies: list[Reply] = []
    while len(replies) < most:
        wanted = min(_AT_ONCE, most - len(replies))
        page = await operating.list_replies(unclear=unclear, before=replies[-1] if replies else None, most=wanted)
        replies += page
        if len(page) < wanted:
            break
    return replies


def _say(replies: Sequence[Reply], *, show_numbers: bool) -> None:
    texts = [
        {"body": reply.body} | ({"sender": reply.sender, "recipient": reply.recipient} if show_numbers else {})
        for reply in replies
    ]
    say_json({"replies": list(replies)}, texts={"replies": texts})


def _print(replies: Sequence[Reply], most: int, *, unclear: bool, show_numbers: bool) -> None:
    if not replies:
        console().print("no reply waits for a decision" if unclear else "no replies")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "received", "from", "to", "is", "text"):
        table.add_column(name, no_wrap=name in ("id", "received"))
    for reply in replies:
        sender, recipient = (
            number if show_numbers or not number else mask(number) for number in (reply.sender, reply.recipient)
        )
        table.add_row(reply.id, utc(reply.received_at), sender, recipient, _kind(reply), _readable(reply.body))
    console().print(table)
    if len(replies) == most:
        console().print(f"the newest {most:,}: --limit shows more")
    if any(reply.unclear for reply in replies):
        console().print("decide with outbox replies decide ID… --opt-out, or --no")


def _kind(reply: Reply) -> str:
    if reply.unclear:
        return "unclear"
    return f"{reply.effect or 'other'}{', decided' if reply.decided_at else ''}"


def _readable(body: str | None) -> str:
    """The text in one line, without control characters and invisible marks, which could write over the screen."""
    line = " ".join("".join(c for c in body or "" if c.isprintable() or c.isspace()).split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"


def _in_words(decision: Decision, *, dry_run: bool) -> tuple[str, str]:
    words = (_WORDS | _WORDS_OF_DRY_RUNS if dry_run else _WORDS).get(decision.outcome, decision.outcome)
    return words.format(number=mask(decision.sender or "")), "green" if decision.done else "yellow"
