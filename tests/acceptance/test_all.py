"""`outbox all` as an operator runs it: what is killed comes back, and all stop together."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

import httpx
import pytest

from jobs.runtime import liveness
from jobs.runtime.restarts import Restarts
from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from scheduler.supervisor import Member, Supervisor
from tests import commands
from tests.acceptance.test_run import Log
from tests.acceptance.test_run import environment as for_run
from tests.engine import insert, statuses
from tests.integration.webhook_app import DELIVERY, SECRET, report, signed
from tests.stack import Connection

WAIT_SECONDS = 60.0


def environment(stack: LocalStack, sinch: Running, directory: Path) -> dict[str, str]:
    return for_run(stack, sinch) | {
        "SINCH_WEBHOOK_SECRETS": SECRET,
        "OUTBOX_RUN_DIR": str(directory),
        "PORT": "0",
        "LOG_FORMAT": "json",
    }


class All:
    """The parent with its log, and the settings that it was started with."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, settings: dict[str, str]) -> None:
        self.process, self.log, self.settings = process, Log(log), settings

    def member(self, name: str) -> processes.Identity | None:
        """The latest process of this name, None if it has ended."""
        started = [line["pid"] for line in self.log.lines("process.started") if line["name"] == name]
        return processes.identify(started[-1]) if started else None

    def healthy(self) -> bool:
        return commands.outbox("health", "--ready", env=self.settings).returncode == 0


@contextmanager
def running(settings: dict[str, str]) -> Iterator[All]:
    with NamedTemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "scheduler", "all"], env=settings, stderr=said)
        started = All(process, Path(said.name), settings)
        members: list[processes.Identity | None] = []
        try:
            assert processes.wait_until(lambda: started.log.has("webhook.listening") and started.healthy(), WAIT_SECONDS)
            yield started
            members = [started.member("scheduler"), started.member("webhook")]
        finally:
            process.kill()
            process.wait()
        # The children end when their parent does, also where it is killed.
        assert processes.wait_until(
            lambda: not any(member and processes.identify(member.pid) == member for member in members), WAIT_SECONDS
        )


def test_killed_process_comes_back_and_all_stop(stack: LocalStack, sinch: Running, db: Connection, tmp_path: Path) -> None:
    with running(environment(stack, sinch, tmp_path)) as everything:
        (listening,) = everything.log.lines("webhook.listening")
        assert listening["process"] == "webhook"
        callback = httpx.post(f"http://127.0.0.1:{listening['port']}{DELIVERY}", **signed(report()), trust_env=False)
        assert callback.status_code == 204

        for name in ("scheduler", "webhook"):
            killed = everything.member(name)
            assert killed is not None
            os.kill(killed.pid, signal.SIGKILL)
            assert processes.wait_until(
                lambda name=name, killed=killed: everything.member(name) not in {None, killed} and everything.healthy(),  # type: ignore[misc]
                WAIT_SECONDS,
            )
        assert [(line["name"], line["code"]) for line in everything.log.lines("process.ended")] == [
            ("scheduler", -signal.SIGKILL),
            ("webhook", -signal.SIGKILL),
        ]
        insert(db, 3)
        assert processes.wait_until(lambda: statuses(db) == {"sent": 3}, WAIT_SECONDS)

        everything.process.send_signal(signal.SIGTERM)
        assert everything.process.wait(WAIT_SECONDS) == 0
        assert everything.log.count("scheduler.stopped", "process.killed") == [1, 0]
        assert (everything.member("scheduler"), everything.member("webhook")) == (None, None)
        assert list(tmp_path.iterdir()) == []


def test_children_end_when_their_parent_is_killed(stack: LocalStack, sinch: Running, tmp_path: Path) -> None:
    with running(environment(stack, sinch, tmp_path)) as everything:
        everything.process.kill()
        everything.process.wait()

        assert processes.wait_until(
            lambda: everything.member("scheduler") is everything.member("webhook") is None, WAIT_SECONDS
        )
        assert everything.log.has("scheduler.stopped")


@pytest.mark.parametrize("name", ["SUPABASE_URL", "WEBHOOK_ALLOWED_IPS", "SINCH_BASE_URL", "PORT"])
def test_wrong_setting_ends_all_and_is_named(stack: LocalStack, sinch: Running, name: str, tmp_path: Path) -> None:
    ran = commands.outbox("all", env=environment(stack, sinch, tmp_path) | {name: "nowhere"}, timeout=60)

    assert ran.returncode == 2
    assert [line for line in ran.stderr.splitlines() if line.startswith("outbox:") and name in line]
    assert ran.stderr.count("outbox: ") == 1


async def test_process_that_hangs_is_replaced(
    stack: LocalStack, sinch: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(stack, sinch, tmp_path).items():
        monkeypatch.setenv(name, value)

    def answering() -> set[int]:
        return {found.pid for found in liveness.ask(tmp_path, ready=False, seconds=5.0) if found.problem is None}

    supervisor = Supervisor(
        [Member("scheduler", ("run",))],
        answers=partial(liveness.answers, directory=tmp_path),
        hangs=partial(liveness.hangs, directory=tmp_path, seconds=2.0),
        look=0.05,
        restarts=AtOnce,
    )
    keeping = asyncio.create_task(supervisor.keep())
    assert await asyncio.to_thread(processes.wait_until, lambda: bool(answering()), WAIT_SECONDS)
    (hung,) = answering()
    os.kill(hung, signal.SIGSTOP)

    assert await asyncio.to_thread(processes.wait_until, lambda: bool(answering() - {hung}), WAIT_SECONDS)
    assert processes.identify(hung) is None
    supervisor.stop()
    assert await keeping == 0


class AtOnce(Restarts):
    def pause_after(self, lived: float) -> float:
        super().pause_after(lived)
        return 0.0


async def test_process_that_always_ends_is_given_up() -> None:
    supervisor = Supervisor([Member("version", ("--version",))], answers=lambda _name, _pid: True, restarts=AtOnce)

    assert await supervisor.keep() == 1
    assert await supervisor.problem(False) == "version ended with code 0"
