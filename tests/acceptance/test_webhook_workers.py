"""`outbox webhook --workers 2` as an operator runs it, with a real database behind it."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
import pytest

from jobs.runtime.sources import FAILURES
from sandbox.local import processes
from sandbox.local.stack import LocalStack
from tests.engine import Rig, number
from tests.integration.test_webhook_database import final, sent
from tests.integration.webhook_app import DELIVERY, SECRET, report, signed
from tests.stack import Connection

WAIT_SECONDS = 60.0
COMMAND = [sys.executable, "-m", "scheduler", "webhook"]
ROWS = 120


@dataclass(frozen=True, slots=True)
class App:
    """The parent of two workers."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str

    def events(self, name: str) -> list[dict[str, Any]]:
        return _events(self.log, name)

    def workers(self) -> list[processes.Identity]:
        """All workers that were ever started and still run."""
        started = (processes.identify(event["worker"]) for event in self.events("worker.started"))
        return [worker for worker in started if worker is not None]

    def post(self, **request: Any) -> int:
        """The answer on a connection of its own, 0 where there is none."""
        try:
            return httpx.post(f"{self.url}{DELIVERY}", trust_env=False, timeout=30, **request).status_code
        except httpx.HTTPError:
            return 0

    def serving(self) -> set[int]:
        """The workers that have answered a callback without a proof of origin, each of which logs the first."""
        self.post(json=report())
        return {event["worker"] for event in self.events("callback.unauthenticated")}


def _events(log: Path, name: str) -> list[dict[str, Any]]:
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
    return [event for event in events if event["event"] == name]


def environment(stack: LocalStack, **settings: str) -> dict[str, str]:
    return {**os.environ, **stack.env, "SINCH_WEBHOOK_SECRETS": SECRET, "LOG_FORMAT": "json", **settings}


@contextmanager
def running(settings: dict[str, str]) -> Iterator[App]:
    """Two workers, both of which serve."""
    with NamedTemporaryFile() as said:
        log = Path(said.name)
        process = subprocess.Popen([*COMMAND, "--port", "0", "--workers", "2"], env=settings, stderr=said)
        workers: list[processes.Identity] = []
        try:
            assert processes.wait_until(lambda: bool(_events(log, "webhook.listening")), WAIT_SECONDS)
            app = App(process, log, f"http://127.0.0.1:{_events(log, 'webhook.listening')[0]['port']}")
            assert processes.wait_until(lambda: len(app.serving()) == 2, WAIT_SECONDS)
            yield app
            workers = app.workers()
        finally:
            process.kill()
            process.wait()
        assert processes.wait_until(
            lambda: not any(processes.identify(worker.pid) == worker for worker in workers), WAIT_SECONDS
        )


@pytest.fixture
def app(stack: LocalStack) -> Iterator[App]:
    with running(environment(stack)) as started:
        yield started


