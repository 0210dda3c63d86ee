"""`outbox webhook` under attack, in a process with few files: it goes on answering, in little memory, and says so once."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attacked import PARSERS, attacked
from benchmarks.attacks import TOKEN, Attack, Seen, attacks, probe, report, signed, under
from benchmarks.worker import peak_mib
from sandbox.local.stack import LocalStack
from tests.stack import Connection

SECRET = "a secret of the attacked"
FILES = 256
CALLBACKS = 5
MOST_MIB = 150e6 / 2**20
ATTACKS = list(attacks(SECRET, connections=400))


@dataclass(frozen=True)
class Attacked:
    """A running process."""

    pid: int
    port: int
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.log.read_text().splitlines()) if line["event"] == event]


@pytest.fixture(scope="module", params=PARSERS)
def webhook(
    request: pytest.FixtureRequest, local_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Attacked]:
    environment = {
        "SUPABASE_URL": local_stack.url,
        "SUPABASE_SECRET_KEY": local_stack.secret_key,
        "SINCH_WEBHOOK_SECRETS": SECRET,
        "WEBHOOK_TOKENS": TOKEN,
    }
    with (
        (tmp_path_factory.mktemp("log") / "log").open("wb") as log,
        attacked(request.param, FILES, environment, log) as (process, port),
    ):
        yield Attacked(process.pid, port, Path(log.name))


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_webhook_works_under_attack(webhook: Attacked, db: Connection, attack: Attack) -> None:
    seen = Seen()
    callbacks = [signed(report(batch_id=f"batch {number}"), SECRET) for number in range(CALLBACKS)]
    with under(attack, webhook.port):
        asyncio.run(probe(webhook.port, seen, callbacks, every=0))

    assert (seen.healthy, len(seen.acknowledged)) == (CALLBACKS, CALLBACKS)
    stored = db.execute("select count(*) from outbox_engine.waiting_reports where batch_id like 'batch %'").fetchone()
    assert stored == (CALLBACKS,)
    assert peak_mib(webhook.pid) < MOST_MIB


def test_log_stays_short_after_all_attacks(webhook: Attacked) -> None:
    """Runs after the attacks of each parser."""
    lines = webhook.lines("connections.limited")

    assert 0 < len(lines) < 20
    assert webhook.lines("callback.failed") == []
