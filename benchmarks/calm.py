"""One and two workers of the webhook app, and direct updates, on a machine that others use as well.

``python -m benchmarks.calm`` makes all rows first. Then it measures the three right after each other, in an order that turns,
whenever the machine does nothing else. A round during which other programs used more than 0.4 of a core does not count.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from statistics import median
from time import monotonic, sleep
from typing import Any, Final

import psutil
import psycopg

from benchmarks import callbacks, machine
from benchmarks.callbacks import DIRECT, OURS, OURS_TWICE, Rate
from benchmarks.sent import Batch
from sandbox.local.stack import LocalStack

RECEIVERS: Final = (OURS, OURS_TWICE, DIRECT)
SECONDS: Final = 1.2
_QUIET: Final = 0.3
_FOREIGN: Final = 0.4
"""Cores that other programs may use, before a round and during it."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The database as superuser, and the port of each receiver."""

    db: psycopg.Connection[Any]
    ports: Mapping[str, int]


def main() -> None:
    given = _parser().parse_args()
    where = machine.describe()
    print(f"{where.when}, commit {where.commit}", flush=True)
    with running() as bench:
        for connections in given.connections:
            rounds = list(_rounds(bench, connections, given.pairs))
            for line in _said(connections, rounds):
                print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calm", description=__doc__)
    parser.add_argument("--pairs", type=int, default=8, help="rounds that count, for each number of connections")
    parser.add_argument("--connections", type=int, nargs="+", default=[50, 200, 500])
    return parser


@contextmanager
def running() -> Iterator[Bench]:
    with LocalStack(durable=True) as stack, closing(psycopg.connect(stack.admin_url, autocommit=True)) as db, ExitStack() as up:
        callbacks.prepare(db, stack)
        ports = {
            OURS: up.enter_context(callbacks.outbox_webhook(stack, stack.url)),
            OURS_TWICE: up.enter_context(callbacks.outbox_webhook(stack, stack.url, workers=2)),
            DIRECT: up.enter_context(callbacks.peer(stack, "direct")),
        }
        yield Bench(db, ports)


def _rounds(bench: Bench, connections: int, wanted: int) -> Iterator[dict[str, Rate]]:
    """Up to ``wanted`` rounds that count, of twice as many."""
    made = [{name: callbacks.make_rows(bench.db, name, SECONDS) for name in RECEIVERS} for _ in range(2 * wanted)]
    bench.db.execute("checkpoint")
    counted = 0
    for turn, rows in enumerate(made):
        _wait_for_quiet()
        names = RECEIVERS if turn % 2 else RECEIVERS[::-1]
        measured = {name: _measure(bench, name, connections, rows[name]) for name in names}
        if all(foreign <= _FOREIGN for _, foreign in measured.values()):
            yield {name: rate for name, (rate, _) in measured.items()}
            counted += 1
        if counted == wanted:
            return


def _measure(bench: Bench, receiver: str, connections: int, rows: Sequence[Batch]) -> tuple[Rate, float]:
    """One run, and how many cores other programs used meanwhile."""
    began, foreign = monotonic(), _foreign_seconds()
    rate = callbacks.measure(bench.db, receiver, bench.ports[receiver], rows, connections=connections, seconds=SECONDS)
    return rate, (_foreign_seconds() - foreign) / (monotonic() - began)


def _wait_for_quiet() -> None:
    while True:
        before = _foreign_seconds()
        sleep(1.5)
        if (_foreign_seconds() - before) / 1.5 < _QUIET:
            return


def _foreign_seconds() -> float:
    """CPU seconds so far of everything but this program and its children, and programs with a nice value, which give way."""
    used = psutil.cpu_times()
    busy = sum(used[:8]) - used.idle - used.nice - getattr(used, "iowait", 0.0)
    me = psutil.Process()
    return float(busy - sum(map(_seconds_of, (me, *me.children(recursive=True)))))


def _seconds_of(process: psutil.Process) -> float:
    """With those of its children that have ended."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0


def _said(connections: int, rounds: Sequence[Mapping[str, Rate]]) -> Iterator[str]:
    if not rounds:
        yield f"{connections} connections: the machine was never quiet"
        return
    for name in RECEIVERS:
        rates = [each[name] for each in rounds]
        ratios = [each[name].per_second / each[DIRECT].per_second for each in rounds]
        cpu = median(sum(rate.cpu.values()) for rate in rates)
        yield (
            f"{connections} connections, {len(rounds)} pairs, {name}: "
            f"{median(rate.per_second for rate in rates):,.0f} a second, "
            f"{median(ratios):.2f} times direct updates ({min(ratios):.2f}–{max(ratios):.2f}), "
            f"p50 {median(rate.p50 for rate in rates):.0f} ms, p99 {median(rate.p99 for rate in rates):.0f} ms, "
            f"{1000 / max(median(rate.calls for rate in rates), 1):.0f} a call, {cpu:.3f} s of CPU for 1000, "
            f"{median(rate.cores_busy for rate in rates):.2f} cores busy, "
            f"{sum(rate.missing for rate in rates)} missing, {sum(rate.refused for rate in rates)} refused"
        )


if __name__ == "__main__":
    main()
