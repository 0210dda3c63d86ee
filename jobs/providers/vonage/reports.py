"""Questions to Vonage's Reports API, which costs money for each record that it returns.

It has no filter for our reference, and shows a message minutes after it was sent. So a record that is there is a fact, and one
that is not proves nothing.
"""

import asyncio
import re
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from jobs.providers.base import Batch, BatchReports, Inbound, Page, ProviderError, Refusal, SentBatch
from jobs.providers.http import HttpClient, NeverSent, describe
from jobs.providers.vonage import records
from jobs.providers.vonage.records import Cursor, Records
from jobs.runtime.clocks import Clocks, monotonic

MOST_IDS: Final = 20
"""The most ids that one question takes."""

_PATH: Final = "/v2/reports/records"
_LONGEST_WINDOW: Final = timedelta(hours=24)
_REGIONAL: Final = re.compile(r"https://api-[a-z]+\.(?:nexmo|vonage)\.com")
_GLOBAL: Final = "https://api.nexmo.com"
"""The only host that Vonage names for reports."""
_MOST_PLACES: Final = 256
_APART_SECONDS: Final = 0.125
"""Between two questions. Vonage answers ten a second, and a refused one would be a lookup that failed."""
_Window = tuple[datetime, datetime]
_Listing = tuple[str, datetime, datetime | None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: in the first of ``windows``, at ``cursor``."""

    windows: tuple[_Window, ...]
    cursor: Cursor | None


class Reports:
    """The reports of one account, at the host of an application. Close it with :meth:`aclose`."""

    def __init__(self, host: str, *, key: str, secret: str, clocks: Clocks) -> None:
        self._account = key
        self._clocks = clocks
        self._http = HttpClient(global_host(host), headers={"Authorization": basic_credentials(key, secret)}, clocks=clocks)
        self._turn_at = 0.0
        self._places: OrderedDict[tuple[_Listing, int], _Place] = OrderedDict()

    async def find(
        self, reference: str, recipient: str, *, since: datetime, until: datetime | None, page: int, deadline: float
    ) -> Page[Batch]:
        """One page of the records of messages to ``recipient``; of these, the request ``reference``.

        The window is taken both ways where the provider's clock differs from the database's.
        """
        end = self._clocks.reached_by_provider(monotonic()) if until is None else until
        window = min(since, self._clocks.to_provider(since)), max(end, self._clocks.to_provider(end))
        question = {"direction": "outbound", "to": recipient.removeprefix("+")}
        found, last = await self._page((reference, since, until), question, window, page, deadline)
        read = partial(records.batch_of, dispatch=reference, recipient=recipient)
        items, unusable = records.read_each(found.raws, read)
        return Page(tuple(items), last, tuple(unusable))

    async def of_messages(self, ids: Sequence[str], *, deadline: float) -> BatchReports:
        """The reports of these messages, at most :data:`MOST_IDS`, in one request."""
        found = await self._ask({"direction": "outbound", "id": ",".join(ids)}, deadline)
        return records.reports(found, tuple(ids))

    async def sent(self, message_id: str, *, deadline: float) -> SentBatch | None:
        """The request that was answered with this id. None if Reports does not show it."""
        found = await self._ask({"direction": "outbound", "id": message_id}, deadline)
        items, _ = records.read_each(found.raws, records.sent_batch)
        return next((item for item in items if item.batch_id == message_id), None)

    async def inbounds(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Inbound]:
        """One page of the messages from phones in ``[start, end)``, with their texts."""
        question = {"direction": "inbound", "include_message": "true"}
        found, last = await self._page(("inbound", start, end), question, (start, end), page, deadline)
        items, unusable = records.read_each(found.raws, records.inbound)
        return Page(tuple(items), last, tuple(unusable))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _page(
        self, listing: _Listing, question: Mapping[str, str], window: _Window, number: int, deadline: float
    ) -> tuple[Records, bool]:
        """One page of a listing, and whether it is the last. Its pages are asked for in order: each says where the next begins.

        Raises ProviderError for a page whose beginning is unknown, because the page before could not be read.
        """
        place = _Place(tuple(_days(window)), None) if number == 0 else self._places.pop((listing, number), None)
        if place is None:
            raise ProviderError(f"records: the beginning of page {number} is unknown")
        start, end = place.windows[0]
        asked = {**question, "date_start": _timestamp(start), "date_end": _timestamp(end)}
        if place.cursor is not None:
            asked |= {"cursor": place.cursor.cursor} | ({} if place.cursor.iv is None else {"iv": place.cursor.iv})
        found = await self._ask(asked, deadline)
        if found.next is not None:
            self._note((listing, number + 1), _Place(place.windows, found.next))
        elif not found.has_more and place.windows[1:]:
            self._note((listing, number + 1), _Place(place.windows[1:], None))
        return found, not found.has_more and not place.windows[1:]

    def _note(self, key: tuple[_Listing, int], place: _Place) -> None:
        self._places[key] = place
        if len(self._places) > _MOST_PLACES:
            # Of a listing that was not read to its end.
            self._places.popitem(last=False)

    async def _ask(self, question: Mapping[str, str], deadline: float) -> Records:
        what = f"{question['direction']} records"
        params = {"account_id": self._account, "product": "MESSAGES", **question}
        waited = await self._wait_for_turn()
        try:
            answer = await self._http.get(_PATH, params, deadline=deadline - waited)
        except NeverSent as error:
            raise ProviderError(f"{what}: no connection: {error}", why=Refusal.UNREACHABLE) from error
        except Exception as error:
            raise ProviderError(f"{what}: no answer: {describe(error)}") from error
        return records.records(answer, what)

    async def _wait_for_turn(self) -> float:
        """Let the questions of this process follow each other. Returns the seconds that this took."""
        now = monotonic()
        self._turn_at = max(now, self._turn_at + _APART_SECONDS)
        if self._turn_at > now:
            await asyncio.sleep(self._turn_at - now)
        return self._turn_at - now


def basic_credentials(key: str, secret: str) -> str:
    """The header ``Authorization`` of an account."""
    return f"Basic {b64encode(f'{key}:{secret}'.encode()).decode()}"


def global_host(host: str) -> str:
    """The origin for questions about an account whose messages go to ``host``."""
    return _GLOBAL if _REGIONAL.fullmatch(host) else host


def _days(window: _Window) -> Iterator[_Window]:
    """The window in pieces that Vonage takes, the oldest first. At least one."""
    start, end = window
    while end - start > _LONGEST_WINDOW:
        yield start, start + _LONGEST_WINDOW
        start += _LONGEST_WINDOW
    yield start, end


def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
