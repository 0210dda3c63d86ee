"""The verdict: compares the provider's records of messages with our own tables of rows and callbacks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from sandbox.demo import verdict
from sandbox.demo.work import Message
from sandbox.simulator.behaviour import ProviderName
from sandbox.simulator.books import Accepted, Tally
from sandbox.simulator.callbacks import Tried
from sandbox.simulator.control import Control
from tests.chaos import fates
from tests.chaos.database import Database, Row
from tests.chaos.events import EventsVerdict
from tests.chaos.fates import Fates
from tests.chaos.outages import Failover, Outage, after, summarized
from tests.chaos.providers import Accounts

_HISTORIES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a run. Durations are in seconds.

    By the simulator's records, ``lost`` messages were never accepted, ``sent_twice`` ones more than once, and ``sent_wrongly``
    ones must not have been. ``open_rows`` have no final status. ``callbacks_missing`` were acknowledged and are in no table.
    ``recovery`` counts from the end of the last disturbance until every row was accepted or ended, ``recovery_limit`` is
    two leases and two settling times. ``found`` and ``resent`` are requests whose outcome had to be looked up; ``found_by``
    says what found them. At a provider without a list ``lost`` messages have no row that gives a reason; ``unsaid`` ones were
    accepted, and their row says otherwise; ``unknown_accepted`` and ``unknown_lost`` ended as unknown with a reason, and the
    provider accepted the former. ``unreported`` were sent, as the row says, and ended as unknown without a report.

    With several accounts, ``carried`` counts the messages that each accepted, ``routed`` those that went to another one because
    of what kept theirs from sending, and ``moved`` those that went on after a proof that the first one's request came to
    nothing. ``failovers`` says of each outage how soon that was, and ``failover`` sums it up.
    """

    seed: int
    messages: int
    lost: int
    sent_twice: int
    sent_wrongly: int
    open_rows: int
    callbacks: int
    callbacks_missing: int
    recovery: float
    recovery_limit: float
    statuses: dict[str, int]
    disturbances: dict[str, int]
    requests: dict[str, int]
    batches: int
    found: int
    resent: int
    seconds: float
    provider: str = "sinch"
    unsaid: int = 0
    unknown_accepted: int = 0
    unknown_lost: int = 0
    unreported: int = 0
    found_by: dict[str, int] = field(default_factory=dict)
    carried: dict[str, int] = field(default_factory=dict)
    routed: int = 0
    moved: int = 0
    failovers: list[Failover] = field(default_factory=list)
    failover: dict[str, float | None] = field(default_factory=dict)
    events: EventsVerdict | None = None

    @property
    def broken(self) -> list[str]:
        """Each broken promise, as a sentence for people."""
        counts = {
            "lost": self.lost,
            "sent twice": self.sent_twice,
            "sent though they must not be": self.sent_wrongly,
            "accepted, and the row says otherwise": self.unsaid,
            "without a final status": self.open_rows,
            "callbacks acknowledged and not kept": self.callbacks_missing,
            **({} if self.events is None else self.events.broken),
        }
        late = [f"recovered after {self.recovery} s, later than {self.recovery_limit} s"]
        return [f"{count} {what}" for what, count in counts.items() if count] + late * (self.recovery > self.recovery_limit)

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "broken": self.broken}


class Reported(msgspec.Struct):
    """The fields that identify a callback of Sinch. Types other than recipient reports lack some of them."""

    type: str
    batch_id: str = ""
    recipient: str = ""
    status: str = ""
    code: int = 0
    at: str = ""


class Problem(msgspec.Struct):
    """Why Vonage rejected a message: ``title`` is its code."""

    title: str = ""


class Status(msgspec.Struct):
    """The fields that identify a callback of Vonage, except for the status, which the outbox translates."""

    message_uuid: str
    timestamp: str
    error: Problem = msgspec.field(default_factory=Problem)


