"""``make simulate``: run random histories until one breaks an invariant, or replay one and print its events."""

import argparse
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation import server
from tests.simulation.database import Database
from tests.simulation.history import Result, simulate
from tests.simulation.mutation import first_to_notice
from tests.simulation.mutations import MUTATIONS


def main(words: list[str] | None = None) -> int:
    """Exit code 1 if an invariant was broken."""
    arguments = _parser().parse_args(words)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        with server.running() as url, server.scratch(url) as database:
            if arguments.mutations:
                return _break_on_purpose(range(arguments.first, arguments.first + arguments.runs), database, console)
            if arguments.seed is not None:
                return _replay(arguments.seed, arguments.fault, database, console)
            seeds = range(arguments.first, arguments.first + arguments.runs)
            return _run_many(seeds, arguments.fault, database, console)
    except KeyboardInterrupt:
        console.print("Stopped. Nothing is left running.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make simulate",
        description="Runs the real jobs and the real SQL through random histories of faults, in virtual time.",
        epilog="Examples: make simulate; make simulate RUNS=5000; make simulate SEED=42; make simulate ARGS=--mutations",
    )
    parser.add_argument("--seed", type=int, help="run this one history and print its events")
    parser.add_argument(
        "--mutations",
        action="store_true",
        help="remove one rule of the protocol at a time, and show the first history that notices",
    )
    parser.add_argument("--runs", type=int, default=500, help="number of histories (default 500)")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        help="a fault that each history has at its worst, such as provider.without_list; may be repeated",
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    return parser


def _replay(seed: int, faults: Sequence[str], database: Database, console: Console) -> int:
    result = simulate(seed, database, certain=faults)
    console.print(result.trace)
    _complain(result, faults, console)
    console.print(f"{result.messages} messages, {result.requests} requests, {result.duplicate_sends} duplicate sends reported.")
    return 1 if result.complaints else 0


def _run_many(seeds: Iterable[int], faults: Sequence[str], database: Database, console: Console) -> int:
    results: list[Result] = []
    broken: list[int] = []
    columns = (TextColumn("histories"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for seed in progress.track(list(seeds)):
            results.append(simulate(seed, database, certain=faults))
            if results[-1].complaints:
                broken.append(seed)
                _complain(results[-1], faults, console)
    messages, requests, moves, duplicate_sends = (
        sum(getattr(result, what) for result in results) for what in ("messages", "requests", "moves", "duplicate_sends")
    )
    console.print(
        f"{len(results)} histories, {messages} messages, {requests} requests, {moves} moves to another account, "
        f"{duplicate_sends} duplicate sends reported."
    )
    console.print(f"{len(broken)} went wrong: {broken}" if broken else "Every invariant held.")
    return 1 if broken else 0


def _break_on_purpose(seeds: range, database: Database, console: Console) -> int:
    unnoticed = 0
    for mutation in MUTATIONS:
        noticed = first_to_notice(mutation, database, seeds)
        if noticed is None:
            unnoticed += 1
            console.print(f"{mutation.name}: none of {len(seeds)} histories noticed", style="red")
        else:
            complaint = next(found for found in noticed.complaints if mutation.complaint in found)
            console.print(f"{mutation.name}: seed {noticed.seed}: {complaint}")
    return 1 if unnoticed else 0


def _complain(result: Result, faults: Sequence[str], console: Console) -> None:
    for complaint in result.complaints:
        console.print(f"seed {result.seed}: {complaint}", style="red")
    if result.complaints:
        named = "".join(f" --fault {fault}" for fault in faults)
        console.print(f"all events: make simulate SEED={result.seed}" + (f' ARGS="{named[1:]}"' if named else ""), style="red")


if __name__ == "__main__":
    sys.exit(main())
