"""`outbox webhook` as a process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import commands
from tests.integration.webhook_app import DELIVERY, INBOUND, SECRET, report, signed

NOWHERE = "http://127.0.0.1:9"
COMMAND = [sys.executable, "-m", "scheduler", "webhook"]
COMPLETE = {"SUPABASE_URL": NOWHERE, "SUPABASE_SECRET_KEY": "sb_secret_test", "SINCH_WEBHOOK_SECRETS": SECRET}


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(root), "LOG_FORMAT": "json", **settings}


@contextmanager
def running(tmp_path: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The process on a free port, and a client of it."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"],
        env=environment(tmp_path, **(COMPLETE | settings)),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "webhook.listening":
                break
        else:
            pytest.fail(f"it ended with {process.wait()}")
        assert {DELIVERY, INBOUND} <= {*event["paths"]}
        client = httpx.Client(base_url=f"http://127.0.0.1:{event['port']}", trust_env=False, timeout=20)
        yield process, stack.enter_context(client)


@pytest.mark.parametrize("missing", ["SUPABASE_URL", "SUPABASE_SECRET_KEY", "SINCH_WEBHOOK_SECRETS"])
def test_missing_setting_is_one_line_with_its_name(missing: str, tmp_path: Path) -> None:
    settings = {name: value for name, value in COMPLETE.items() if name != missing}
    ended = commands.outbox("webhook", env=environment(tmp_path, **settings), cwd=tmp_path)

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert missing in ended.stderr
    assert ended.stdout == ""


def refused(tmp_path: Path, *options: str, **settings: str) -> str:
    """The lines on stderr that are no events."""
    ended = commands.outbox("webhook", *options, env=environment(tmp_path, **COMPLETE, **settings), cwd=tmp_path)
    assert ended.returncode == 2
    return "".join(line for line in ended.stderr.splitlines(keepends=True) if not line.startswith("{"))


def test_taken_port_is_reported_in_one_line(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        by_option = refused(tmp_path, "--port", port)
        by_setting = refused(tmp_path, PORT=port)

    said = f"cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert (by_option, by_setting) == (f"outbox: --port: {said}", f"outbox: PORT: {said}")


def test_host_of_another_machine_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "--port", "0", "--host", "192.0.2.1")

    assert said == "outbox: --host: cannot listen on 192.0.2.1:0: Cannot assign requested address\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_webhook_serves_until_a_stop_signal(number: signal.Signals, tmp_path: Path) -> None:
    with running(tmp_path) as (process, client):
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.post(DELIVERY, **signed(report())).status_code == 503
        process.send_signal(number)
        assert process.wait(timeout=30) == 0


def test_settings_may_come_from_a_file_in_development(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEBHOOK_TOKENS=token-1\n", encoding="utf-8")
    with running(tmp_path, SINCH_WEBHOOK_SECRETS="") as (_, client):
        assert client.post(DELIVERY, json=report()).status_code == 401
        assert client.post(DELIVERY, json=report(), headers={"x-webhook-token": "token-1"}).status_code == 503
