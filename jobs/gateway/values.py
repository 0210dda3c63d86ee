"""The values that the processes exchange with the database. Answers are parsed here, once."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobs.schema.installed import AppliedVersion


@dataclass(frozen=True, slots=True)
class Plan:
    """A service plan as a process knows it: its identity, and the limits that all processes share. None is no limit.

    ``messages_per_day`` (UTC) bounds all plans of the database together. ``position`` is the account's place in the order of
    ``OUTBOX_PROVIDERS``, 0 first, also in a process that serves some of the accounts only; None where there is one account.
    """

    provider: str
    plan: str
    host: str
    credential: str
    messages_per_second: float | None
    requests_per_minute: int
    messages_per_day: int | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """How long ``messages`` of one urgency waited from their due time to their claim."""

    is_urgent: bool
    seconds: float
    messages: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One request that the caller may make, at most once, ``wait_seconds`` from now.

    ``lease_token`` proves the claim to the database. ``recipients`` are E.164. If texts differ, ``texts`` holds one for each
    recipient and ``body`` is None. With ``media_url`` it is an MMS. ``options`` are what the provider asks for beside the
    sender's alias. ``waits`` says how long its messages waited before the claim. ``traces`` are
    contexts that created them, and there are ``more_traces``.
    """

    dispatch_id: str
    lease_token: str
    sender: str | None
    body: str | None
    expire_at: datetime | None
    wait_seconds: float
    recipients: tuple[str, ...]
    texts: tuple[str, ...] | None = None
    media_url: str | None = None
    options: Mapping[str, str] | None = None
    waits: tuple["Wait", ...] = ()
    traces: tuple[str, ...] = ()
    more_traces: int = 0

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Dispatch":
        return cls(
            dispatch_id=row["dispatch_id"],
            lease_token=row["lease_token"],
            sender=row["sender"],
            body=row["body"],
            expire_at=moment(row["expire_at"]),
            wait_seconds=float(row["wait_seconds"]),
            recipients=tuple(row["recipients"]),
            texts=None if row["texts"] is None else tuple(row["texts"]),
            media_url=row.get("media_url"),
            options=row.get("options"),
            waits=tuple(Wait(*one) for one in row.get("waits") or ()),
            traces=tuple(row.get("traces") or ()),
            more_traces=row.get("more_traces", 0),
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim.

    ``more``: rows are due that the claim did not take. If ``paused`` or ``limited`` gives a reason, it lasts ``wait_seconds``.
    ``passed``: the claim closed or postponed rows, so another claim may bring dispatches although this one brought none.
    ``due`` names the other jobs that have work. ``schema_version`` is the newest version of the database. If ``breaking`` names
    a version that the process does not know, the database claims nothing for it. Nor does it if ``unbound`` lists the projects
    that it sends from: the process's project is not among them. ``heartbeat_at`` is the process's own last heartbeat,
    ``timeline`` the plan's present one, ``now`` the database's clock.
    """

    dispatches: tuple[Dispatch, ...]
    more: bool
    passed: bool
    due: tuple[str, ...]
    paused: str | None
    limited: str | None
    reason: str | None
    wait_seconds: float
    schema_version: int | None = None
    breaking: AppliedVersion | None = None
    unbound: tuple[str, ...] | None = None
    heartbeat_at: str | None = None
    timeline: str | None = None
    now: datetime | None = None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Claim":
        schema, unbound = answer.get("schema"), answer.get("unbound")
        return cls(
            dispatches=dispatches(answer),
            more=answer["more"],
            passed=answer.get("passed", False),
            due=tuple(answer.get("due") or ()),
            paused=answer.get("paused"),
            limited=answer.get("limited"),
            reason=answer.get("reason"),
            wait_seconds=float(answer.get("wait_seconds", 0.0)),
            schema_version=answer.get("schema_version"),
            breaking=None if schema is None else AppliedVersion.parse(schema),
            unbound=None if unbound is None else tuple(unbound),
            heartbeat_at=answer.get("heartbeat_at"),
            timeline=answer.get("timeline"),
            now=moment(answer.get("now")),
        )


@dataclass(frozen=True, slots=True)
class Reported:
    """A batch that may be a dispatch's request: a report on it names a number of the dispatch, and shows no reference.

    ``letters`` is :func:`letters_digest` of the text that the dispatch sent to ``recipient``, None if that is not known.
    """

    batch_id: str
    recipient: str
    letters: str | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A dispatch to look up at the provider, among the batches created in ``[since, until)``. No ``until`` is now.

    ``now`` is the database's clock when it gave the lookup to the caller. ``reported`` batches may be the dispatch's request.
    ``recipients`` is empty where the dispatch has more than one.
    """

    dispatch_id: str
    lease_token: str
    since: datetime
    now: datetime | None = None
    reported: tuple[Reported, ...] = ()
    until: datetime | None = None
    recipients: tuple[str, ...] = ()

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Lookup":
        return cls(
            dispatch_id=row["dispatch_id"],
            lease_token=row["lease_token"],
            since=instant(row["since"]),
            now=moment(row.get("now")),
            reported=tuple(Reported(**one) for one in row.get("reported", ())),
            until=moment(row.get("until")),
            recipients=tuple(row.get("recipients") or ()),
        )


def letters_digest(text: str) -> str:
    """The MD5 of the ASCII letters and digits of a text, as ``outbox_engine.letters_digest`` computes it.

    Texts whose digests differ are different, whatever a provider does to characters that it cannot send.
    """
    letters = _NO_LETTERS.sub("", text).lower()
    return str(UUID(hashlib.md5(letters.encode(), usedforsecurity=False).hexdigest()))


_NO_LETTERS: Final = re.compile("[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a provider's listing: ``[start, end)``."""

    start: datetime
    end: datetime

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Window":
        return cls(start=instant(answer["start"]), end=instant(answer["end"]))


@dataclass(frozen=True, slots=True)
class MissingReports:
    """Batches whose reports are missing: ``batches`` to ask for one by one, ``by_feed`` within the window ``feed``.

    ``more``: other batches are due too.
    """

    batches: tuple[str, ...]
    feed: Window | None
    by_feed: tuple[str, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Expansion:
    """One chunk of a campaign: how many members it handled, and whether more are due now."""

    campaign: str | None
    members: int
    more: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm for an operator."""

    id: int
    at: datetime
    kind: str
    detail: Mapping[str, Any]


def alarm_detail(detail: Mapping[str, Any]) -> dict[str, Any]:
    """What an alarm says, without values that are not known. A sender that no row names is the default one."""
    named = {**detail, "sender": detail["sender"] or "default"} if "sender" in detail else detail
    return {key: value for key, value in named.items() if value is not None}


def dispatches(answer: Mapping[str, Any]) -> tuple[Dispatch, ...]:
    rows: Sequence[Mapping[str, Any]] = answer["dispatches"]
    return tuple(Dispatch.parse(row) for row in rows)


def instant(text: str) -> datetime:
    """Parse a timestamp of PostgreSQL's JSON. Python 3.11 reads every form of it."""
    return datetime.fromisoformat(text)


def moment(text: str | None) -> datetime | None:
    return None if text is None else instant(text)
