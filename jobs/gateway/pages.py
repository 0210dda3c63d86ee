"""Reads a listing of the provider page by page, whatever single pages and items are like."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from jobs.gateway.halves import record_page
from jobs.gateway.recorder import Recorder
from jobs.providers.base import Inbound, Page, ProviderError, Report, Unusable

Item = TypeVar("Item", Report, Inbound)

_MOST_UNREADABLE: Final = 3
"""Unreadable pages in a row that end a reading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a reading came. ``whole``: every page was read and recorded. ``error`` is of the last page that could not be."""

    whole: bool
    error: ProviderError | None = None


class Pages:
    """Reads listings. A page that cannot be read hides neither the pages after it nor, at the next reading, the newer ones.

    Its bytes are kept, with an alarm, once until a listing is whole again. A job has one of these.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._has_kept = False

    async def read(
        self,
        ask: Callable[[int], Awaitable[Page[Item]]],
        *,
        record: Callable[[Sequence[Item]], Awaitable[None]],
        may_go_on: Callable[[], Awaitable[int]],
    ) -> Reading:
        """Record every page that ``ask`` returns, as far as ``may_go_on`` allows requests after the first.

        Raises the ProviderError of a page without an answer, and of the third unreadable page in a row.
        """
        page = in_a_row = 0
        error: ProviderError | None = None
        while True:
            try:
                listing = await ask(page)
            except ProviderError as failed:
                in_a_row += 1
                await self._keep(failed)
                if failed.unreadable is None or in_a_row == _MOST_UNREADABLE:
                    raise
                error = failed
            else:
                in_a_row = 0
                await record_page(listing.items, record=record, recorder=self._recorder)
                if listing.unusable:
                    await self._recorder.keep_callbacks(listing.unusable)
                if listing.last:
                    break
            if not await may_go_on():
                return Reading(whole=False, error=error)
            page += 1
        if error is None:
            self._has_kept = False
        return Reading(whole=error is None, error=error)

    async def _keep(self, failed: ProviderError) -> None:
        if failed.unreadable is not None and not self._has_kept:
            await self._recorder.keep_callbacks([Unusable(failed.error, failed.unreadable)])
            self._has_kept = True
