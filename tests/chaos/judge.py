"""The verdict: compares the provider's records of messages with our own tables of rows and callbacks."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import msgspec

from sandbox.demo.verdict import compare
from sandbox.demo.work import Message
from sandbox.simulator.books import Accepted, Tally
from sandbox.simulator.callbacks import Tried
from sandbox.simulator.control import Control
from tests.chaos.database import Database, Row

_HISTORIES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a run. Durations are in seconds.

    By the simulator's records, ``lost`` messages were never accepted, ``sent_twice`` ones more than once, and ``sent_wrongly``
    ones must not have been. ``open_rows`` have no final status. ``callbacks_missing`` were acknowledged and are in no table.
    ``recovery`` counts from the end of the last disturbance until every row was accepted or ended, ``recovery_limit`` is
    two leases and two settling times. ``found`` and ``resent`` are requests whose outcome had to be looked up.
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

    @property
    def broken(self) -> list[str]:
        """Each broken promise, as a sentence for people."""
        counts = {
            "lost": self.lost,
            "sent twice": self.sent_twice,
            "sent though they must not be": self.sent_wrongly,
            "without a final status": self.open_rows,
            "callbacks acknowledged and not kept": self.callbacks_missing,
        }
        late = [f"recovered after {self.recovery} s, later than {self.recovery_limit} s"]
        return [f"{count} {what}" for what, count in counts.items() if count] + late * (self.recovery > self.recovery_limit)

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "broken": self.broken}


class Reported(msgspec.Struct):
    """The fields that identify a callback. Types other than recipient reports lack some of them."""

    type: str
    batch_id: str = ""
    recipient: str = ""
    status: str = ""
    code: int = 0
    at: str = ""


def judge(
    messages: Sequence[Message],
    simulator: Control,
    db: Database,
    *,
    seed: int,
    disturbances: dict[str, int],
    recovery: float,
    recovery_limit: float,
    seconds: float,
) -> Verdict:
    """Count. The database must answer, and nothing may be in progress any more."""
    count = compare(messages, simulator.tallies())
    summary = simulator.summary()
    # First what was acknowledged, then what was stored: further callbacks may arrive in between.
    tried = list(simulator.tried())
    acknowledged, missing = callbacks(tried, _certain(db, _KEPT))
    statuses = {str(status): int(number) for status, number in _certain(db, _STATUSES)}
    decided = {str(event): int(number) for event, number in _certain(db, _LOOKED_UP)}
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
        found=decided.get("found", 0),
        resent=decided.get("resent", 0),
        seconds=round(seconds, 1),
    )


_STATUSES = "select status, count(*) from public.outbox group by 1 order by 1"
_LOOKED_UP = (
    "select 'found', count(distinct dispatch_id) from public.outbox_events where event = 'accepted' and source <> 'engine'"
    " union all select 'resent', count(*) from outbox_engine.dispatches where state = 'not_found'"
)
_KEPT = (
    "select report->>'batch_id', report->>'recipient', report->>'status', report->>'code', report->>'at'"
    " from public.outbox_events where event = 'report'"
    " union all select (report).raw->>'batch_id', (report).raw->>'recipient', (report).raw->>'status', (report).raw->>'code',"
    " (report).raw->>'at' from outbox_engine.waiting_reports"
)


def callbacks(tried: Iterable[Tried], kept: Iterable[Row]) -> tuple[int, int]:
    """The number of acknowledged reports, and how many of those are in no table."""
    known = {tuple(str(part) for part in row) for row in kept}
    acknowledged = {_key(attempt) for attempt in tried if 200 <= attempt.status < 300}
    return len(acknowledged), len(acknowledged - known)


def _key(attempt: Tried) -> tuple[str, ...]:
    report = msgspec.json.decode(attempt.body, type=Reported)
    return report.batch_id, report.recipient, report.status, str(report.code), report.at


def histories(messages: Sequence[Message], simulator: Control, db: Database) -> str:
    """The history of some of the messages that went wrong: acceptances, rows, events and dispatches."""
    books = {(tally.recipient, tally.body): tally for tally in simulator.tallies()}
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
