"""What `outbox webhook` does under each attack of `benchmarks/attacks.py`, with each HTTP parser it may run with.

Every attack meets a process of its own. Attackers, app, API and database share this machine.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from benchmarks.attacked import PARSERS, attacked
from benchmarks.attacks import TOKEN, Attack, Seen, attacks, probe, report, signed, under
from benchmarks.result import Figure, Options, Result
from benchmarks.worker import peak_mib
from sandbox.local.stack import LocalStack

TITLE = "what does an attack on the webhook app cost, and who is answered meanwhile?"
SECRET: Final = "a secret of the benchmark"
FILES: Final = 1024
_MOST_MIB: Final = 150e6 / 2**20
"""150 MB."""
_EVERY_SECONDS: Final = 0.2
_NOTE = (
    "Of {asked} health checks and as many signed callbacks, each over a new connection, {every:g} seconds apart while the "
    "attack lasts: the share that was answered with 200 and 204 within ten seconds, and the slowest pair. Attacks that wait "
    "hold {many:,} connections, the others 20, and open one again 0.2 seconds after the app has closed it. The process may "
    "open {files:,} files. Of all acknowledged callbacks {missing} were missing in the database afterwards."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attack with one parser."""

    attack: str
    parser: str
    mib: float
    seen: Seen
    missing: int


def run(options: Options) -> Result:
    many, asked = (300, 3) if options.quick else (2000, 10)
    with LocalStack() as stack, closing(psycopg.connect(stack.admin_url, autocommit=True)) as db:
        outcomes = [
            _meet(stack, db, attack, parser, asked) for attack in attacks(SECRET, connections=many) for parser in PARSERS
        ]
    missing = sum(outcome.missing for outcome in outcomes)
    note = _NOTE.format(asked=asked, every=_EVERY_SECONDS, many=many, files=FILES, missing=missing)
    return Result(tuple(figure for outcome in outcomes for figure in _figures(outcome)), notes=(note,))


def _meet(stack: LocalStack, db: psycopg.Connection[Any], attack: Attack, parser: str, asked: int) -> Outcome:
    environment = {
        "SUPABASE_URL": stack.url,
        "SUPABASE_SECRET_KEY": stack.secret_key,
        "SINCH_WEBHOOK_SECRETS": SECRET,
        "WEBHOOK_TOKENS": TOKEN,
    }
    batches = [f"{attack.name} {parser} {number}" for number in range(asked)]
    seen = Seen()
    with tempfile.NamedTemporaryFile() as log, attacked(parser, FILES, environment, log) as (process, port):
        with under(attack, port):
            callbacks = [signed(report(batch_id=batch), SECRET) for batch in batches]
            asyncio.run(probe(port, seen, callbacks, every=_EVERY_SECONDS))
        mib = peak_mib(process.pid)
    acknowledged = [batches[place] for place in seen.acknowledged]
    found = db.execute(
        "select count(*) from outbox_engine.waiting_reports where batch_id = any (%s)", [acknowledged]
    ).fetchone()
    return Outcome(attack.name, parser, mib, seen, len(acknowledged) - (found[0] if found else 0))


def _figures(outcome: Outcome) -> Iterator[Figure]:
    seen, parser = outcome.seen, outcome.parser
    yield Figure(outcome.attack, f"memory, {parser}", "MiB", (outcome.mib,), _MOST_MIB, at_most=True)
    yield Figure(outcome.attack, f"healthy, {parser}", "%", (100 * seen.healthy / seen.asked,), 100)
    yield Figure(outcome.attack, f"callbacks, {parser}", "%", (100 * len(seen.acknowledged) / seen.asked,), 100)
    yield Figure(outcome.attack, f"slowest, {parser}", "s", (seen.slowest,))
