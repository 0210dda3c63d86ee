"""The claims under way. A claim whose answer was lost is repeated under its id: its dispatches are leased to this process."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

from jobs.dispatching.leases import clock
from jobs.gateway.values import Claim


@dataclass(slots=True, eq=False)
class Asked:
    """One claim, of at most ``slots`` dispatches; ``urgent_only``: of rows with a priority < 100.

    The leases of its dispatches count from ``since``, when it was first made, in seconds of the event loop's clock.
    """

    claim_id: str
    slots: int
    urgent_only: bool
    since: float
    answer: asyncio.Task[Claim]


class Claims:
    """Makes claims by calling ``claim`` with a claim id, a number of slots, and whether only urgent rows are wanted."""

    def __init__(self, claim: Callable[[str, int, bool], Awaitable[Claim]]) -> None:
        self._claim = claim
        self._asked: list[Asked] = []

    def ask(self, slots: int, *, urgent_only: bool = False) -> None:
        """Make one more claim. Repeat lost ones first: see :meth:`ask_again`."""
        claim_id = str(uuid4())
        answer = self._call(claim_id, slots, urgent_only)
        self._asked.append(Asked(claim_id, slots, urgent_only, clock(), answer))

    def ask_again(self) -> None:
        """Repeat every claim whose answer was lost."""
        for asked in self._asked:
            if asked.answer.done():
                asked.answer = self._call(asked.claim_id, asked.slots, asked.urgent_only)

    @property
    def under_way(self) -> set[asyncio.Task[Claim]]:
        """The claims that are not answered yet."""
        return {asked.answer for asked in self._asked if not asked.answer.done()}

    @property
    def failed(self) -> bool:
        """Whether the answer to a claim was lost."""
        return any(_is_lost(asked) for asked in self._asked)

    def answered(self) -> list[tuple[Asked, Claim]]:
        """The claims that were answered since the last call, each with its answer."""
        done = [asked for asked in self._asked if asked.answer.done() and not _is_lost(asked)]
        self._asked = [asked for asked in self._asked if asked not in done]
        return [(asked, asked.answer.result()) for asked in done]

    def check(self) -> None:
        """Raise the error of the first claim that failed, if one did."""
        for asked in self._asked:
            if asked.answer.done():
                asked.answer.result()

    async def stop(self) -> None:
        """Cancel the claims under way. Recovery finds their dispatches."""
        for asked in self._asked:
            asked.answer.cancel()
        await asyncio.gather(*(asked.answer for asked in self._asked), return_exceptions=True)

    def _call(self, claim_id: str, slots: int, urgent_only: bool) -> asyncio.Task[Claim]:
        return asyncio.ensure_future(self._claim(claim_id, slots, urgent_only))


def _is_lost(asked: Asked) -> bool:
    return asked.answer.done() and (asked.answer.cancelled() or asked.answer.exception() is not None)