def refused(settings: dict[str, str], *options: str) -> tuple[int, list[str]]:
    """The exit code, and the lines on stderr that are no events."""
    ended = subprocess.run(
        [*COMMAND, "--workers", "2", *options], env=settings, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stdout == ""
    return ended.returncode, [line for line in ended.stderr.splitlines() if not line.startswith("{")]


async def acknowledged(app: App, callbacks: list[dict[str, Any]], first: asyncio.Event) -> list[bool]:
    """Send the callbacks at once, each on a connection of its own; the first answer sets ``first``. Whether each got 204."""

    async def post(callback: dict[str, Any]) -> bool:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            try:
                answer = await client.post(f"{app.url}{DELIVERY}", **signed(callback))
            except httpx.HTTPError:
                return False
        if answer.status_code == 204:
            first.set()
        return answer.status_code == 204

    return await asyncio.gather(*(post(callback) for callback in callbacks))


async def test_killed_worker_loses_nothing_acknowledged(app: App, rig: Rig, db: Connection) -> None:
    _, batch_id = await sent(rig, db, ROWS)
    callbacks = [final(batch_id, n) for n in range(ROWS)]
    killed, other = app.workers()
    first = asyncio.Event()

    answers = asyncio.create_task(acknowledged(app, callbacks, first))
    await first.wait()
    os.kill(killed.pid, signal.SIGKILL)
    taken = {number(n) for n, is_taken in enumerate(await answers) if is_taken}

    delivered = {str(row[0]) for row in db.execute("select recipient from public.outbox where status = 'delivered'").fetchall()}
    assert taken <= delivered
    assert other in app.workers()
    assert processes.wait_until(lambda: len(app.events("worker.started")) == 3, WAIT_SECONDS)
    (ended,) = app.events("worker.ended")
    assert (ended["worker"], ended["code"]) == (killed.pid, -signal.SIGKILL)
    assert await acknowledged(app, callbacks, first) == [True] * ROWS


async def test_sigterm_finishes_open_requests_in_both(app: App, rig: Rig, db: Connection, other: Connection) -> None:
    _, batch_id = await sent(rig, db, 40)
    with other.transaction():
        other.execute("lock table public.outbox_events")
        answers = asyncio.create_task(acknowledged(app, [final(batch_id, n) for n in range(40)], asyncio.Event()))
        assert await asyncio.to_thread(processes.wait_until, lambda: waiting(db) == 2, WAIT_SECONDS)
        app.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(processes.wait_until, lambda: refuses_connections(app.url), WAIT_SECONDS)

    taken = await answers
    assert app.process.wait(timeout=WAIT_SECONDS) == 0
    assert app.workers() == []
    assert taken == [True] * 40
    assert app.events("worker.killed") == []


def waiting(db: Connection) -> int:
    """How many calls wait for the lock: each worker makes one at a time."""
    row = db.execute(
        "select count(*) from pg_locks where relation = 'public.outbox_events'::regclass and not granted"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def refuses_connections(url: str) -> bool:
    try:
        with closing(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5)):
            return False
    except ConnectionRefusedError:
        return True


def test_workers_end_when_their_parent_is_killed(app: App) -> None:
    app.process.kill()
    app.process.wait()

    assert processes.wait_until(lambda: app.workers() == [], WAIT_SECONDS)
    assert refuses_connections(app.url)


def test_failures_of_a_source_count_across_workers(app: App) -> None:
    answers = [app.post(json=report()) for _ in range(3 * FAILURES)]

    # Each worker has seen one failure or more before these.
    assert set(answers) == {401, 429}
    assert answers.count(401) < FAILURES
    assert set(answers[-FAILURES:]) == {429}


def test_any_worker_gives_the_sum_of_metrics(app: App) -> None:
    """A worker that was killed counts on."""
    before = len(app.serving())
    rejected = [app.post(json=report()) for _ in range(10)]
    assert set(rejected) <= {401, 429}

    def counts() -> set[float]:
        return {total(app) for _ in range(10)}

    (counted,) = counts()
    os.kill(app.workers()[0].pid, signal.SIGKILL)
    assert processes.wait_until(lambda: len(app.events("worker.started")) == 3, WAIT_SECONDS)
    assert processes.wait_until(lambda: counts() == {counted}, WAIT_SECONDS)
    assert (before, counted >= 10) == (2, True)


def total(app: App) -> float:
    """The rejected callbacks that one worker tells, asked on a connection of its own; 0 where it does not answer."""
    try:
        text = httpx.get(f"{app.url}/metrics", trust_env=False, timeout=30).text
    except httpx.HTTPError:
        return 0
    found = re.search(r'^outbox_callbacks_total\{provider="sinch",result="rejected"\} (.+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_rejected_callbacks_of_both_are_one_alarm(app: App, db: Connection) -> None:
    def rejecting() -> set[int]:
        app.post(**signed(report(), secret="wrong"))
        return {event["worker"] for event in app.events("callback.rejected")}

    def alarms() -> list[Any]:
        return [detail for (detail,) in db.execute("select detail from outbox_engine.alarms").fetchall()]

    # Each worker reports its first at once, and the others after a pause.
    assert processes.wait_until(lambda: len(rejecting()) == 2, WAIT_SECONDS)
    assert processes.wait_until(lambda: alarms() == [{"count": 2}], WAIT_SECONDS)


def test_two_workers_report_a_taken_port_once(app: App, stack: LocalStack) -> None:
    port = app.url.rpartition(":")[2]

    code, lines = refused(environment(stack), "--port", port)

    assert (code, lines) == (2, [f"outbox: --port: cannot listen on 127.0.0.1:{port}: Address already in use"])


@pytest.mark.parametrize("missing", ["SUPABASE_URL", "SINCH_WEBHOOK_SECRETS"])
def test_two_workers_report_a_missing_setting_once(missing: str, stack: LocalStack) -> None:
    code, lines = refused(environment(stack, **{missing: ""}), "--port", "0")

    assert (code, len(lines)) == (2, 1)
    assert missing in lines[0]


def test_two_workers_report_a_newer_schema_once(stack: LocalStack, db: Connection) -> None:
    db.execute("insert into outbox_engine.schema_versions (version, breaking, release) values (9999, true, '99.0.0')")

    code, lines = refused(environment(stack), "--port", "0")

    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("outbox: the database has schema version 9999")


def test_sigterm_to_one_worker_replaces_it(app: App) -> None:
    worker, _ = app.workers()
    os.kill(worker.pid, signal.SIGTERM)

    assert processes.wait_until(lambda: len(app.events("worker.started")) == 3, WAIT_SECONDS)
    assert [event["code"] for event in app.events("worker.ended")] == [0]
