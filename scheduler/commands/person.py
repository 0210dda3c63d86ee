"""`outbox person`: shows, exports and erases what is kept of one person."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from jobs.gateway.operating import Operating
from jobs.gateway.persons import PARTS, Kept, Persons
from jobs.lists import numbers
from jobs.runtime.counts import counted
from jobs.runtime.masking import scrub
from jobs.runtime.phone import spellings
from scheduler.commands import person_view, private_file
from scheduler.commands.operator import Failed, agreed, console, operate, progress, said_when_stopped, say_json

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="What is kept of one person, by phone number.",
)

_STRETCH: Final = 20_000
"""Ids that one call looks at, in well under a second."""
_AT_ONCE: Final = 500
_CALLBACKS: Final = 100
"""Callbacks that one call searches. Each may have some hundred kilobytes."""
_SAID: Final = 10


def _number(text: str) -> str:
    try:
        return numbers.read(text.strip())
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("recipient ")) from None


Numbers = Annotated[
    list[str],
    typer.Argument(metavar="NUMBER…", help="The person's numbers, with + and the country code.", parser=_number),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


@app.command()
def show(persons_numbers: Numbers, as_json: AsJson = False) -> int:
    """Show how many rows of which table are kept, without texts.

    Also from when to when, and of which kinds.
    """

    async def work(operating: Operating) -> int:
        person = await _Person.look_up(operating, persons_numbers)
        _say_summary(person, await person.rows(texts=False), as_json=as_json)
        return 0

    return operate(work)


@app.command()
def export(
    persons_numbers: Numbers,
    output: Annotated[Path, typer.Option("--output", help="The file to write, for you alone to read.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> int:
    """Write everything that is kept to a JSON file.

    It holds the texts, but not those of secret messages.
    """
    private_file.check(output, replace=force)

    async def work(operating: Operating) -> int:
        person = await _Person.look_up(operating, persons_numbers)
        rows = await person.rows(texts=True)
        content = {
            "numbers": person.forms,
            "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "tables": person_view.by_table(map(_readable, rows)),
        }
        private_file.write(output, json.dumps(content, ensure_ascii=False, indent=2) + "\n", replace=force)
        if as_json:
            say_json({"rows": len(rows)})
        else:
            typer.echo(f"{counted(len(rows), 'row')} in {output}", err=True)
        return 0

    return operate(work)


@app.command()
def erase(
    persons_numbers: Numbers,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what outbox adopt remembers: a lost message may then be sent a second time.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
) -> int:
    """Erase the person. Only an opt-out remains, and digests that stop a second send.

    Refuses while a message is in a request. Waiting messages end. It may be interrupted and repeated.
    """
    erasure: list[_Erasure] = []

    async def work(operating: Operating) -> int:
        person = await _Person.look_up(operating, persons_numbers)
        rows = await person.rows(texts=False)
        person.check_erasable(rows, force=force)
        if dry_run:
            _say_summary(person, rows, as_json=as_json, dry_run=True)
            return 0
        if not agreed(f"Erase {counted(len(rows), 'row')} of {', '.join(person.forms)}?", yes=yes):
            console().print("nothing was changed")
            return 1
        erasure.append(_Erasure(person))
        return await erasure[0].run(as_json=as_json)

    with said_when_stopped(lambda: erasure[0].so_far() if erasure else "nothing was changed"):
        return operate(work)


def _say_summary(person: "_Person", rows: Sequence[Kept], *, as_json: bool, dry_run: bool = False) -> None:
    """The rows of each table. A dry run says that nothing was changed."""
    if as_json:
        tables = person_view.summary(rows)
        say_json({"rows": len(rows), "in_request": list(person.in_request), "tables": tables, "dry_run": dry_run})
    elif not rows:
        console().print("nothing is kept of this person")
    else:
        console().print(person_view.table(rows))
    if dry_run and not as_json:
        console().print("nothing was changed: this was a dry run. An opt-out would stay")


def _readable(kept: Kept) -> Kept:
    """A callback that could not be read may name other people, so its numbers are masked."""
    if kept.table != "kept_callbacks":
        return kept
    return Kept(kept.table, {**kept.row, "raw": scrub(kept.row["raw"])})


class _Person:
    """One person's numbers in all their forms, and the messages that were found."""

    def __init__(self, calls: Persons, forms: Sequence[str]) -> None:
        self.calls = calls
        self.forms = forms
        self.numbers = [spelling for number in forms for spelling in spellings(number)]
        self.ids: list[int] = []
        self.in_request: list[int] = []
        self._is_restored = False
        self._read_to = 0

    @classmethod
    async def look_up(cls, operating: Operating, given: Sequence[str]) -> "_Person":
        """Look through the whole outbox, which takes about two seconds for a million messages."""
        person = cls(operating.persons, sorted(await operating.persons.numbers(given)))
        await person.look_further()
        return person

    async def look_further(self) -> None:
        """Find the messages that were inserted since the last look. Some that were inserted before may be committed since."""
        after: int | None = max(0, self._read_to - _STRETCH)
        with progress("looking through the outbox", None) as shown:
            while after is not None:
                self._read_to = after
                found = await self.calls.find(self.numbers, after=after, stretch=_STRETCH)
                self.ids += found.ids
                self.in_request += found.in_request
                self._is_restored = found.is_restored
                after = found.after
                shown(after or found.last or 0)

    async def rows(self, *, texts: bool) -> list[Kept]:
        """Everything that is kept, each row once."""
        rows: list[Kept] = []
        with progress("reading", len(self.ids)) as shown:
            for first in range(0, len(self.ids), _AT_ONCE):
                rows += await self.calls.messages(self.ids[first : first + _AT_ONCE], self.numbers, texts=texts)
                shown(first + _AT_ONCE)
        for part in PARTS:
            rows += await self._records(part, texts=texts)
        return list({json.dumps([kept.table, kept.row]): kept for kept in rows}.values())

    async def _records(self, part: str, *, texts: bool) -> list[Kept]:
        rows: list[Kept] = []
        after: str | None = ""
        looked_at = 0
        with progress(f"looking through {part}", None) as shown:
            while after is not None:
                page = await self.calls.records(self.numbers, part, after=after, most=_most_of(part), texts=texts)
                rows += page.rows
                after = page.after
                looked_at += _most_of(part)
                shown(looked_at)
        return rows

    def check_erasable(self, rows: Sequence[Kept], *, force: bool) -> None:
        """Raises Failed after a restore that is not adopted, and for messages in a request or remembered since a restore."""
        if self._is_restored:
            raise Failed(
                "nothing was erased: the database was restored, and outbox adopt has yet to record what was sent since. "
                "It would bring the person back. Run this again after outbox adopt"
            )
        if self.in_request:
            raise Failed(
                f"nothing was erased: {_listed(self.in_request)} in a request. Run this again once outbox status shows no "
                "request in flight and none ambiguous; outbox trace ID shows which request it is"
            )
        remembered = [kept.row for kept in rows if kept.table == "adopted_messages" and not kept.row["released_at"]]
        if remembered and not force:
            until = max(row["kept_until"] for row in remembered)
            raise Failed(
                f"nothing was erased: since a restore {counted(len(remembered), 'message')} without a row may have to be held. "
                f"Run this again after {until}, or with --force: an app that inserts such a message again then sends it again"
            )


