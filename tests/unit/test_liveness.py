"""Processes answer `outbox health` on sockets in the run directory."""

import asyncio
import json
import os
import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jobs.runtime import liveness
from jobs.runtime.liveness import Health, answering
from tests import commands
from tests.commands import Ran


async def well(_ready: bool) -> str | None:
    return None


async def not_ready(ready: bool) -> str | None:
    return "Supabase does not answer" if ready else None


def health(directory: Path, *options: str) -> Ran:
    return commands.outbox("health", *options, env={**os.environ, "OUTBOX_RUN_DIR": str(directory)}, cwd=directory)


async def test_health_tells_alive_from_ready(tmp_path: Path) -> None:
    async with answering("scheduler", tmp_path, not_ready), answering("webhook", tmp_path, well):
        alive = await asyncio.to_thread(health, tmp_path)
        ready = await asyncio.to_thread(health, tmp_path, "--ready")
        told = await asyncio.to_thread(health, tmp_path, "--ready", "--json")
    gone = await asyncio.to_thread(health, tmp_path)

    assert (alive.returncode, alive.stdout.splitlines()) == (
        0,
        [f"scheduler ({os.getpid()}): alive", f"webhook ({os.getpid()}): alive"],
    )
    assert (ready.returncode, ready.stdout) == (1, "")
    assert ready.stderr == f"outbox: scheduler ({os.getpid()}): Supabase does not answer\n"
    assert json.loads(told.stdout) == {
        "healthy": False,
        "processes": [
            {"process": "scheduler", "pid": os.getpid(), "problem": "Supabase does not answer"},
            {"process": "webhook", "pid": os.getpid(), "problem": None},
        ],
    }
    assert gone.returncode == 1
    assert gone.stderr.startswith(f"outbox: no process of the outbox runs here, looked in {tmp_path}")
    assert liveness._sockets(tmp_path) == []


async def test_blocked_event_loop_is_not_alive(tmp_path: Path) -> None:
    asked, found = threading.Event(), list[Health]()

    def ask() -> None:
        found.extend(liveness.ask(tmp_path, ready=False, seconds=0.2))
        asked.set()

    async with answering("scheduler", tmp_path, well):
        threading.Thread(target=ask).start()
        asked.wait(30)  # the loop does not turn meanwhile

    assert found == [Health("scheduler", os.getpid(), "does not answer")]


@pytest.mark.parametrize("by_asking", [True, False])
async def test_sockets_left_behind_are_removed(by_asking: bool, tmp_path: Path) -> None:
    left = tmp_path / "scheduler-1-abc.sock"
    with closing(socket.socket(socket.AF_UNIX)) as killed:
        killed.bind(str(left))

    async with answering("webhook", tmp_path, well):
        if by_asking:
            found = await asyncio.to_thread(liveness.ask, tmp_path, ready=False, seconds=10.0)
            assert [health.process for health in found] == ["webhook"]
        assert not left.exists()


async def test_unwritable_directory_costs_only_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with capture_logs() as logs:
        async with answering("scheduler", tmp_path / "file", well):
            pass

    assert [(line["event"], line["setting"]) for line in logs] == [("health.unavailable", "OUTBOX_RUN_DIR")]


def test_folder_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may make a folder in a directory for temporary files, and a link in it."""
    monkeypatch.setattr(liveness, "places", lambda _directory: [tmp_path / "link"])
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "scheduler-1-abc.sock").touch()

    assert liveness.ask(None, ready=False, seconds=1) == []
    assert (tmp_path / "scheduler-1-abc.sock").exists()


def test_health_asks_a_url(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]

    away = health(tmp_path, "--url", f"http://127.0.0.1:{port}")
    wrong = health(tmp_path, "--url", "nowhere")

    assert (away.returncode, away.stderr) == (1, "outbox: webhook: does not answer: Connection refused\n")
    assert (wrong.returncode, wrong.stderr) == (2, "outbox: --url: is not an address such as http://127.0.0.1:8080\n")
