"""`python -m benchmarks`: asks some or all of the questions and writes down the answers."""

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
    "draining": "how fast is a backlog sent, and what does it cost?",
    "peers": "how does that compare with general job queues, a plain loop, and bare SQL?",
    "callbacks": "how many delivery reports a second are taken in?",
    "latency": "how long does a new row wait for its request?",
    "size": "what does a claim cost in a small table, and in a big one?",
    "campaigns": "how fast does a campaign become messages, and who waits for it?",
    "footprint": "how much memory do the processes take, and how soon are they ready?",
}
COMPARISONS = {
    "paired": "is this tree as fast as the revision that --base names, and as sparing?",
    "upgrade": "what does each statement of a schema version lock in a big database, and for how long?",
}
"""Asked only where they are named."""


class Script(Protocol):
    """What each module of this package named after a question offers."""

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
        version=given.version,
        rows=given.rows,
    )
    command = shlex.join(["make", "bench"] + ([f"ARGS={' '.join(sys.argv[1:])}"] if sys.argv[1:] else []))
    # What was started is ended on the way out, whichever signal it is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # What others are measured with is installed for whoever measures, and not for who asks for help.
        subprocess.run([REPOSITORY / ".ci" / "setup", "bench"], check=True)
        importlib.invalidate_caches()
        for question in given.questions or QUESTIONS:
            _ask(question, options, command, writes=not given.quick and not given.dry)
    except KeyboardInterrupt:
        print("Stopped. Nothing is left running; questions already answered are written down.", file=sys.stderr)
        return 130
    if given.quick:
        print("Small sizes, once: not to be compared with docs/benchmarks.md, nor held against its aims.", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    listing, named = ("\n".join(f"  {name:<12}{what}" for name, what in some.items()) for some in (QUESTIONS, COMPARISONS))
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Measures on this machine, against a local Supabase and a simulator of Sinch.",
        epilog=f"questions (all of them where none is named):\n{listing}\nasked only by name:\n{named}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="question", type=_question, help="one or more of those below")
    parser.add_argument("--quick", action="store_true", help="small, once, and write nothing: does the script work?")
    parser.add_argument("--full", action="store_true", help="the sizes that need long as well (10 million rows)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each case is measured (3)")
    parser.add_argument("--base", metavar="REV", help="the revision that paired compares this tree with, such as f1ba7db")
    parser.add_argument("--pairs", type=int, default=15, help="how many pairs of it (15)")
    parser.add_argument("--version", type=int, metavar="N", help="the schema version that upgrade applies (the newest)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="the messages that upgrade finds there (10 million)")
    parser.add_argument("--dry", action="store_true", help="print the tables, and leave docs/ as it is")
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
    # Small sizes are not held against the aims.
    print(report.table([replace(figure, goal=None) for figure in result.figures] if options.quick else result.figures))
    if writes and result.partial:
        print(f"{question}: {result.partial}, so docs/benchmarks.md keeps its table.", file=sys.stderr)
    elif writes:
        report.write(question, script.TITLE, result, where, command)


if __name__ == "__main__":
    sys.exit(main())