class _Erasure:
    """Erases in calls of a few hundred rows. Each of them leaves nothing half done."""

    def __init__(self, person: _Person) -> None:
        self._person = person
        self._calls = person.calls
        self._counts: Counter[str] = Counter(outbox=0)

    def so_far(self) -> str:
        """What an interruption leaves."""
        erased = counted(self._counts.total(), "row") if self._counts.total() else "perhaps some rows"
        return f"{erased} erased; run the same command again for the rest"

    async def run(self, *, as_json: bool) -> int:
        """Erase, print the counts and return the exit code: 1 if a message is in a request by now, and stays."""
        person = self._person
        # First, so that no bulk action goes on with them.
        self._counts.update(await self._calls.erase_filters(person.numbers))
        await self._erase_part("imports")
        await self._erase_members()
        # Messages that campaigns and apps inserted meanwhile.
        await person.look_further()
        staying = await self._erase_messages()
        for part in PARTS:
            await self._erase_part(part)
        if as_json:
            say_json({"erased": dict(self._counts), "in_request": staying, "dry_run": False})
        else:
            console().print(person_view.counts(self._counts))
        if staying:
            raise Failed(f"{_listed(staying)} in a request since and not erased. Run the same command again later")
        return 0

    async def _erase_members(self) -> None:
        more = True
        while more:
            erased, more = await self._calls.erase_members(self._person.numbers, most=_AT_ONCE)
            self._counts.update(erased)

    async def _erase_messages(self) -> list[int]:
        ids, known = sorted(set(self._person.ids)), self._person.numbers
        chunks = [ids[first : first + _AT_ONCE] for first in range(0, len(ids), _AT_ONCE)]
        staying: list[int] = []
        with progress("erasing", 2 * len(ids)) as shown:
            # All of them first: an insert with the key of a message that is deleted in the same moment has to see it.
            for chunk in chunks:
                staying += await self._calls.prepare_erasure(chunk, known)
            for done, chunk in enumerate(chunks):
                erased, left = await self._calls.erase_messages(chunk, known)
                self._counts["outbox"] += erased
                staying += left
                shown(len(ids) + (done + 1) * _AT_ONCE)
        return sorted(set(staying))

    async def _erase_part(self, part: str) -> None:
        after: str | None = ""
        looked_at = 0
        with progress(f"erasing {part}", None) as shown:
            while after is not None:
                erased = await self._calls.erase_records(self._person.numbers, part, after=after, most=_most_of(part))
                self._counts.update(erased.counts)
                after = erased.after
                looked_at += _most_of(part)
                shown(looked_at)


def _most_of(part: str) -> int:
    """The rows that one call of a part looks at."""
    match part:
        case "callbacks":
            return _CALLBACKS
        case "reports" | "occurrences":
            return _STRETCH
        case _:
            return _AT_ONCE


def _listed(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:_SAID])) + (", …" if len(ids) > _SAID else "")
    return f"{counted(len(ids), 'message')} ({shown}) {'is' if len(ids) == 1 else 'are'}"
