"""What templates and replies cost: ``python -m benchmarks.templates REVISION`` compares two trees' migrations in pairs.

It times one claim of 1000 rows of a template, without and with `plain`, and one call that records 100 replies. The database
does nothing else meanwhile.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import psycopg

from benchmarks import trees
from sandbox.local.binaries import REPOSITORY
from sandbox.local.stack import LocalStack

Connection = psycopg.Connection[tuple[object, ...]]
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "ASCII, 1 part": ("Hello {{name}}, see you on Monday at ten.", "Ada"),
    "ASCII, 2 parts": ("Hello {{name}}, see you on Monday at ten. " * 4, "Ada"),
    "accents of GSM-7": ("Grüße {{name}}, bis Montag um zehn Uhr, schöne Grüße. " * 3, "Jürgen"),
    "curly quotes, 1 part": ("It’s on, {{name}} – see you", "Ada"),
    "curly quotes, 3 parts": ("It’s on, {{name}} – see you on Monday at ten. " * 4, "Ada"),
}
_REPLIES: Final = [
    "STOP",
    "Thanks, see you tomorrow at ten",
    "ok",
    "Danke!",
    "Yes",
    "Please cancel my appointment on Monday, I am ill.",
]
_CLAIM: Final = (
    "select public.outbox_claim_due(gen_random_uuid(), 'w', 'sinch', 'p', 'h', 'c', 60, 50, 8::smallint, 1000::smallint, 1000,"
    " null, 60000, null, true)"
)
_ROWS: Final = (
    "insert into public.outbox (recipient, template, parameters) select '+1415555' || lpad(i::text, 4, '0'), %s,"
    " jsonb_build_object('name', %s || i::text) from generate_series(1, 1000) i"
)
_RECORD: Final = (
    "select public.outbox_record_inbounds('webhook', array_fill('sinch'::text, '{100}'), array_agg(gen_random_uuid()::text),"
    " array_fill('text'::text, '{100}'), array_agg('+1415555' || lpad(i::text, 4, '0')), array_fill('+12025550100'::text,"
    " '{100}'), array_agg((%s::text[])[1 + i %% 6]), array_fill(now()::text, '{100}'), array_fill(''::text, '{100}'),"
    " array_fill('{}'::text, '{100}')) from generate_series(1, 100) i"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="The base, such as main.")
    parser.add_argument("--pairs", type=int, default=21)
    given = parser.parse_args()
    with ExitStack() as parts:
        base, present = (
            _database(parts, tree) for tree in (parts.enter_context(trees.checked_out(given.revision)), REPOSITORY)
        )
        print("| case | base (ms) | present (ms) | times base | middle half |\n|---|--:|--:|--:|---|")
        for name, run in _cases():
            for database in (base, present):
                run(database)
            pairs = []
            for pair in range(given.pairs):
                order = (base, present) if pair % 2 else (present, base)
                seconds = {id(database): run(database) for database in order}
                pairs.append((seconds[id(base)], seconds[id(present)]))
            ratios = sorted(after / before for before, after in pairs)
            low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            before, after = (median(side) * 1000 for side in zip(*pairs, strict=True))
            print(f"| {name} | {before:.0f} | {after:.0f} | {median(ratios):.2f} | {low:.2f} to {high:.2f} |", flush=True)


def _database(parts: ExitStack, tree: Path) -> Connection:
    stack = parts.enter_context(LocalStack(migrations=tree / "supabase" / "migrations"))
    database = parts.enter_context(psycopg.connect(stack.admin_url, autocommit=True))
    for name, (body, _) in _TEXTS.items():
        for plain in (False, True):
            insert = "insert into public.outbox_templates (name, body, plain) values (%s, %s, %s)"
            database.execute(insert, [_template(name, plain=plain), body, plain])
    return database


def _cases() -> Iterator[tuple[str, Callable[[Connection], float]]]:
    for name, (_, value) in _TEXTS.items():
        for plain in (False, True):
            template = _template(name, plain=plain)
            yield template, partial(_claim, template=template, value=value)
    yield "100 replies", _record


def _template(name: str, *, plain: bool) -> str:
    return f"{name}, plain" if plain else name


def _claim(database: Connection, template: str, value: str) -> float:
    database.execute(_ROWS, [template, value])
    start = perf_counter()
    database.execute(_CLAIM)
    seconds = perf_counter() - start
    claimed = database.execute("select count(*) from public.outbox where status = 'sending'").fetchone()
    if claimed != (1000,):
        raise SystemExit(f"{claimed} of 1000 rows were claimed")
    database.execute("truncate public.outbox cascade; delete from outbox_engine.dispatches")
    return seconds


def _record(database: Connection) -> float:
    start = perf_counter()
    database.execute(_RECORD, [_REPLIES])
    return perf_counter() - start


if __name__ == "__main__":
    main()
