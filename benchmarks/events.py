"""What one event endpoint costs: a backlog is drained and callbacks are committed with one, and without any, in turns.

There are two local stacks, and both run this tree. The endpoint moves from one to the other, so that no difference between the
stacks counts. It gets all types but `message.sent`: draining only has its history followed, and each callback becomes an event.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Final

from benchmarks import measures, sides
from benchmarks.callbacks import DELIVERY, fire
from benchmarks.load import Order
from benchmarks.measures import CONNECTIONS, Sizes
from benchmarks.ratios import Bound, Name, Pair, interval, judge, order
from benchmarks.result import Figure, Options, Result
from benchmarks.rig import until
from benchmarks.sent import Batch
from benchmarks.sides import WEBHOOK_SECRET, Side
from benchmarks.worker import started
from sandbox.local.binaries import REPOSITORY
from sandbox.simulator import server
from sandbox.simulator.server import Running

TITLE = "what does an endpoint for events cost?"

DRAINING, CALLBACKS = "draining, messages a second", "callbacks, reports a second"
CPU: Final = "draining, CPU seconds of 1000 messages"
BOUNDS: Final[Mapping[str, Bound]] = {DRAINING: Bound(0.90), CALLBACKS: Bound(0.90), CPU: Bound(1.10, at_most=True)}
_SIZES: Final = Sizes(messages=42_000, seconds=4.0, members=0)
_QUICK_SIZES: Final = Sizes(messages=6_000, seconds=1.5, members=0)
_QUICK_PAIRS: Final = 2
_WATCHED_SECONDS: Final = 10.0
_ADD: Final = "select public.outbox_add_event_endpoint('bench', %s)"
_DELIVERED: Final = "select count(*) from public.outbox_event_deliveries where status = 'delivered'"
_MADE: Final = "select count(*) from public.outbox_event_deliveries"
_STARTED: Final = "select count(*) from outbox_engine.heartbeats where job = 'dispatch'"
_NOT_FOLLOWED: Final = (
    "select (select max(id) from public.outbox_events) - followed_to from outbox_engine.event_follow"
    " where exists (select from public.outbox_event_endpoints)"
)
_FOLLOW_SECONDS: Final = 120.0

_NOTE: Final = (
    "{pairs} pairs, after one that is not counted; the order of the two turns with each pair. Draining: {sizes.messages:,} "
    "messages through `outbox run`. Callbacks: {connections} connections for {sizes.seconds:g} seconds to `outbox webhook`, "
    "with `outbox run` beside it, whose events job delivers them meanwhile to a server on this machine that answers at once. "
    "The interval is a bootstrap of the median of the pairs' ratios (95 %)."
)


@dataclass(frozen=True, slots=True)
class _Bench:
    """The running parts. ``url`` is the endpoint's."""

    sides: Mapping[Name, Side]
    simulator: Running
    sizes: Sizes
    url: str

    def pair(self, number: int) -> tuple[dict[str, Pair], dict[str, float]]:
        """Both once, one right after the other in each measurement; and the pace of events meanwhile and after it.

        In the pairs, ``present`` is the side that has the endpoint. In four pairs each stack has it first, and last.
        """
        named: tuple[Name, Name] = ("base", "present") if number // 2 % 2 else ("present", "base")
        with_endpoint = self.sides[named[0]]
        turns = [self.sides[name] for name in order(number)]
        names: dict[Name, Name] = {named[0]: "present", named[1]: "base"}

        def prepare(side: Side) -> None:
            if side is with_endpoint:
                side.db.execute(_ADD, [self.url])

        drained = {names[side.name]: measures.drain(side, self.simulator, self.sizes, prepare=prepare) for side in turns}
        callbacks: dict[Name, float] = {}
        pace: dict[str, float] = {}
        for side in turns:
            batches = drained[names[side.name]].batches
            callbacks[names[side.name]], found = self._take_callbacks(side, batches, has_endpoint=side is with_endpoint)
            pace |= found
        rates, cpu = ({name: getattr(one, what) for name, one in drained.items()} for what in ("per_second", "cpu"))
        return {DRAINING: Pair(**rates), CALLBACKS: Pair(**callbacks), CPU: Pair(**cpu)}, pace

    def _take_callbacks(self, side: Side, batches: Sequence[Batch], *, has_endpoint: bool) -> tuple[float, dict[str, float]]:
        side.rest()
        with side.webhook() as port, side.scheduler(self.simulator, url=side.url):
            until(lambda: side.value(_STARTED) > 0 and side.value(_NOT_FOLLOWED) == 0, _FOLLOW_SECONDS)
            bodies = [body for batch in batches for body in batch.callbacks()]
            outcome, _ = fire(Order(port, DELIVERY, WEBHOOK_SECRET, bodies, CONNECTIONS, self.sizes.seconds))
            pace = self._pace(side, outcome.seconds) if has_endpoint else {}
        return len(outcome.acknowledged) / outcome.seconds, pace

    def _pace(self, side: Side, seconds: float) -> dict[str, float]:
        """Events a second while callbacks came, and then while nothing else happens."""
        meanwhile, began = side.value(_DELIVERED), monotonic()
        until(lambda: monotonic() > began + _WATCHED_SECONDS or 0 < side.value(_MADE) == side.value(_DELIVERED))
        afterwards = (side.value(_DELIVERED) - meanwhile) / (monotonic() - began)
        return {"events meanwhile": meanwhile / seconds, "events afterwards": afterwards}


