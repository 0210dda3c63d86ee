"""The claims under way. One whose answer was lost is asked for again under its own id: what it took is leased to us."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

from jobs.dispatching.leases import clock
from jobs.gateway.values import Claim


@dataclass(slots=True, eq=False)
class Asked:
    """One claim, of at most ``places`` dispatches, of urgent rows alone or of any.

    Their leases count from ``since``, when it was first asked for.
    """

    claim_id: str
    places: int
    urgent_only: bool
    since: float
    answer: asyncio.Task[Claim]


class Claims:
    """Asks by ``claim``, which gets an id, a number of places, and whether it is of urgent rows alone."""

    def __init__(self, claim: Callable[[str, int, bool], Awaitable[Claim]]) -> None:
        self._claim = claim
        self._asked: list[Asked] = []

    def ask(self, places: int, *, urgent_only: bool = False) -> None:
        """Ask for one more. Those whose answer was lost come first: see :meth:`ask_again`."""
        claim_id = str(uuid4())
        answer = self._call(claim_id, places, urgent_only)
        self._asked.append(Asked(claim_id, places, urgent_only, clock(), answer))

    def ask_again(self) -> None:
        """Ask for all that were asked for and never answered."""
        for asked in self._asked:
            if asked.answer.done():
                asked.answer = self._call(asked.claim_id, asked.places, asked.urgent_only)

    @property
    def under_way(self) -> set[asyncio.Task[Claim]]:
        """Those whose answer is still to come."""
        return {asked.answer for asked in self._asked if not asked.answer.done()}

    @property
    def failed(self) -> bool:
        """Whether one has to be asked for again."""
        return any(_is_lost(asked) for asked in self._asked)

    def answered(self) -> list[tuple[Asked, Claim]]:
        """What was answered since this was last called."""
        done = [asked for asked in self._asked if asked.answer.done() and not _is_lost(asked)]
        self._asked = [asked for asked in self._asked if asked not in done]
        return [(asked, asked.answer.result()) for asked in done]

    def check(self) -> None:
        """Raise what the first of those that failed has raised."""
        for asked in self._asked:
            if asked.answer.done():
                asked.answer.result()

    async def stop(self) -> None:
        """Wait for no answer any more; whatever was claimed is found by recovery."""
        for asked in self._asked:
            asked.answer.cancel()
        await asyncio.gather(*(asked.answer for asked in self._asked), return_exceptions=True)

    def _call(self, claim_id: str, places: int, urgent_only: bool) -> asyncio.Task[Claim]:
        return asyncio.ensure_future(self._claim(claim_id, places, urgent_only))


def _is_lost(asked: Asked) -> bool:
    return asked.answer.done() and (asked.answer.cancelled() or asked.answer.exception() is not None)
