"""The measurements of each side of a pair: a backlog sent, callbacks committed, a campaign's occurrences expanded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

from benchmarks.callbacks import DELIVERY, count_missing, fire
from benchmarks.calls import counted
from benchmarks.draining import NAME, ONE_TEXT, TEMPLATE
from benchmarks.load import Order, Outcome
from benchmarks.ratios import Name
from benchmarks.sent import Batch
from benchmarks.sides import WEBHOOK_SECRET, Side
from sandbox.simulator.server import Running

CONNECTIONS: Final = 200
_CHUNK: Final = 2000
"""Members of a campaign in each call, as the campaigns job asks for."""
_SLICES: Final = 4
"""Short enough that both sides of a pair meet the machine in the same state, long enough for 200 connections to get going."""
_ZONES: Final = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"]
_CLAIM: Final = r"outbox_claim(?!_look|_events)"
_ACCEPT: Final = "outbox_accept"
_REPORTED_SECONDS: Final = 10.5
"""An idle connection of the database has reported what it counted after ten seconds."""
_WAIT_SECONDS: Final = 120
_TEXTS: Final = (
    ("body", ONE_TEXT),
    ("body", f"'Dear ' || {NAME} || ', your table is ready. See you soon!'"),
    ("template, parameters", f"'ready', jsonb_build_object('name', {NAME})"),
)
_MEMBERS: Final = """
    insert into {members} (campaign, external_id, recipient, timezone, event_at, parameters)
    select 'c', n::text, '+1' || (2020000000 + n), (%s::text[])[1 + mod(n, 4)], now() + interval '61 minutes',
      jsonb_build_object('name', 'Ada ' || n)
    from generate_series(1, %s::integer) n
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The size of each measurement; ``seconds`` is how long callbacks are sent."""

    messages: int
    seconds: float
    members: int


@dataclass(frozen=True, slots=True)
class Drained:
    """A backlog was sent. Costs are of 1000 messages; ``buffers_before`` is what the database had counted before it."""

    messages: int
    per_second: float
    calls: float
    wal: float
    cpu: float
    buffers_before: int
    ended: float
    batches: tuple[Batch, ...]

    def buffers(self, side: Side) -> float:
        """Pages read since then. Waits until all connections have reported theirs."""
        sleep(max(0.0, self.ended + _REPORTED_SECONDS - monotonic()))
        return 1000 * (side.buffers() - self.buffers_before) / self.messages


def drain(side: Side, simulator: Running, sizes: Sizes, *, prepare: Callable[[Side], None] | None = None) -> Drained:
    """A third of the backlog has one text, a third differs in a name, a third is made from a template.

    It takes from the first claim's request until the last acceptance's answer. ``prepare`` is called before it.
    """
    messages = _fill(side, sizes.messages)
    if prepare is not None:
        prepare(side)
    simulator.control.reset()
    buffers, wal, cpu = side.buffers(), side.wal(), side.cpu()
    with counted(side.url) as calls:
        with side.scheduler(simulator, url=calls.url):
            simulator.control.wait(messages=messages, seconds=_WAIT_SECONDS)
            _wait_until_all_are_sent(side, messages)
            cpu = side.cpu() - cpu
        wal = side.wal() - wal
    books = simulator.control.summary()
    if books.messages != messages or books.sent_twice:
        raise SystemExit(f"{side.name}: the simulator's books hold {books.messages} messages, {books.sent_twice} sent twice")
    claims, acceptances = calls.of(_CLAIM), calls.of(_ACCEPT)
    if not claims or not acceptances:
        raise SystemExit(f"{side.name}: no call of a claim or of an acceptance came by, but {calls.made}")
    began, ended = claims[0].began, max(call.ended for call in acceptances)
    return Drained(
        messages=messages,
        per_second=messages / (ended - began),
        calls=1000 * sum(began <= call.began <= ended for call in calls.made) / messages,
        wal=1000 * wal / messages,
        cpu=1000 * cpu / messages,
        buffers_before=buffers,
        ended=monotonic(),
        batches=tuple(_batches(simulator)),
    )


def take_callbacks(turns: Sequence[Side], batches: Mapping[Name, Sequence[Batch]], seconds: float) -> dict[Name, float]:
    """Reports a second that each webhook app commits, of messages that :func:`drain` left sent.

    They come in slices, now to one app and now to the other.
    """
    taken = dict.fromkeys((side.name for side in turns), 0)
    took = dict.fromkeys(taken, 0.0)
    with ExitStack() as apps:
        ports: dict[Name, int] = {}
        for side in turns:
            side.rest()
            ports[side.name] = apps.enter_context(side.webhook())
        for number in range(_SLICES):
            for side in turns if number % 2 == 0 else reversed(turns):
                outcome = _report(side, ports[side.name], batches[side.name][number::_SLICES], seconds / _SLICES)
                taken[side.name] += len(outcome.acknowledged)
                took[side.name] += outcome.seconds
    return {side.name: taken[side.name] / took[side.name] for side in turns}


def _report(side: Side, port: int, batches: Sequence[Batch], seconds: float) -> Outcome:
    bodies = [body for batch in batches for body in batch.callbacks()]
    outcome, _ = fire(Order(port, DELIVERY, WEBHOOK_SECRET, bodies, CONNECTIONS, seconds))
    keys = [(batch.batch_id, f"+{number}") for batch in batches for number in batch.recipients]
    if missing := count_missing(side.db, [keys[place] for place in outcome.acknowledged]):
        raise SystemExit(f"{side.name}: {missing} reports that were acknowledged are not in the database")
    return outcome


def expand(turns: Sequence[Side], members: int) -> dict[Name, float]:
    """Occurrences a second: reminders with a window, of members in four zones, that come due all at once.

    The sides take turns with each call.
    """
    for side in turns:
        _enroll(side, members)
    seconds = dict.fromkeys((side.name for side in turns), 0.0)
    waiting = list(turns)
    while waiting:
        for side in tuple(waiting):
            began = monotonic()
            row = side.db.execute("select (public.outbox_expand_campaigns(%s) ->> 'more')::boolean", [_CHUNK]).fetchone()
            seconds[side.name] += monotonic() - began
            if row is None or not row[0]:
                waiting.remove(side)
        waiting.reverse()
    for side in turns:
        _shift_clock(side, "0")
        if (made := side.value("select count(*) from public.outbox")) != members:
            raise SystemExit(f"{side.name}: {members} members became {made} messages")
    return {side.name: members / seconds[side.name] for side in turns}


def _enroll(side: Side, members: int) -> None:
    """A campaign with reminders that are due for all members."""
    side.empty()
    _shift_clock(side, "0")
    side.db.execute(
        f"insert into {side.tables.templates} (name, body) values ('visit', 'Dear {{{{name}}}}, see you!')"
        " on conflict do nothing".encode()
    )
    side.db.execute(
        f"insert into {side.tables.campaigns} (name, template, status, schedule, offsets, window_start, window_end, late_limit)"
        " values ('c', 'visit', 'active', 'reminder', '{-1 hour}', '00:00', '23:59', '2 days')".encode()
    )
    side.db.execute(_MEMBERS.format(members=side.tables.members).encode(), [_ZONES, members])
    _shift_clock(side, "70 seconds")
    side.rest()


def _shift_clock(side: Side, by: str) -> None:
    side.db.execute("update outbox_engine.clock set shift = %s::interval", [by])


def _fill(side: Side, messages: int) -> int:
    """Make the backlog, and return how many messages it has."""
    side.empty()
    side.db.execute(
        f"insert into {side.tables.templates} (name, body) values ('ready', %s) on conflict do nothing".encode(), [TEMPLATE]
    )
    share = messages // len(_TEXTS)
    for place, (columns, values) in enumerate(_TEXTS):
        side.db.execute(
            f"insert into public.outbox (recipient, {columns}) select '+1' || (2020000000 + n), {values}"
            f" from generate_series({place * share}, {(place + 1) * share - 1}) n".encode()
        )
    side.rest()
    return share * len(_TEXTS)


def _wait_until_all_are_sent(side: Side, messages: int) -> None:
    """The provider has them all, but the last acceptances may not be recorded yet."""
    until = monotonic() + _WAIT_SECONDS
    while (sent := side.value("select count(*) from public.outbox where status = 'sent'")) < messages:
        if monotonic() > until:
            raise SystemExit(f"{side.name}: {sent} of {messages} messages were sent within {_WAIT_SECONDS} seconds")
        sleep(0.05)


def _batches(simulator: Running) -> Iterator[Batch]:
    """The accepted messages, as the provider's callbacks name them."""
    recipients: dict[tuple[str, str], list[str]] = {}
    for accepted in simulator.control.accepted():
        recipients.setdefault((accepted.batch_id, accepted.reference or ""), []).append(accepted.recipient)
    for (batch_id, reference), numbers in recipients.items():
        yield Batch(batch_id, reference, tuple(numbers))
