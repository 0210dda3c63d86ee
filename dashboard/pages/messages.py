"""Messages: the list, its filters, and one box that finds what was typed."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from dashboard.filters import ANY_TIME, WINDOWS, Asked, Query, chips_of, field_time, read_query
from dashboard.numbers import looks_like_number, regions
from dashboard.visit import Visit
from dashboard.words import ANY_FAILURE, STATUSES, status
from jobs.gateway.browsing.messages import Count, ListedMessage, MessageFilter, MessagePage
from jobs.runtime.masking import scrub

PAGE: Final = 50
_COUNTED_TO: Final = 10_000
_COUNT_SECONDS: Final = 2.0
_MOST_BACK: Final = 40
_LONGEST_SEARCH: Final = 2000
_ENDINGS: Final = (6, 4)
_MOST_DIGITS: Final = 18
"""Those of one number, with zeros before it."""
_TIMES: Final = ("within", "from", "to", "zone")
_MOST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A message as the list shows it."""

    message: ListedMessage
    tone: str
    meaning: str
    error: str


async def show(visit: Visit) -> Response:
    if text := visit.query.get("q", "").strip()[:_LONGEST_SEARCH]:
        return await _search(visit, text)
    asked = read_query(visit.request.query_params.multi_items(), now=datetime.now(UTC), numbers=visit.is_operator)
    return await _list(visit, asked)


async def _list(visit: Visit, asked: Asked, *, searched: str = "", problem: str = "") -> Response:
    before = _number(visit.query.get("before"))
    back = [one for one in visit.query.get("back", "").split(",") if _number(one) is not None or one == "0"][-_MOST_BACK:]
    page, count = MessagePage((), None, None), None
    if not problem and not asked.problems:
        page, count = await asyncio.gather(
            visit.operating.browsing.list_messages(asked.wanted, before, PAGE), _count(visit, asked.wanted)
        )
    older: Query = asked.query | {"before": [str(page.before)], "back": [",".join([*back, str(before or 0)][-_MOST_BACK:])]}
    return visit.render(
        "messages.html",
        title="Messages",
        asked=asked,
        query=asked.query,
        searched=searched,
        problems=[*([problem] if problem else []), *asked.problems],
        chips=chips_of(asked, visit.number),
        found=[_row(visit, one) for one in page.messages],
        count=count,
        read_to=page.read_to,
        older=visit.url("/messages", **older) if page.before is not None else None,
        newer=visit.url("/messages", **_newer(asked.query, back)) if back else None,
        bulk=dict(asked.query) | {"within": [asked.within]} if asked.within else asked.query,
        is_first=before is None,
        endings=[] if page.messages or before or not visit.is_operator else endings_of(asked),
        times_of_query={name: asked.query[name] for name in _TIMES if name in asked.query},
        words=STATUSES,
        any_failure=ANY_FAILURE,
        windows={name: words.removeprefix("the ") for name, (words, _) in WINDOWS.items()} | {ANY_TIME: "any time"},
        regions=regions(),
        times={name: field_time(_local(asked, name)) for name in ("from", "to")},
    )


def _local(asked: Asked, name: str) -> str | None:
    at = asked.wanted.since if name == "from" else asked.wanted.until
    return None if at is None or asked.within is not None else at.isoformat()


def endings_of(asked: Asked) -> list[str]:
    """Ends of the one number that was searched, for when it has a wrong digit, or one too few."""
    written = asked.query.get("number", [])
    digits = "".join(sign for sign in written[0] if sign.isascii() and sign.isdecimal()) if len(written) == 1 else ""
    searched = len(asked.wanted.last_digits or digits)
    return [digits[-length:] for length in _ENDINGS if length < searched <= _MOST_DIGITS]


async def _search(visit: Visit, text: str) -> Response:
    """Go to what was typed: a number, metadata, or whatever an id, a batch, a request or a key finds."""
    parts = [part for part in text.replace("\n", ",").replace(";", ",").split(",") if part.strip()]
    if parts and all(looks_like_number(part) for part in parts):
        return visit.redirect("/messages", number=text)
    name, sign, value = text.partition("=")
    if name.strip().replace("_", "").isalnum() and sign and value.strip():
        return visit.redirect("/messages", meta=text)
    if not visit.is_operator and not text.isdecimal() and scrub(text) != text:
        return visit.redirect("/messages", key=text)
    # A key may be a number, which viewers see masked.
    matches = await visit.operating.find(text, read_as=None if visit.is_operator or not text.isdecimal() else "id")
    if len(matches.messages) == 1:
        return visit.redirect(f"/messages/{matches.messages[0].id}")
    if matches.messages:
        field = {"idempotency_key": "key"}.get(matches.read_as, matches.read_as)
        return visit.redirect("/messages", **{field: text})
    if sum(sign.isdecimal() for sign in text) >= 4 and not any(sign.isalpha() for sign in text):
        return visit.redirect("/messages", number=text)
    asked = read_query([], now=datetime.now(UTC), numbers=visit.is_operator)
    shown = text if visit.is_operator else scrub(text)
    problem = f"Nothing is named {shown[:80]}: no message, number, batch, request or key. Retention may have removed it."
    return await _list(visit, asked, searched=text, problem=problem)


async def _count(visit: Visit, wanted: MessageFilter) -> Count | None:
    """How many there are, None if that takes too long: the list does not wait for it."""
    try:
        async with asyncio.timeout(_COUNT_SECONDS):
            return await visit.operating.browsing.count_messages(wanted, _COUNTED_TO)
    except TimeoutError:
        return None


def _newer(query: Query, back: list[str]) -> Query:
    *rest, last = back
    return query | ({} if last == "0" else {"before": [last]}) | ({"back": [",".join(rest)]} if rest else {})


def _row(visit: Visit, message: ListedMessage) -> Row:
    words = status(message.status)
    return Row(message, words.tone, words.meaning, visit.words(scrub(message.error or "")))


def _number(text: str | None) -> int | None:
    is_one = bool(text) and text is not None and text.isascii() and text.isdecimal() and len(text) <= len(str(_MOST_ID))
    return int(text) if is_one and text and 0 < int(text) <= _MOST_ID else None
