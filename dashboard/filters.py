"""Filters of messages: from the address of a page to a filter, and from a filter to words and an address."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from dashboard.forms import read_json
from dashboard.numbers import read_numbers, regions
from dashboard.words import STATUSES
from jobs.gateway.browsing.messages import MessageFilter
from jobs.runtime.masking import scrub
from jobs.runtime.phone import has_trunk_zero
from jobs.runtime.times import utc

WINDOWS: Final = {
    "1h": ("the last hour", timedelta(hours=1)),
    "24h": ("the last 24 hours", timedelta(hours=24)),
    "7d": ("the last 7 days", timedelta(days=7)),
    "30d": ("the last 30 days", timedelta(days=30)),
}
DEFAULT_WINDOW: Final = "24h"
ANY_TIME: Final = "all"
ONLY_OPERATORS: Final = "Numbers are masked for viewers. Operators search by number."
_WAITING: Final = frozenset({"scheduled", "pending", "sending"})
_NAMES: Final = (
    "number", "region", "status", "code", "country", "campaign", "template", "plan", "priority", "within", "from", "to", "zone",
    "key", "batch", "dispatch", "meta", "id",
)  # fmt: skip
_MOST_ID: Final = 2**63 - 1
_MOST_CODE: Final = 2**31 - 1
_MOST_PRIORITY: Final = 2**15 - 1
Query = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Chip:
    """One condition in words, and the query of the same list without it. ``at`` is a time that belongs behind the words."""

    words: str
    at: datetime | None
    without: Query


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for. ``within`` is the window, ``all`` for none, None where times are given."""

    wanted: MessageFilter
    query: Query
    within: str | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def read_query(items: Iterable[tuple[str, str]], *, now: datetime, numbers: bool) -> Asked:
    """The filter in the fields of an address. ``numbers``: this person may search by number.

    What cannot be read is left out and named in ``problems``. An action must not go on with those.
    """
    query = _own_fields(items)
    reading = _Reading(query, numbers=numbers)
    wanted = reading.filter()
    within = _window(query, wanted, reading.problems)
    if within in WINDOWS:
        wanted = replace(wanted, since=now - WINDOWS[within][1])
    return Asked(wanted, query, within, tuple(reading.notes), tuple(reading.problems))


def query_of(wanted: MessageFilter) -> Query:
    """The address that reads as this filter."""
    given: dict[str, Iterable[object]] = {
        "number": [*wanted.recipients, *([wanted.last_digits] if wanted.last_digits else [])],
        "status": wanted.statuses,
        "code": wanted.codes,
        "country": wanted.countries,
        "campaign": _one(wanted.campaign),
        "template": _one(wanted.template),
        "plan": _one(wanted.plan),
        "priority": _one(wanted.priority),
        "from": _one(wanted.since and wanted.since.isoformat()),
        "to": _one(wanted.until and wanted.until.isoformat()),
        "key": _one(wanted.idempotency_key),
        "batch": _one(wanted.batch_id),
        "dispatch": _one(wanted.dispatch_id),
        "meta": [f"{name}={json.dumps(value)}" for name, value in wanted.metadata.items()],
        "id": _one(wanted.id),
    }
    found = {name: [str(value) for value in values] for name, values in given.items() if values}
    return found if {"from", "to"} & found.keys() else found | {"within": [ANY_TIME]}


def chips_of(asked: Asked, shown: Callable[[str], str]) -> list[Chip]:
    """The conditions of a list, each with the way to remove it. ``shown`` masks a number where that is due."""
    plain = asked.wanted if asked.within is None else replace(asked.wanted, since=None)
    chips = [
        Chip(words, at, _without(asked.query, name, value)) for name, value, words, at in conditions(plain, shown, masked=False)
    ]
    if asked.within in WINDOWS:
        chips.append(Chip(f"Inserted in {WINDOWS[asked.within][0]}", None, {**asked.query, "within": [ANY_TIME]}))
    return chips


