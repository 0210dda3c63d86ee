"""From the insert to the provider's request: with notices, with polling, beside a campaign, and for scheduled rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic, sleep, time
from typing import Final

from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Rig, running, until
from benchmarks.worker import started

TITLE = "how long does a new row wait for its request?"

PER_SECOND: Final = 20
_INTERVAL: Final = 1000.0
"""`DISPATCH_INTERVAL_SECONDS` of 1, in milliseconds."""
_CAMPAIGN: Final = 100_000
_VONAGE_RATE: Final = 30

_NOTE = (
    f"{PER_SECOND} inserts a second, one row each, at an even pace, counted from before the insert until the simulator took "
    "the request, without the time it then took to answer; with a time of its own from that time. Urgent rows have priority 0, "
    "the {campaign:,} rows of the campaign 200 and one text, sent as fast as this machine can. Only rows inserted while rows "
    "of the campaign were waiting count. With two plans, one process serves Sinch and Vonage, or each has one of its own. The "
    "route of urgent rows has one plan, that of the campaign the other, or both have both at 50 to 50. Vonage takes 30 "
    "messages a second, each in a request; without limit, as many as the process can make."
)


@dataclass(frozen=True, slots=True)
class Case:
    """``ahead`` is how far in the future rows are due, ``provider`` how long that takes, in seconds. Goals: in milliseconds.

    ``urgent`` and ``rest`` are the providers of urgent rows and of the campaign; with both, ``+``. ``split``: a process for
    each. Vonage takes 30 messages a second, as an account does at first, unless the case is ``unlimited``.
    """

    name: str
    woken: bool = True
    campaign: bool = False
    ahead: float = 0.0
    provider: float = 0.0
    median: float | None = None
    p99: float | None = None
    longest: float | None = None
    urgent: str | None = None
    rest: str | None = None
    split: bool = False
    unlimited: bool = False

    @property
    def routes(self) -> Iterator[tuple[str, dict[str, int], int | None]]:
        """Name, weights and upper priority of each."""
        if self.urgent is not None and self.rest is not None:
            yield "default", _weights(self.rest), None
            yield "codes", _weights(self.urgent), 100


def _weights(providers: str) -> dict[str, int]:
    return dict.fromkeys(providers.split("+"), 50 if "+" in providers else 100)


def _two(name: str, urgent: str, rest: str, *, split: bool = False) -> Case:
    return Case(name, campaign=True, median=25.0, p99=100.0, urgent=urgent, rest=rest, split=split)


CASES = (
    Case("woken", median=25.0, p99=100.0),
    Case("woken, provider takes 50 ms", provider=0.05, median=25.0, p99=100.0),
    Case("woken, provider takes 300 ms", provider=0.3, median=25.0, p99=100.0),
    Case("polling", woken=False, longest=_INTERVAL + 100),
    Case("urgent, woken, while a campaign drains", campaign=True, median=25.0, p99=100.0),
    Case("urgent, woken, while a campaign drains, 50 ms", campaign=True, provider=0.05, median=25.0, p99=100.0),
    Case("urgent, woken, while a campaign drains, 300 ms", campaign=True, provider=0.3, median=25.0, p99=100.0),
    Case("urgent, polling, while a campaign drains", woken=False, campaign=True, longest=_INTERVAL + 100),
    _two("urgent at Vonage, a campaign through Sinch", "vonage", "sinch"),
    _two("urgent at Sinch, a campaign through Vonage", "sinch", "vonage"),
    Case(
        "urgent at Sinch, a campaign through Vonage without limit", campaign=True, urgent="sinch", rest="vonage", unlimited=True
    ),
    _two("urgent and a campaign, at both", "sinch+vonage", "sinch+vonage"),
    _two("urgent at Vonage, a campaign through Sinch, two processes", "vonage", "sinch", split=True),
    _two("urgent at Sinch, a campaign through Vonage, two processes", "sinch", "vonage", split=True),
    Case("due in 3 seconds, woken", ahead=3.0, longest=_INTERVAL + 100),
    Case("due in 3 seconds, polling", woken=False, ahead=3.0, longest=_INTERVAL + 100),
)


def run(options: Options) -> Result:
    seconds = 2.0 if options.quick else 10.0
    campaign = 10_000 if options.quick else _CAMPAIGN
    measured: dict[str, list[list[float]]] = {case.name: [] for case in CASES}
    with running() as rig:
        for _ in range(options.repeats):
            for case in CASES:
                measured[case.name].append(_wait(rig, case, seconds=seconds, campaign=campaign))
    return Result(tuple(_figures(measured)), plots=(Plot("p99"),), notes=(_NOTE.format(campaign=campaign),))


def _figures(measured: Mapping[str, Sequence[Sequence[float]]]) -> Iterator[Figure]:
    for case in CASES:
        runs = [sorted(waits) for waits in measured[case.name]]
        yield Figure(case.name, "rows", "", tuple(float(len(waits)) for waits in runs))
        yield Figure(case.name, "median", "ms", tuple(waits[len(waits) // 2] for waits in runs), case.median, at_most=True)
        yield Figure(case.name, "p99", "ms", tuple(waits[len(waits) * 99 // 100] for waits in runs), case.p99, at_most=True)
        yield Figure(case.name, "longest", "ms", tuple(waits[-1] for waits in runs), case.longest, at_most=True)


def _wait(rig: Rig, case: Case, *, seconds: float, campaign: int) -> list[float]:
    """How long each row waited, in milliseconds."""
    rig.empty()
    rig.simulator.change(latency=case.provider)
    for name, weights, below in case.routes:
        rig.route(name, weights, below=below)
    with schedulers(rig, case):
        if case.campaign:
            _insert_campaign(rig, campaign)
        inserted = _insert_evenly(rig, case, seconds)
        until(lambda: rig.value("select count(*) from public.outbox where priority = 0 and sent_at is null") == 0)
    if twice := rig.simulator.summary().sent_twice:
        raise SystemExit(f"{case.name}: {twice} messages were sent twice")
    taken = {message.body: datetime.fromisoformat(message.at).timestamp() for message in rig.simulator.accepted()}
    return [(taken[body] - case.provider - due) * 1000 for body, due in inserted.items()]


def _insert_campaign(rig: Rig, rows: int) -> None:
    rig.db.execute(
        "insert into public.outbox (recipient, body, priority) "
        f"select '+1' || (2020000000 + n), 'Doors open at eight.', 200 from generate_series(1, {rows}) n"
    )


def _insert_evenly(rig: Rig, case: Case, seconds: float) -> dict[str, float]:
    """Insert rows at an interval. Returns the due time of each text, in seconds since the epoch."""
    due: dict[str, float] = {}
    began = monotonic()
    for n in range(int(seconds * PER_SECOND)):
        sleep(max(0.0, began + n / PER_SECOND - monotonic()))
        if case.campaign and not rig.value(
            "select count(*) from (select from public.outbox where queue = 'r' limit 1) waiting"
        ):
            break
        body, now = f"Your code is {n:06}", time()
        rig.db.execute(
            "insert into public.outbox (recipient, body, priority, send_at) values (%s, %s, 0, to_timestamp(%s))",
            [f"+1{2030000000 + n}", body, now + case.ahead],
        )
        due[body] = now + case.ahead
    return due


@contextmanager
def schedulers(rig: Rig, case: Case) -> Iterator[None]:
    """`outbox run`, once or for each plan, under load and, for cases with notices, listening."""
    wakeup = {"OUTBOX_DB_URL": rig.stack.db_url} if case.woken else {}
    environment = (rig.environment if case.urgent is None else rig.both_environment) | wakeup
    if case.urgent is not None and not case.unlimited:
        environment["VONAGE_MESSAGES_PER_SECOND"] = str(_VONAGE_RATE)
    runs = [["--plan", "sinch"], ["--plan", "vonage"]] if case.split else [[]]
    with ExitStack() as processes:
        for options in runs:
            processes.enter_context(started(["-m", "scheduler", "run", *options], environment))
        # One for each route, so that each of its plans has claimed.
        rig.db.execute(
            "insert into public.outbox (recipient, body, priority) values "
            "('+12029999999', 'The first of all', 0), ('+12029999998', 'The first of the others', 200)"
        )
        until(lambda: rig.value("select count(*) from public.outbox where sent_at is null") == 0)
        if case.woken:
            listening = "select count(*) from pg_stat_activity where application_name = 'outbox'"
            until(lambda: rig.value(listening) == len(runs))
        yield
