"""`outbox dashboard` as a process: closed by default, found by `outbox health`, and stopped with pages open."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from jobs.runtime.dashboard import DashboardSettings
from scheduler.commands.together import members
from tests import commands

NOWHERE = "http://127.0.0.1:9"
COMPLETE = {"SUPABASE_URL": NOWHERE, "SUPABASE_SECRET_KEY": "sb_secret_test"}
LINK = re.compile(r"outbox: sign in at (http://127\.0\.0\.1:\d+)(/sign-in\?token=\S+)")


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    root = Path(__file__).parents[2]
    run = {"OUTBOX_RUN_DIR": str(tmp_path / "run"), "LOG_FORMAT": "json"}
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(root), **run, **COMPLETE, **settings}


@contextmanager
def running(tmp_path: Path, **settings: str) -> Iterator[tuple["subprocess.Popen[str]", "re.Match[str]"]]:
    """The process on a free port, and the address that it prints."""
    command = [sys.executable, "-m", "scheduler", "dashboard", "--port", "0"]
    process = subprocess.Popen(command, env=environment(tmp_path, **settings), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        yield process, link_of(process)


def link_of(process: "subprocess.Popen[str]") -> "re.Match[str]":
    """The next address that it prints."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := LINK.match(line):
            return found
    pytest.fail(f"it ended with {process.wait()}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_open_dashboard_is_for_this_machine(tmp_path: Path, host: str) -> None:
    env = environment(tmp_path)
    ended = commands.outbox("dashboard", "--host", host, "--port", "0", env=env, cwd=tmp_path)

    assert ended.returncode == 2
    assert ended.stderr.startswith("outbox: DASHBOARD_PASSWORD is not set")
    assert len(ended.stderr.splitlines()) == 1


def test_printed_address_signs_in_once(tmp_path: Path) -> None:
    with running(tmp_path) as (process, link), httpx.Client(base_url=link[1], trust_env=False, timeout=30) as client:
        first = client.get(link[2])
        assert (first.status_code, first.headers["location"]) == (303, "/")
        page = client.get("/")
        assert page.status_code == 503
        assert "The database does not answer" in page.text
        assert "Traceback" not in page.text

        with httpx.Client(base_url=link[1], trust_env=False, timeout=30) as other:
            assert other.get(link[2]).status_code == 401
            assert other.get(link_of(process)[2]).status_code == 303


def test_process_stops_while_pages_watch(tmp_path: Path) -> None:
    with running(tmp_path) as (process, link), httpx.Client(base_url=link[1], trust_env=False, timeout=30) as client:
        client.get(link[2])
        with client.stream("GET", "/live") as stream:
            parts = stream.iter_text()
            assert "event: hello" in next(parts)
            assert stream.headers["x-accel-buffering"] == "no"
            env = environment(tmp_path)
            assert commands.outbox("health", env=env, cwd=tmp_path).stdout == f"dashboard ({process.pid}): alive\n"
            ready = commands.outbox("health", "--ready", env=env, cwd=tmp_path)
            assert "the database does not answer" in ready.stderr

            process.send_signal(signal.SIGTERM)
            assert set("".join(parts).split("\n\n")) <= {"", ": keep-alive", "event: changed\ndata: -"}
        assert process.wait(10) == 0


def test_all_runs_a_dashboard_with_a_port() -> None:
    def names(port: int | None) -> list[str]:
        pages = DashboardSettings(_env_file=None, dashboard_port=port)
        return [one.name for one in members(host="127.0.0.1", port=None, workers=1, pages=pages)]

    assert names(None) == ["scheduler", "webhook"]
    assert names(8020) == ["scheduler", "webhook", "dashboard"]