def conditions(
    wanted: MessageFilter, shown: Callable[[str], str], *, masked: bool
) -> list[tuple[str, str | None, str, datetime | None]]:
    """Each condition: its field and value in an address, its words, and the time behind them. ``masked`` hides numbers."""
    hidden: Callable[[str], str] = scrub if masked else str
    found: list[tuple[str, str | None, str, datetime | None]] = [
        ("number", one, f"To {shown(one)}", None) for one in wanted.recipients if not has_trunk_zero(one)
    ]
    if wanted.last_digits:
        found.append(("number", None, f"Number ends in {wanted.last_digits if not masked else '•••'}", None))
    found += [("status", one, one.capitalize(), None) for one in wanted.statuses]
    found += [("code", str(one), f"Code {one}", None) for one in wanted.codes]
    found += [("country", one, f"Country {one}", None) for one in wanted.countries]
    singles = (
        ("campaign", "Campaign", wanted.campaign), ("template", "Template", wanted.template), ("plan", "Plan", wanted.plan),
        ("priority", "Priority", wanted.priority), ("key", "Key", wanted.idempotency_key), ("batch", "Batch", wanted.batch_id),
        ("dispatch", "Request", wanted.dispatch_id), ("id", "Id", wanted.id),
    )  # fmt: skip
    found += [(name, None, f"{words} {hidden(str(value))}", None) for name, words, value in singles if value is not None]
    for name, value in wanted.metadata.items():
        found.append(("meta", name, hidden(f"{name} = {json.dumps(value, ensure_ascii=False)}"), None))
    if wanted.since:
        found.append(("from", None, "Inserted from", wanted.since))
    if wanted.until:
        found.append(("to", None, "Inserted before", wanted.until))
    return found


class _Reading:
    """Reads the fields one by one, and keeps what it cannot read."""

    def __init__(self, query: Query, *, numbers: bool) -> None:
        self._query = query
        self._may_search_numbers = numbers
        self.notes: list[str] = []
        self.problems: list[str] = []

    def filter(self) -> MessageFilter:
        recipients, last_digits = self._numbers()
        return MessageFilter(
            recipients=recipients,
            last_digits=last_digits,
            statuses=tuple(one for one in self._listed("status") if self._known(one.lower() in STATUSES, one, "a status")),
            codes=tuple(code for one in self._listed("code") if (code := self._whole(one, "a code", _MOST_CODE)) is not None),
            countries=tuple(
                one.upper() for one in self._listed("country") if self._known(one.upper() in regions(), one, "a country")
            ),
            campaign=self._first("campaign"),
            template=self._first("template"),
            plan=self._plan(),
            priority=self._priority(),
            since=self._time("from"),
            until=self._time("to"),
            idempotency_key=key if (key := self._first("key")) is None or self._may_read(key) else None,
            batch_id=self._first("batch"),
            dispatch_id=self._dispatch(),
            metadata=self._metadata(),
            id=self._whole(self._first("id"), "an id", _MOST_ID),
        )

    def _numbers(self) -> tuple[tuple[str, ...], str | None]:
        text = "\n".join(self._query.get("number", []))
        if text and not self._may_search_numbers:
            self.problems.append(ONLY_OPERATORS)
            return (), None
        region = (self._first("region") or "").upper() or None
        typed = read_numbers(text, region if region in regions() else None)
        self.notes += typed.notes
        self.problems += typed.problems
        return typed.recipients, typed.last_digits

    def _may_read(self, *texts: str) -> bool:
        """Whether this person may find messages by these texts: a match would tell viewers a number that they see masked."""
        if self._may_search_numbers or all(scrub(text) == text for text in texts):
            return True
        self.problems.append(ONLY_OPERATORS)
        return False

    def _first(self, name: str) -> str | None:
        return next(iter(self._query.get(name, [])), None)

    def _listed(self, name: str) -> list[str]:
        return [part for value in self._query.get(name, []) for part in re.split(r"[,\s]+", value) if part]

    def _known(self, known: bool, value: str, what: str) -> bool:
        if not known:
            self.problems.append(f"{value} is not {what}.")
        return known

    def _whole(self, text: str | None, what: str, most: int) -> int | None:
        if text is None:
            return None
        is_one = text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most
        return int(text) if self._known(is_one, text, what) else None

    def _plan(self) -> str | None:
        plan = self._first("plan")
        is_one = plan is None or re.fullmatch(r"[^:]+:.+", plan) is not None
        return plan if plan is None or self._known(is_one, plan, "a plan. Write provider:plan") else None

    def _priority(self) -> str | int | None:
        text = (self._first("priority") or "").lower()
        if text in {"urgent", "normal"}:
            return text
        return self._whole(text, "a priority. Use a number, urgent or normal", _MOST_PRIORITY) if text else None

    def _dispatch(self) -> str | None:
        text = self._first("dispatch")
        try:
            return None if text is None else str(UUID(text))
        except ValueError:
            self.problems.append(f"{text} is not the id of a request.")
            return None

    def _time(self, name: str) -> datetime | None:
        text = self._first(name)
        try:
            at = None if text is None else read_time(text, self._first("zone"))
            # A day alone is meant as a whole.
            return at + timedelta(days=1) if at and text and name == "to" and len(text) == len("2026-12-01") else at
        except (ValueError, OverflowError):
            self.problems.append(f"{text} is not a time.")
            return None

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in self._query.get("meta", []):
            name, sign, text = (part.strip() for part in one.partition("="))
            if self._known(bool(name and sign), one, "metadata. Write key=value"):
                value = _value(text)
                # JSON has escapes, which may hide a number.
                if not self._may_read(one, f"{name}={value}"):
                    continue
                found[name] = value
                if not isinstance(found[name], str):
                    self.notes.append(f'{name} was read as the JSON value {text}. Write {name}="{text}" for a text.')
        return found


