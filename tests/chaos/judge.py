"""The verdict: what the provider's books say about the messages, and our own tables about rows and callbacks."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import msgspec

from sandbox.demo.verdict import compare
from sandbox.demo.work import Message
from sandbox.simulator.books import Accepted, Tally
from sandbox.simulator.callbacks import Tried
from sandbox.simulator.control import Control
from tests.chaos.database import Database, Row

_STORIES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to. Durations are in seconds.

    By the simulator's books, ``lost`` messages were never accepted, ``sent_twice`` more often than once, ``sent_wrongly``
    though they must not be. ``open_rows`` have no final status. ``callbacks_missing`` were acknowledged and are in no table.
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
        """Each promise that did not hold, in words."""
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
    """Of a callback's body, what names it. Other types than reports on recipients lack some of it."""

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
    """Count. The database must be there, and everything at rest."""
    count = compare(messages, simulator.tallies())
    summary = simulator.summary()
    # First what was acknowledged, then what was kept: others may still be on their way.
    tried = list(simulator.tried())
    told, missing = callbacks(tried, _certain(db, _KEPT))
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
        callbacks=told,
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
    """How many reports were acknowledged, and how many of those are in no table."""
    known = {tuple(str(part) for part in row) for row in kept}
    told = {_key(attempt) for attempt in tried if 200 <= attempt.status < 300}
    return len(told), len(told - known)


def _key(attempt: Tried) -> tuple[str, ...]:
    report = msgspec.json.decode(attempt.body, type=Reported)
    return report.batch_id, report.recipient, report.status, str(report.code), report.at


def stories(messages: Sequence[Message], simulator: Control, db: Database) -> str:
    """What happened to some of the messages that went wrong: accepted when and as what, our trail, and the dispatches."""
    books = {(tally.recipient, tally.body): tally for tally in simulator.tallies()}
    wrong = [message for message in messages if _went_wrong(message, books.get(_place(message)))]
    open_rows = [str(number) for (number,) in _certain(db, "select recipient from public.outbox where finalized_at is null")]
    wrong += [message for message in messages if message.recipient in open_rows and message not in wrong]
    return "\n\n".join(_story(message, books.get(_place(message)), simulator, db) for message in wrong[:_STORIES])


def _place(message: Message) -> tuple[str, str]:
    return message.recipient.removeprefix("+"), message.text


def _went_wrong(message: Message, tally: Tally | None) -> bool:
    accepted = 0 if tally is None else tally.accepted - tally.excused
    return accepted > 1 or (tally is not None) != message.sent


def _story(message: Message, tally: Tally | None, simulator: Control, db: Database) -> str:
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
    trail = _certain(
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
        "trail": trail,
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
        raise RuntimeError("the database is away though nothing disturbs it any more")
    return rows
