"""The outbox at one moment, read with SQL as any user could."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic

import psycopg

from jobs.runtime.masking import mask

OPEN = ("scheduled", "pending", "sending", "sent", "dispatched")
UNDELIVERED = ("failed", "rejected", "aborted", "expired", "cancelled", "deleted", "unknown", "suppressed")
FINAL = ("delivered", *UNDELIVERED)
Connection = psycopg.Connection[tuple[object, ...]]
_WINDOW_SECONDS = 3.0
_NEWEST = 40
_PLANS = """
select p.provider,
  (
    select count(*)
    from public.outbox_events e
    join outbox_engine.dispatches d on d.id = e.dispatch_id
    where e.event = 'accepted' and d.provider = p.provider and d.plan = p.plan
  ),
  coalesce((
    select x.reason
    from outbox_engine.plan_pauses x
    where x.provider = p.provider and x.plan = p.plan
    order by x.until desc
    limit 1
  ), '')
from outbox_engine.plans p
order by p.position
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the history, or one message that was not delivered. The number is masked."""

    at: datetime
    recipient: str
    what: str
    source: str
    why: str


@dataclass(frozen=True, slots=True)
class PlanNow:
    """A plan: how many messages it carried, and why it sends none at present."""

    provider: str
    messages: int
    paused: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``sent`` counts rows that a provider accepted, ``overnight`` those that wait for the morning.

    ``at`` is monotonic, in seconds.
    """

    statuses: dict[str, int]
    sent: int
    events: tuple[Entry, ...] = ()
    undelivered: tuple[Entry, ...] = ()
    plans: tuple[PlanNow, ...] = ()
    overnight: int = 0
    at: float = field(default_factory=monotonic)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    @property
    def final(self) -> int:
        return sum(self.statuses.get(status, 0) for status in FINAL)

    @property
    def open(self) -> int:
        """How many are to become final in the demo."""
        return self.total - self.final - self.overnight

    @property
    def unreported(self) -> int:
        """How many of the open ones were sent and lack the final report."""
        return sum(self.statuses.get(status, 0) for status in ("sent", "dispatched"))


def count_messages(db: Connection) -> Snapshot:
    """The counts alone. A message that is due in more than an hour waits for the morning."""
    counts = db.execute(
        "select status, count(*), count(sent_at),"
        " count(*) filter (where status = 'scheduled' and send_at > now() + interval '1 hour')"
        " from public.outbox group by status"
    ).fetchall()
    return Snapshot(
        statuses={str(status): int(str(count)) for status, count, *_ in counts},
        sent=sum(int(str(sent)) for *_, sent, _ in counts),
        overnight=sum(int(str(overnight)) for *_, overnight in counts),
    )


def take_snapshot(db: Connection, *, several: bool = False) -> Snapshot:
    """Read the counts and the latest entries, and where there are ``several`` plans, what each does."""
    return replace(
        count_messages(db),
        events=_read(
            db,
            "select e.at, o.recipient, case e.event when 'report' then e.status else e.event end, e.source,"
            " coalesce(e.detail, case when e.status = o.status and o.status <> 'delivered' then o.error end, '')"
            " from (select * from public.outbox_events order by id desc limit %s) e"
            " join public.outbox o on o.id = e.outbox_id order by e.id desc",
        ),
        undelivered=_read(
            db,
            "select finalized_at, recipient, status, '', coalesce(error, '') from public.outbox"
            " where finalized_at is not null and status <> 'delivered' order by finalized_at desc limit %s",
        ),
        plans=_plans(db) if several else (),
    )


def _plans(db: Connection) -> tuple[PlanNow, ...]:
    found = db.execute(_PLANS).fetchall()
    return tuple(PlanNow(str(provider), int(str(count)), str(paused)) for provider, count, paused in found)


def reminders(db: Connection) -> dict[str, int]:
    """The appointments' occurrences by outcome: the message's status, or the reason why there is no message, in two words."""
    counts = db.execute(
        "select coalesce(o.status, split_part(c.reason, ':', 1)), count(*) from public.outbox_campaign_occurrences c"
        " left join public.outbox o on o.id = c.outbox_id where c.campaign = 'appointments' group by 1 order by 1"
    ).fetchall()
    return {str(status): int(str(count)) for status, count in counts}


@dataclass(frozen=True, slots=True)
class Burst:
    """A burst by the times in the outbox: seconds from its first insert to the last sent row, and to the last report."""

    messages: int
    sent_seconds: float
    final_seconds: float

    @property
    def per_second(self) -> int:
        return round(self.messages / self.sent_seconds) if self.sent_seconds else 0


def burst(db: Connection, body: str) -> Burst | None:
    """The rows with this text, or None where there are none."""
    found = db.execute(
        "select count(*), extract(epoch from max(sent_at) - min(created_at)),"
        " extract(epoch from max(finalized_at) - min(created_at)) from public.outbox where body = %s",
        [body],
    ).fetchone()
    count, sent, final = (0, None, None) if found is None else found
    return Burst(int(str(count)), round(float(str(sent or 0)), 1), round(float(str(final or 0)), 1)) if count else None


def stuck(db: Connection) -> tuple[Entry, ...]:
    """Some of the rows that have no final status."""
    return _read(
        db,
        "select coalesce(sent_at, created_at), recipient, status, '', coalesce(error, '') from public.outbox"
        " where finalized_at is null and (status <> 'scheduled' or send_at < now() + interval '1 hour') order by id limit %s",
    )


def _read(db: Connection, query: str) -> tuple[Entry, ...]:
    found = db.execute(query.encode(), [_NEWEST]).fetchall()
    return tuple(
        Entry(datetime.fromisoformat(str(at)).astimezone(), mask(str(number)), str(what), str(source), str(why))
        for at, number, what, source, why in found
    )


class Rate:
    """The growth of a counter in units a second: over the last few seconds, and at its maximum."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self.now = 0.0
        self.peak = 0.0

    def see(self, at: float, count: int) -> None:
        self._seen.append((at, count))
        while at - self._seen[0][0] > _WINDOW_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        self.now = (count - before) / (at - began) if at - began >= 1 else 0.0
        self.peak = max(self.peak, self.now)