def read_time(text: str, zone: str | None) -> datetime:
    """A time of a form. One without an offset is of the time zone, or UTC. Raises ValueError."""
    at = datetime.fromisoformat(text.strip())
    try:
        place: ZoneInfo | Any = ZoneInfo(zone) if zone else UTC
    except (OSError, ValueError, KeyError):
        place = UTC
    try:
        return (at if at.tzinfo is not None else at.replace(tzinfo=place)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def field_time(text: str | None) -> str:
    """A time of the address as an input of a form takes it: UTC, to the minute. Empty for what is no time."""
    try:
        return "" if not text else utc(read_time(text, None)).removesuffix("Z").replace(" ", "T")[:16]
    except ValueError:
        return ""


def _own_fields(items: Iterable[tuple[str, str]]) -> Query:
    query: Query = {}
    for name, value in items:
        # A text with NUL cannot be stored, so nothing has it.
        if name in _NAMES and (text := value.replace("\0", "").strip()):
            query.setdefault(name, []).append(text)
    return query


def _window(query: Mapping[str, list[str]], wanted: MessageFilter, problems: list[str]) -> str | None:
    """The window of the address, or the default one, which is for lists that nothing else makes short."""
    if wanted.since or wanted.until:
        return None
    given = query.get("within", [""])[0]
    if given in WINDOWS or given == ANY_TIME:
        return given
    if given:
        problems.append(f"{given} is not a window. Use {', '.join(WINDOWS)} or {ANY_TIME}.")
    finds_few = (
        wanted.recipients, wanted.last_digits, wanted.id, wanted.idempotency_key, wanted.batch_id, wanted.dispatch_id,
        wanted.metadata, wanted.campaign,
    )  # fmt: skip
    waits = wanted.statuses and set(wanted.statuses) <= _WAITING
    return ANY_TIME if any(finds_few) or waits else DEFAULT_WINDOW


def _without(query: Query, name: str, value: str | None) -> Query:
    """The query without a condition. Of several values of a field only this one goes."""
    rest = {key: values for key, values in query.items() if key != name}
    if value is None:
        return {key: values for key, values in rest.items() if key != "zone" or {"from", "to"} & rest.keys()}
    if name == "meta":
        kept = [one for one in query.get(name, []) if one.partition("=")[0].strip() != value]
    elif name == "number":
        typed = read_numbers("\n".join(query.get(name, [])), next(iter(query.get("region", [])), None))
        kept = [one for one in typed.recipients if one != value and not has_trunk_zero(one)]
    else:
        kept = [part for one in query.get(name, []) for part in re.split(r"[,\s]+", one) if part.lower() != value.lower()]
    return rest | ({name: kept} if kept else {})


def _value(text: str) -> Any:
    """A number, true, false or a quoted text as JSON has them, everything else as a text."""
    try:
        value = read_json(text)
    except ValueError:
        return text
    return value if isinstance(value, (str, int, float, bool)) else text


def _one(value: object) -> list[object]:
    return [] if value is None else [value]