def run(options: Options) -> Result:
    sizes, pairs = (_QUICK_SIZES, _QUICK_PAIRS) if options.quick else (_SIZES, options.pairs)
    with ExitStack() as parts:
        bench = _start(parts, sizes)
        bench.pair(0)  # Files are read from disk for the first time, and compiled to bytecode.
        measured: list[dict[str, Pair]] = []
        paces: list[dict[str, float]] = []
        for number in range(pairs):
            one, pace = bench.pair(number)
            measured.append(one)
            paces.append(pace)
            print(f"events: pair {number + 1}: {_said(one, pace)}", file=sys.stderr)
    by_name = {name: [pair[name] for pair in measured] for name in BOUNDS}
    note = _NOTE.format(pairs=pairs, sizes=sizes, connections=CONNECTIONS)
    verdicts = f"Verdicts: {'; '.join(_verdicts(by_name))}."
    print(f"events: {verdicts}", file=sys.stderr)
    return Result(figures=(*_figures(by_name), *_paces(paces)), notes=(note, verdicts))


def _start(parts: ExitStack, sizes: Sizes) -> _Bench:
    folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="outbox-events-")))
    # PostgreSQL's own user passes through.
    folder.chmod(0o711)
    names: tuple[Name, ...] = ("present", "base")
    running = {name: parts.enter_context(sides.running(name, REPOSITORY, folder)) for name in names}
    simulator = parts.enter_context(server.process("--callback-url", "http://127.0.0.1:9/webhooks/sinch/delivery"))
    simulator.control.change(callbacks=False)
    return _Bench(running, simulator, sizes, f"http://127.0.0.1:{parts.enter_context(_receiver())}/")


@contextmanager
def _receiver() -> Iterator[int]:
    with started(["-m", "benchmarks.event_receiver"], os.environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101  # for the type checker
        yield int(process.stdout.readline())


def _said(measured: Mapping[str, Pair], pace: Mapping[str, float]) -> str:
    ratios = [f"{name.partition(' of')[0]} {pair.ratio:.3f}" for name, pair in measured.items()]
    return ", ".join([*ratios, *(f"{name} {value:.0f}/s" for name, value in pace.items())])


def _figures(measured: Mapping[str, Sequence[Pair]]) -> Iterator[Figure]:
    for name, pairs in measured.items():
        ratios = tuple(pair.ratio for pair in pairs)
        low, high = interval(ratios)
        yield Figure(name, "with one endpoint", "", tuple(pair.present for pair in pairs))
        yield Figure(name, "without", "", tuple(pair.base for pair in pairs))
        yield Figure(name, "ratio", "", ratios, goal=BOUNDS[name].ratio, at_most=BOUNDS[name].at_most)
        yield Figure(name, "interval from", "", (low,))
        yield Figure(name, "interval to", "", (high,))


def _paces(paces: Sequence[Mapping[str, float]]) -> Iterator[Figure]:
    for name in paces[0]:
        yield Figure(name, "with one endpoint", "1/s", tuple(pace[name] for pace in paces))


def _verdicts(measured: Mapping[str, Sequence[Pair]]) -> Iterator[str]:
    for name, pairs in measured.items():
        ratios = [pair.ratio for pair in pairs]
        low, high = interval(ratios)
        yield f"{name}: {median(ratios):.3f} ({low:.3f}–{high:.3f}), {judge(ratios, BOUNDS[name])}"
