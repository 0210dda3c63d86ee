"""`outbox adopt`: after a restore from a backup, adopts the messages that were sent since that backup."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from jobs.adoption import Adopted, Adoption
from jobs.gateway.adopting import Counts
from jobs.gateway.operating import Operating
from jobs.gateway.pause_words import resume_restored
from jobs.providers import registry
from jobs.providers.base import ProviderError, Refusal
from jobs.providers.registry import Account
from jobs.runtime.clocks import Clocks
from jobs.runtime.counts import counted
from jobs.runtime.masking import mask
from scheduler.commands import times
from scheduler.commands.operator import Failed, console, operate, said_when_stopped, say_json
from scheduler.engine import plan_of

_DEADLINE_SECONDS: Final = 30.0
_WORDS: Final = (
    ("other", "batches", "not of this outbox"),
    ("known", "batches", "known to the database"),
    ("unknown", "batches", "missing in the database"),
    (
        "doubtful",
        "batches",
        "show no reference, so they may be of this outbox: a message with the same number and text is held",
    ),
    ("accepted", "messages", "of known requests: the provider accepted them"),
    ("adopted", "messages", "wait in the database, or ended there, and were sent: they become sent"),
    ("remembered", "messages", "were sent and have no row: a message with the same number and text is held"),
    ("held", "messages", "of these hold a message that waits now"),
    (
        "unreadable",
        "messages",
        "were sent to numbers that cannot be read: messages with their text are held, whatever the number",
    ),
)


def adopt(
    *,
    since: Annotated[
        str, typer.Option("--since", help="The time of the backup, or before it: ISO 8601, or a duration such as 6h.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Adopt. Without it, the command prints what it would do.")] = False,
    all_references: Annotated[
        bool,
        typer.Option(
            "--all-references",
            help="Adopt batches with any UUID as reference: for requests made before version 2 of the schema.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """After a restore from a backup, adopt what was sent since. Without --yes, nothing is changed.

    Reads the provider's list for the first configured plan whose provider has one (Vonage has none). Each batch that the
    database does not know is matched with the messages that wait, by number and text, the oldest first. Sending stays stopped
    until the whole list was adopted. Safe to repeat.
    """
    accounts = [registry.account(chosen) for chosen in registry.configured()]
    account = _with_list(accounts)
    start = times.past(since)
    if start > datetime.now(UTC):
        raise typer.BadParameter(f"{since} is in the future: give the time of the backup", param_hint="--since")

    async def work(operating: Operating) -> int:
        clocks = Clocks()
        provider = account.build(clocks)
        try:
            with _progress() as show:
                adoption = Adoption(
                    gateway=operating.gateway,
                    provider=provider,
                    plan=plan_of(provider, account),
                    deadline=_DEADLINE_SECONDS,
                    all_references=all_references,
                    show=show,
                    clocks=clocks,
                )
                done = await adoption.run(start, dry_run=not yes)
        except ProviderError as error:
            raise Failed(f"{_unread(error)}; {_STOPPED if yes else _UNCHANGED}") from None
        finally:
            await provider.aclose()
        _say(done, provider.plan, start, trial=not yes, as_json=as_json)
        if done.remaining and not as_json:
            _say_without_list(one for one in accounts if one.plan in done.remaining)
        return 0 if done.is_complete else 1

    with said_when_stopped(lambda: _STOPPED if yes else _UNCHANGED):
        return operate(work)


def _with_list(accounts: Sequence[Account]) -> Account:
    """The first account whose provider shows what it took. Without one, an adoption would adopt nothing and let all be sent."""
    for account in accounts:
        if registry.has_list(account.provider):
            return account
    first = accounts[0]
    raise Failed(
        f"{first.provider} has no list of requests, so outbox adopt cannot find out what was sent since the backup. First "
        "cancel what must not be sent twice (outbox cancel). Then "
        f"`{resume_restored(first.provider, first.plan)}` ends the pause, and messages that were sent since the backup may go "
        "out again"
    )


def _say_without_list(accounts: Iterable[Account]) -> None:
    for one in accounts:
        if not registry.has_list(one.provider):
            words = f"{one.provider} has no list to adopt, and what it sent since the backup may go out again"
            console().print(f"for {one.plan} that is `{resume_restored(one.provider, one.plan)}`: {words}")


_STOPPED: Final = "nothing is sent until outbox adopt has read the whole list; run it again"
_UNCHANGED: Final = "nothing was changed"
_OF_ANOTHER_ACCOUNT: Final = (403, 404)
"""HTTP statuses of a list that, besides those about the account, may mean another plan, token or region."""


def _unread(error: ProviderError) -> str:
    words = f"the provider's list cannot be read: {error.error}"
    if error.why is Refusal.ACCOUNT or error.http_status in _OF_ANOTHER_ACCOUNT:
        return f"{words}. Check SINCH_SERVICE_PLAN_ID, SINCH_API_TOKEN and SINCH_REGION"
    return words


def _say(done: Adopted, plan: str, since: datetime, *, trial: bool, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "plan": plan, "since": since, "dry_run": trial, "complete": done.is_complete, "counts": done.counts,
                "unread": done.unread, "earlier": done.earlier, "remaining": done.remaining, "examples": done.examples,
            }
        )  # fmt: skip
        return
    say = console().print
    say(f"plan {plan}, since {times.utc(since)}", _table(done.counts))
    for example in done.examples:
        row = "no row" if example.id is None else f"message {example.id}"
        recipient = mask(example.recipient) if example.recipient else "a number that cannot be read"
        kind = f"would be {example.kind}" if trial and example.kind != "unreadable" else example.kind
        say(f"  {kind}: {row} to {recipient}, batch {example.batch_id}")
    if done.earlier:
        say(f"{counted(done.earlier, 'batch')} before that time are missing too, or more: give an earlier --since")
    if done.unread:
        say(f"{counted(done.unread, 'item')} of the list cannot be read: run it again later")
        say("if that stays, docs/operating.md says what to do (After a restore)")
    if trial:
        say("nothing was changed: this was a dry run" + ("" if done.earlier else "; --yes adopts"))
    elif not done.is_complete:
        say("sending stays stopped")
    elif done.remaining:
        say(f"sending stays stopped until outbox adopt has run for: {', '.join(done.remaining)}")
    else:
        say("adopted: the restore stops no plan any more; see outbox status, and outbox held for messages to decide about")


def _table(counts: Counts) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, noun, words in _WORDS:
        count: int = getattr(counts, name)
        if count or name in ("adopted", "remembered"):
            table.add_row(f"{count:,}", noun, words)
    return table


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on stderr for several things, one after the other; on a terminal only."""
    on = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=on, transient=True, disable=not on.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
