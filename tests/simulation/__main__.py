"""``make simulate``: tell histories until one goes wrong, or tell one again with its whole story."""

import argparse
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation import server
from tests.simulation.database import Database
from tests.simulation.history import Result, tell
from tests.simulation.mutations import MUTATIONS, first_to_notice


def main(words: list[str] | None = None) -> int:
    """Exit code 1 where an invariant did not hold."""
    arguments = _parser().parse_args(words)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        with server.running() as url, server.scratch(url) as database:
            if arguments.mutations:
                return _break_on_purpose(range(arguments.first, arguments.first + arguments.runs), database, console)
            if arguments.seed is not None:
                return _tell_one(arguments.seed, database, console)
            return _tell_many(range(arguments.first, arguments.first + arguments.runs), database, console)
    except KeyboardInterrupt:
        console.print("Stopped. Nothing is left running.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make simulate",
        description="Drives the real jobs and the real SQL through random histories of faults, in virtual time.",
        epilog="Examples: make simulate; make simulate RUNS=5000; make simulate SEED=42; make simulate ARGS=--mutations",
    )
    parser.add_argument("--seed", type=int, help="tell this one history and print all that happened")
    parser.add_argument("--mutations", action="store_true", help="take one rule away at a time: which history notices?")
    parser.add_argument("--runs", type=int, default=500, help="how many histories (default 500)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    return parser


def _tell_one(seed: int, database: Database, console: Console) -> int:
    result = tell(seed, database)
    console.print(result.story)
    _complain(result, console)
    console.print(f"{result.messages} messages, {result.requests} requests, {result.doubles} doubles reported.")
    return 1 if result.complaints else 0


def _tell_many(seeds: Iterable[int], database: Database, console: Console) -> int:
    told: list[Result] = []
    broken: list[int] = []
    columns = (TextColumn("histories"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for seed in progress.track(list(seeds)):
            told.append(tell(seed, database))
            if told[-1].complaints:
                broken.append(seed)
                _complain(told[-1], console)
    messages, requests, doubles = (
        sum(getattr(result, what) for result in told) for what in ("messages", "requests", "doubles")
    )
    console.print(f"{len(told)} histories, {messages} messages, {requests} requests, {doubles} doubles found and reported.")
    console.print(f"{len(broken)} went wrong: {broken}" if broken else "Every invariant held at the end of each.")
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


def _complain(result: Result, console: Console) -> None:
    for complaint in result.complaints:
        console.print(f"seed {result.seed}: {complaint}", style="red")
    if result.complaints:
        console.print(f"the whole story: make simulate SEED={result.seed}", style="red")


if __name__ == "__main__":
    sys.exit(main())