def judge(
    messages: Sequence[Message],
    simulator: Control,
    db: Database,
    accounts: Accounts,
    *,
    seed: int,
    disturbances: dict[str, int],
    recovery: float,
    recovery_limit: float,
    seconds: float,
    outages: Sequence[Outage] = (),
    carriers: Sequence[ProviderName] = (),
    events: EventsVerdict | None = None,
) -> Verdict:
    """Count. The database must answer, and nothing may be in progress any more."""
    count = _count(messages, simulator, db, accounts)
    summary = simulator.summary()
    # First what was acknowledged, then what was stored: further callbacks may arrive in between.
    tried = list(simulator.tried())
    acknowledged, missing = _count_callbacks(tried, db)
    failovers = after(outages, simulator.accepted(), _reasons(db), carriers) if outages else []
    statuses = {str(status): int(number) for status, number in _certain(db, _STATUSES)}
    found_by = {str(source): int(number) for source, number in _certain(db, _FOUND)}
    return Verdict(
        seed=seed,
        messages=len(messages),
        lost=count.lost,
        sent_twice=count.sent_twice,
        sent_wrongly=count.sent_wrongly,
        open_rows=int(_certain(db, "select count(*) from public.outbox where finalized_at is null")[0][0])
        + len(messages)
        - sum(statuses.values()),
        callbacks=acknowledged,
        callbacks_missing=missing,
        recovery=round(recovery, 1),
        recovery_limit=recovery_limit,
        statuses=statuses,
        disturbances=disturbances,
        requests=summary.requests,
        batches=summary.batches,
        found=sum(found_by.values()),
        resent=int(_certain(db, _RESENT)[0][0]),
        seconds=round(seconds, 1),
        provider=",".join(accounts.names),
        unsaid=count.unsaid,
        unknown_accepted=count.unknown_accepted,
        unknown_lost=count.unknown_lost,
        unreported=int(_certain(db, _UNREPORTED)[0][0]),
        found_by=found_by,
        carried={name: simulator.summary(provider=name).messages for name in accounts.names},
        routed=int(_certain(db, _WENT, "routed")[0][0]),
        moved=int(_certain(db, _WENT, "moved")[0][0]),
        failovers=failovers,
        failover=summarized(failovers),
        events=events,
    )


def _count_callbacks(tried: Sequence[Tried], db: Database) -> tuple[int, int]:
    """How many were acknowledged, and how many of those are in no table, of all providers."""
    at_vonage = [attempt for attempt in tried if _VONAGE_PATH in attempt.url]
    at_sinch = [attempt for attempt in tried if _VONAGE_PATH not in attempt.url]
    counts = callbacks(at_sinch, _certain(db, _KEPT)), statuses_kept(at_vonage, _certain(db, _KEPT_STATUSES))
    return sum(count for count, _ in counts), sum(missing for _, missing in counts)


def _count(messages: Sequence[Message], simulator: Control, db: Database, accounts: Accounts) -> Fates:
    if accounts.without_list:
        return fates.compare(messages, simulator.tallies(), _rows(db))
    count = verdict.compare(messages, simulator.tallies())
    return Fates(count.lost, count.sent_twice, count.sent_wrongly, unsaid=0, unknown_accepted=0, unknown_lost=0)


def _rows(db: Database) -> Mapping[fates.Place, fates.Row]:
    rows = _certain(db, "select recipient, body, status, error, batch_id from public.outbox")
    return {fates.place(str(recipient), str(body)): fates.Row(*told) for recipient, body, *told in rows}


def _reasons(db: Database) -> Mapping[str, str]:
    return {str(reference): str(detail) for reference, detail in _certain(db, _REASONS)}


_STATUSES = "select status, count(*) from public.outbox group by 1 order by 1"
_FOUND = (
    "select source, count(distinct dispatch_id) from public.outbox_events"
    " where event = 'accepted' and source <> 'engine' group by 1 order by 1"
)
_UNREPORTED = "select count(*) from public.outbox where status = 'unknown' and batch_id is not null and status_code is null"
_WENT: Final = "select count(distinct outbox_id) from public.outbox_events where event = %s"
_REASONS: Final = (
    "select distinct on (dispatch_id) dispatch_id::text, detail from public.outbox_events"
    " where event = 'routed' order by dispatch_id"
)
_VONAGE_PATH: Final = "/webhooks/vonage/"
_RESENT = "select count(*) from outbox_engine.dispatches where state = 'not_found'"
_KEPT = (
    "select report->>'batch_id', report->>'recipient', report->>'status', report->>'code', report->>'at'"
    " from public.outbox_events where event = 'report'"
    " union all select (report).raw->>'batch_id', (report).raw->>'recipient', (report).raw->>'status', (report).raw->>'code',"
    " (report).raw->>'at' from outbox_engine.waiting_reports"
)
_KEPT_STATUSES: Final = (
    "select batch_id, coalesce(status_code, 0), occurred_at from public.outbox_events where event = 'report'"
    " union all select (report).batch_id, coalesce((report).code, 0), (report).at from outbox_engine.waiting_reports"
)


