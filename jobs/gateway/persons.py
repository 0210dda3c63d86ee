"""The calls of `outbox person`: what is kept of one person, who may have several numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobs.gateway.errors import FunctionMissing
from jobs.gateway.rpc import Calls

PARTS: Final = ("records", "members", "occurrences", "replies", "reports", "callbacks")
"""What is kept of a number besides messages, in the order in which it is read."""


@dataclass(frozen=True, slots=True)
class Found:
    """One stretch of the outbox: the person's messages in it, those in a request, and where the next stretch begins.

    ``after`` is None at the end. ``last`` is the last id of the outbox, None where it is empty. ``is_restored``: a restored
    database still has to adopt what was sent since its backup.
    """

    ids: tuple[int, ...]
    in_request: tuple[int, ...]
    after: int | None
    last: int | None
    is_restored: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of one table, as the database has it."""

    table: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one part, and where the next page begins, None at the end."""

    rows: tuple[Kept, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows of each table one call deleted, and where the next call goes on, None at the end."""

    counts: Mapping[str, int]
    after: str | None


class Persons(Calls):
    """Reads and erases. Each method is one call, of at most some thousands of rows, and safe to repeat.

    ``numbers`` are all spellings of all numbers of the person. ``texts``: with texts and other free columns; those of secret
    messages are never read.
    """

    async def numbers(self, given: Sequence[str]) -> tuple[str, ...]:
        """These numbers and their other forms, such as ``+52…`` and ``+521…``, which ring the same phones."""
        return tuple(await self._rpc.call("outbox_person_numbers", {"p_recipients": list(given)}))

    async def find(self, numbers: Sequence[str], *, after: int, stretch: int) -> Found:
        """The person's messages among the next ``stretch`` ids after the id ``after``."""
        answer = await self._rpc.call(
            "outbox_find_person", {"p_recipients": list(numbers), "p_after": after, "p_stretch": stretch}
        )
        return Found(
            ids=tuple(answer["ids"]),
            in_request=tuple(answer["in_request"]),
            after=answer["after"],
            last=answer["last"],
            is_restored=answer["is_restored"],
        )

    async def messages(self, ids: Sequence[int], numbers: Sequence[str], *, texts: bool) -> tuple[Kept, ...]:
        """These messages and what hangs on them."""
        answer = await self._rpc.call(
            "outbox_person_messages", {"p_ids": list(ids), "p_recipients": list(numbers), "p_texts": texts}
        )
        return tuple(Kept(**one) for one in answer)

    async def records(self, numbers: Sequence[str], part: str, *, after: str, most: int, texts: bool) -> Page:
        """A page of one of :data:`PARTS`, after ``after`` ('' for the first page)."""
        answer = await self._rpc.call(
            "outbox_person_records",
            {"p_recipients": list(numbers), "p_part": part, "p_after": after, "p_most": most, "p_texts": texts},
        )
        return Page(tuple(Kept(**one) for one in answer["rows"]), answer["after"])

    async def erase_filters(self, numbers: Sequence[str]) -> Mapping[str, int]:
        """Take the numbers out of the filters of running bulk actions. Returns how many were changed."""
        try:
            return dict(await self._rpc.call("outbox_erase_bulk_filters", {"p_recipients": list(numbers)}))
        except FunctionMissing:
            # Schema version 1 has no bulk actions.
            return {}

    async def erase_members(self, numbers: Sequence[str], *, most: int) -> tuple[Mapping[str, int], bool]:
        """Delete members of campaigns and staged lines. Returns the counts, and whether another call has work to do."""
        answer = await self._rpc.call("outbox_erase_members", {"p_recipients": list(numbers), "p_most": most})
        return answer["erased"], answer["more"]

    async def prepare_erasure(self, ids: Sequence[int], numbers: Sequence[str]) -> tuple[int, ...]:
        """Cancel what waits, and remember idempotency keys. Returns messages in a request, of which nothing is changed."""
        answer = await self._rpc.call("outbox_prepare_erasure", {"p_ids": list(ids), "p_recipients": list(numbers)})
        return tuple(answer["in_request"])

    async def erase_messages(self, ids: Sequence[int], numbers: Sequence[str]) -> tuple[int, tuple[int, ...]]:
        """Delete prepared messages. Returns how many, and those that stay because they are in a request by now."""
        answer = await self._rpc.call("outbox_erase_messages", {"p_ids": list(ids), "p_recipients": list(numbers)})
        return answer["erased"], tuple(answer["stay"])

    async def erase_records(self, numbers: Sequence[str], part: str, *, after: str, most: int) -> Erased:
        """Delete a page of one of :data:`PARTS`, or the staged ``imports``. Opt-outs stay."""
        answer = await self._rpc.call(
            "outbox_erase_records", {"p_recipients": list(numbers), "p_part": part, "p_after": after, "p_most": most}
        )
        return Erased(answer["erased"], answer["after"])
