"""Compares the working tree with another revision, in interleaved pairs.

Both run as processes, each from its own code and on a local stack of its own with its own migrations. They share the installed
packages and the simulator. The measurements use the command line, the API and the tables alone, so that the other revision
needs nothing of this script.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import measures, sides, trees
from benchmarks.measures import CONNECTIONS, Drained, Sizes
from benchmarks.ratios import Bound, Name, Pair, interval, judge, order
from benchmarks.result import Figure, Options, Result
from benchmarks.sides import Side
from sandbox.local.binaries import REPOSITORY
from sandbox.simulator import server
from sandbox.simulator.server import Running

TITLE = "is this tree as fast as another revision, and as sparing?"

_SIZES: Final = Sizes(messages=42_000, seconds=4.0, members=30_000)
_QUICK_SIZES: Final = Sizes(messages=6_000, seconds=1.0, members=4_000)
_QUICK_PAIRS: Final = 2
_FASTER: Final = Bound(0.95)
_DEARER: Final = Bound(1.03, at_most=True)
_SLOWER: Final = Bound(1.05, at_most=True)

DRAINING, CALLBACKS, CAMPAIGNS = "draining, messages a second", "callbacks, reports a second", "campaigns, occurrences a second"
BUFFERS, CALLS, WAL = "buffers of 1000 messages", "calls to Supabase of 1000 messages", "WAL bytes of 1000 messages"
CPU: Final = "CPU seconds of 1000 messages"
BOUNDS: Final[Mapping[str, Bound]] = {
    DRAINING: _FASTER, CALLBACKS: _FASTER, CAMPAIGNS: _FASTER, BUFFERS: _DEARER, CALLS: _DEARER, WAL: _DEARER,
    CPU: _SLOWER,
}  # fmt: skip

_WITHOUT_DASHBOARD: Final = """
    drop index public.outbox_recipient, public.outbox_metadata;
    select pg_advisory_lock(hashtext('outbox figures'));
"""
"""Figures are counted by one transaction at a time, and the others leave it to that."""

_NOTE: Final = (
    "The base is {base}. {pairs} pairs, after one that is not counted; the order of the two sides turns with each pair. "
    "Draining: {sizes.messages:,} messages through `outbox run`, a third with one text, a third that differ in a name, a third "
    "from a template. Callbacks: {connections} connections for {sizes.seconds:g} seconds. Campaigns: {sizes.members:,} "
    "reminders with a window, in four zones. Buffers, calls, WAL and CPU are those of draining, until everything was sent; CPU "
    "is that of the database and the API, and depends less on what else the machine does than the rates do. The interval is a "
    "bootstrap of the median of the pairs' ratios (95 %)."
)


@dataclass(frozen=True, slots=True)
class _Bench:
    """The running parts of a paired measurement."""

    sides: Mapping[Name, Side]
    simulator: Running
    sizes: Sizes

    def pair(self, number: int) -> dict[str, Pair]:
        """Measure both sides once, one right after the other in each measurement."""
        turns = [self.sides[name] for name in order(number)]
        drained = {side.name: measures.drain(side, self.simulator, self.sizes) for side in turns}
        buffers = {side.name: drained[side.name].buffers(side) for side in turns}
        batches = {name: one.batches for name, one in drained.items()}
        callbacks = measures.take_callbacks(turns, batches, self.sizes.seconds)
        campaigns = measures.expand(turns, self.sizes.members)
        return {
            DRAINING: _of(drained, "per_second"),
            CALLBACKS: Pair(**callbacks),
            CAMPAIGNS: Pair(**campaigns),
            BUFFERS: Pair(**buffers),
            CALLS: _of(drained, "calls"),
            WAL: _of(drained, "wal"),
            CPU: _of(drained, "cpu"),
        }


def run(options: Options) -> Result:
    if options.base is None:
        raise SystemExit("paired needs a revision to compare with, such as --base f1ba7db")
    sizes = _QUICK_SIZES if options.quick else _SIZES
    pairs = _QUICK_PAIRS if options.quick else options.pairs
    with ExitStack() as parts:
        bench = _start(parts, options.base, sizes)
        if options.without_dashboard:
            bench.sides["present"].db.execute(_WITHOUT_DASHBOARD.encode())
        bench.pair(0)  # Files are read from disk for the first time, and compiled to bytecode.
        measured: list[dict[str, Pair]] = []
        for number in range(pairs):
            measured.append(bench.pair(number))
            _print_ratios(number, measured[-1])
    note = _NOTE.format(base=options.base, pairs=pairs, sizes=sizes, connections=CONNECTIONS)
    if options.without_dashboard:
        note += " The tree is measured without the indexes and the figures of the dashboard."
    by_name = {name: [pair[name] for pair in measured] for name in BOUNDS}
    verdicts = f"Verdicts: {'; '.join(_verdicts(by_name))}."
    print(f"paired: {verdicts}", file=sys.stderr)
    return Result(figures=tuple(_figures(by_name)), notes=(note, verdicts))


def _start(parts: ExitStack, base: str, sizes: Sizes) -> _Bench:
    folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="outbox-paired-")))
    # PostgreSQL's own user passes through.
    folder.chmod(0o711)
    found: dict[Name, Path] = {"present": REPOSITORY, "base": parts.enter_context(trees.checked_out(base))}
    running = {name: parts.enter_context(sides.running(name, tree, folder)) for name, tree in found.items()}
    # The load generator makes the callbacks, so no process listens for the simulator's.
    simulator = parts.enter_context(server.process("--callback-url", "http://127.0.0.1:9/webhooks/sinch/delivery"))
    simulator.control.change(callbacks=False)
    return _Bench(running, simulator, sizes)


def _of(drained: Mapping[Name, Drained], what: str) -> Pair:
    return Pair(**{name: getattr(one, what) for name, one in drained.items()})


def _print_ratios(number: int, pair: Mapping[str, Pair]) -> None:
    ratios = ", ".join(f"{name.split(',')[0].split(' of')[0]} {each.ratio:.3f}" for name, each in pair.items())
    print(f"paired: pair {number + 1}: {ratios}", file=sys.stderr)


def _figures(measured: Mapping[str, Sequence[Pair]]) -> Iterator[Figure]:
    for name, pairs in measured.items():
        ratios, bound = tuple(pair.ratio for pair in pairs), BOUNDS[name]
        low, high = interval(ratios)
        yield Figure(name, "present", "", tuple(pair.present for pair in pairs))
        yield Figure(name, "base", "", tuple(pair.base for pair in pairs))
        yield Figure(name, "ratio", "", ratios, goal=bound.ratio, at_most=bound.at_most)
        yield Figure(name, "interval from", "", (low,))
        yield Figure(name, "interval to", "", (high,))


def _verdicts(measured: Mapping[str, Sequence[Pair]]) -> Iterator[str]:
    """The verdict of each median against its bound, and its certainty."""
    for name, pairs in measured.items():
        ratios = [pair.ratio for pair in pairs]
        low, high = interval(ratios)
        yield f"{name}: {median(ratios):.3f} ({low:.3f}–{high:.3f}), {judge(ratios, BOUNDS[name])}"
