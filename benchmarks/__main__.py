"""`python -m benchmarks`: runs some or all benchmarks and writes their results."""

import argparse
import importlib
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Protocol, cast

from benchmarks import machine, report
from benchmarks.result import Options, Result
from sandbox.local.binaries import REPOSITORY

QUESTIONS = {
    "draining": "how fast is a backlog sent, and at what cost?",
    "peers": "how does that compare with job queues, a plain loop and bare SQL?",
    "callbacks": "how many delivery reports are committed per second?",
    "latency": "how long does a new row wait for its request?",
    "inserts": "what does an insert cost an app?",
    "size": "what does a claim cost in small and in large tables?",
    "operations": "how long do an operator's and an app's calls take in big tables?",
    "dashboard": "how long do the dashboard's screens take in a big table?",
    "campaigns": "how fast does a campaign make its messages, and who waits meanwhile?",
    "footprint": "how much memory do the processes take, and how fast do they start?",
    "clients": "what does one request to a provider cost, by HTTP client?",
    "events": "what does an endpoint for events cost?",
    "limits": "what does an attack on the webhook app cost, and who is answered meanwhile?",
}
COMPARISONS = {
    "paired": "is this tree as fast as revision --base, and as cheap to run?",
    "upgrade": "what does each statement of a schema version lock, and for how long?",
}
"""Run only if they are named."""


class Script(Protocol):
    """The interface of each module that is named after a benchmark."""

    TITLE: str

    def run(self, options: Options) -> Result: ...


def main() -> int:
    parser = _parser()
    given = parser.parse_args()
    if "paired" in given.questions and (given.base is None or given.pairs < 1):
        parser.error("paired needs --base and a revision, such as --base f1ba7db, and at least one pair")
    options = Options(
        quick=given.quick,
        full=given.full,
        repeats=1 if given.quick else given.repeats,
        base=given.base,
        pairs=given.pairs,
        without_dashboard=given.without_dashboard,
        version=given.version,
        rows=given.rows,
    )
    command = shlex.join(["make", "bench"] + ([f"ARGS={' '.join(sys.argv[1:])}"] if sys.argv[1:] else []))
    # Child processes are ended on the way out, whichever signal comes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # The packages for measuring are not needed to print the help.
        subprocess.run([REPOSITORY / ".ci" / "setup", "bench"], check=True)
        importlib.invalidate_caches()
        for question in given.questions or QUESTIONS:
            _ask(question, options, command, writes=not given.quick and not given.dry)
    except KeyboardInterrupt:
        print("Stopped. Nothing is left running; finished benchmarks are written.", file=sys.stderr)
        return 130
    if given.quick:
        print("Small sizes, once: not comparable with docs/benchmarks.md and its goals.", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    listing, named = ("\n".join(f"  {name:<12}{what}" for name, what in some.items()) for some in (QUESTIONS, COMPARISONS))
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Runs benchmarks on this machine, against a local Supabase and a Sinch simulator.",
        epilog=f"benchmarks (all of them by default):\n{listing}\nonly by name:\n{named}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="benchmark", type=_question, help="one or more of those below")
    parser.add_argument("--quick", action="store_true", help="small sizes, once, without writing results: a test of the script")
    parser.add_argument("--full", action="store_true", help="also the sizes that take long (10 million rows)")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of each case (3)")
    parser.add_argument("--base", metavar="REV", help="for paired: the revision to compare with, such as f1ba7db")
    parser.add_argument("--pairs", type=int, default=15, help="for paired and events: the number of pairs (15)")
    parser.add_argument(
        "--without-dashboard",
        action="store_true",
        help="for paired: leave out what the dashboard costs, its indexes and figures",
    )
    parser.add_argument("--version", type=int, metavar="N", help="for upgrade: the schema version to apply (the newest)")
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="for upgrade and dashboard: messages in the table (10 million)"
    )
    parser.add_argument("--dry", action="store_true", help="print the tables without changing docs/")
    return parser


def _question(word: str) -> str:
    if word not in {**QUESTIONS, **COMPARISONS}:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join((*QUESTIONS, *COMPARISONS))}")
    return word


def _ask(question: str, options: Options, command: str, *, writes: bool) -> None:
    try:
        script = cast(Script, importlib.import_module(f"benchmarks.{question}"))
    except ModuleNotFoundError as error:
        if error.name != f"benchmarks.{question}":
            raise
        print(f"{question}: not measured yet", file=sys.stderr)
        return
    print(f"{question}: {script.TITLE}", file=sys.stderr)
    where = machine.describe()
    result = script.run(options)
    # Small sizes are not compared with the goals.
    print(report.table([replace(figure, goal=None) for figure in result.figures] if options.quick else result.figures))
    if writes and result.partial:
        print(f"{question}: {result.partial}, so docs/benchmarks.md keeps its table.", file=sys.stderr)
    elif writes:
        report.write(question, script.TITLE, result, where, command)


if __name__ == "__main__":
    sys.exit(main())