def callbacks(tried: Iterable[Tried], kept: Iterable[Row]) -> tuple[int, int]:
    """The number of acknowledged reports, and how many of those are in no table."""
    known = {tuple(str(part) for part in row) for row in kept}
    acknowledged = {_key(attempt) for attempt in tried if 200 <= attempt.status < 300}
    return len(acknowledged), len(acknowledged - known)


def _key(attempt: Tried) -> tuple[str, ...]:
    report = msgspec.json.decode(attempt.body, type=Reported)
    return report.batch_id, report.recipient, report.status, str(report.code), report.at


def statuses_kept(tried: Iterable[Tried], kept: Iterable[Row]) -> tuple[int, int]:
    """The same for callbacks of Vonage."""
    acknowledged = {_key_of_status(attempt) for attempt in tried if 200 <= attempt.status < 300}
    return len(acknowledged), len(acknowledged - {(str(name), int(code), at) for name, code, at in kept})


def _key_of_status(attempt: Tried) -> tuple[str, int, datetime]:
    status = msgspec.json.decode(attempt.body, type=Status)
    return status.message_uuid, int(status.error.title or 0), datetime.fromisoformat(status.timestamp)


def histories(messages: Sequence[Message], simulator: Control, db: Database, accounts: Accounts) -> str:
    """The history of some of the messages that went wrong: acceptances, rows, events and dispatches."""
    books = {(tally.recipient, tally.body): tally for tally in simulator.tallies()}
    if accounts.without_list:
        rows = _rows(db)
        wrong = [
            message
            for message in messages
            if ((tally := books.get(_place(message))) is not None and tally.accepted - tally.excused > 1)
            or fates.fate(tally, rows.get(_place(message))) in ("lost", "unsaid")
        ]
    else:
        wrong = [message for message in messages if _went_wrong(message, books.get(_place(message)))]
    open_rows = [str(number) for (number,) in _certain(db, "select recipient from public.outbox where finalized_at is null")]
    wrong += [message for message in messages if message.recipient in open_rows and message not in wrong]
    return "\n\n".join(_history(message, books.get(_place(message)), simulator, db) for message in wrong[:_HISTORIES])


def _place(message: Message) -> tuple[str, str]:
    return message.recipient.removeprefix("+"), message.text


def _went_wrong(message: Message, tally: Tally | None) -> bool:
    accepted = 0 if tally is None else tally.accepted - tally.excused
    return accepted > 1 or (tally is not None) != message.sent


def _history(message: Message, tally: Tally | None, simulator: Control, db: Database) -> str:
    batches = set() if tally is None else set(tally.batch_ids)
    accepted = [entry for entry in simulator.accepted() if entry.batch_id in batches and entry.recipient == _place(message)[0]]
    rows = _certain(
        db,
        "select id, status, attempts, error, created_at, sent_at, finalized_at, dispatch_id from public.outbox"
        " where recipient = %s and body = %s",
        message.recipient,
        message.text,
    )
    ids = [row[0] for row in rows]
    events = _certain(
        db,
        "select at, source, event, status, status_code, batch_id, dispatch_id, detail from public.outbox_events"
        " where outbox_id = any(%s) order by id",
        ids,
    )
    dispatches = _certain(
        db,
        "select d.id, d.state, d.worker, d.claimed_at, d.lease_until, d.accepted_at, d.closed_at, d.batch_id,"
        " d.lookup_misses, d.first_missed_at, d.error"
        " from outbox_engine.dispatches d join outbox_engine.dispatch_members m on m.dispatch_id = d.id"
        " where m.outbox_id = any(%s) order by d.claimed_at",
        ids,
    )
    parts: dict[str, Sequence[Row | Accepted]] = {
        "row": rows,
        "accepted by the provider": accepted,
        "events": events,
        "dispatches": dispatches,
    }
    lines = [f"{message.recipient} {message.text!r}, to be sent: {message.sent}"]
    for name, entries in parts.items():
        lines += [f"  {name}", *(f"    {_plain(entry)}" for entry in entries)]
    return "\n".join(lines)


def _plain(entry: Row | Accepted) -> str:
    return str(entry) if isinstance(entry, Accepted) else "  ".join(str(part) for part in entry)


def _certain(db: Database, query: str, *values: object) -> list[Row]:
    rows = db.ask(query, *values)
    if rows is None:
        raise RuntimeError("the database does not answer, although no disturbance is active")
    return rows
