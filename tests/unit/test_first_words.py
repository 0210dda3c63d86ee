"""What a person sees while a process starts, or while an address does not answer."""

import asyncio
import sys

import psycopg
import pytest

from jobs.gateway.operating import Operating
from jobs.gateway.rpc import Rpc
from jobs.runtime.settings import SupabaseSettings
from scheduler.cli import run_command_line
from scheduler.commands import operator
from scheduler.wakeup import reason

Captured = pytest.CaptureFixture[str]
URL = "http://127.0.0.1:9"


@pytest.mark.parametrize(("command", "what"), [("run", "the scheduler"), ("webhook", "the webhook app")])
def test_start_is_told_on_a_terminal_alone(command: str, what: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("SUPABASE_URL", "ftp://wrong")
    assert run_command_line([command]) == 2
    assert "starting" not in capsys.readouterr().err

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run_command_line([command]) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"outbox: starting {what}, Ctrl-C stops it"


async def test_address_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(operator, "_PATIENCE_SECONDS", 0)
    answered = asyncio.Event()

    await operator._say_who_is_asked(URL, answered)
    assert capsys.readouterr().err == f"outbox: waiting for an answer of Supabase at {URL}\n"

    answered.set()
    await operator._say_who_is_asked(URL, answered)
    assert capsys.readouterr().err == ""


async def test_people_wait_four_seconds_for_a_connection() -> None:
    """Processes wait longer, because they may be busy themselves."""
    settings = SupabaseSettings(_env_file=None, supabase_url=URL, supabase_secret_key="sb_secret_test")

    operating, rpc = await Operating.connect(settings), await Rpc.connect(settings)

    assert (operating._rpc._http.timeout.connect, rpc._http.timeout.connect) == (4.0, 15.0)
    assert operating._rpc._http.timeout.read == 15.0
    await operating.aclose()
    await rpc.aclose()


SERVER = 'connection to server at "db.example.com" (192.0.2.1), port 5432 failed'


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            f"connection failed: {SERVER}: Connection refused\n\tIs the server running?",
            "db.example.com:5432: Connection refused",
        ),
        (
            'connection failed: connection to server at "::1", port 5432 failed: FATAL:  password authentication failed',
            "::1:5432: password authentication failed",
        ),
        ("connection timeout expired", "connection timeout expired"),
        ("", "OperationalError"),
    ],
)
def test_reason_of_no_connection_is_short(said: str, words: str) -> None:
    assert reason(psycopg.OperationalError(said)) == words
