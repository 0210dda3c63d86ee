"""`outbox run` as an operator meets it: wrong settings, one pass, a polite end, a database that goes away."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests.engine import insert, statuses
from tests.stack import Connection

WAIT_SECONDS = 30.0


def environment(stack: LocalStack, sinch: Running) -> dict[str, str]:
    return {
        **os.environ,
        **stack.env,
        "SINCH_SERVICE_PLAN_ID": sinch.plan.id,
        "SINCH_API_TOKEN": sinch.plan.token,
        "SINCH_BASE_URL": sinch.url,
        "SINCH_FROM_NUMBER": "+12025550100",
    }


@contextmanager
def scheduler(settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([sys.executable, "-m", "scheduler", "run"], env=settings, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def once(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scheduler", "run", "--once"]
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_SECRET_KEY", ""),
        ("SUPABASE_URL", "nowhere"),
        ("SINCH_SERVICE_PLAN_ID", ""),
        ("SINCH_BASE_URL", "http://127.0.0.1/path"),
        ("LEASE_SECONDS", "soon"),
        ("ALLOWED_COUNTRIES", "UK"),
        ("OUTBOX_DB_URL", "somewhere"),
        ("SENTRY_DSN", "nonsense"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_setting_ends_it_with_two_and_one_line_that_names_it(
    stack: LocalStack, sinch: Running, name: str, value: str
) -> None:
    ran = once({**environment(stack, sinch), name: value})

    assert ran.returncode == 2
    assert name in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_single_run_works_off_what_is_due(stack: LocalStack, sinch: Running, db: Connection) -> None:
    insert(db, 30)

    ran = once(environment(stack, sinch))

    assert ran.returncode == 0, ran.stderr
    assert statuses(db) == {"sent": 30}


def test_secrets_and_numbers_stay_out_of_the_log(stack: LocalStack, sinch: Running, db: Connection) -> None:
    insert(db, 1, body="a very private text")

    ran = once({**environment(stack, sinch), "LOG_LEVEL": "debug"})

    for secret in (stack.secret_key, sinch.plan.token, "+12005550100", "12005550100", "a very private text"):
        assert secret not in ran.stderr
        assert secret not in ran.stdout


def test_it_sends_what_comes_and_ends_politely_on_sigterm(stack: LocalStack, sinch: Running, db: Connection) -> None:
    with scheduler(environment(stack, sinch)) as child:
        insert(db, 5)
        assert processes.wait_until(lambda: statuses(db) == {"sent": 5}, WAIT_SECONDS)

        child.send_signal(signal.SIGTERM)

        assert child.wait(timeout=10) == 0


def test_it_recovers_by_itself_when_supabase_was_away(stack: LocalStack, sinch: Running, db: Connection) -> None:
    insert(db, 5)
    stack.stop_api()
    with scheduler(environment(stack, sinch)) as child:
        assert child.stderr is not None
        assert any("supabase.away" in line for line in child.stderr)
        stack.restart_api()

        assert processes.wait_until(lambda: statuses(db) == {"sent": 5}, 2 * WAIT_SECONDS)


def test_rows_of_a_killed_process_are_sent_once_by_the_next(stack: LocalStack, sinch: Running, db: Connection) -> None:
    settings = {**environment(stack, sinch), "LEASE_SECONDS": "3", "SETTLE_SECONDS": "1"}
    sinch.control.change(latency=0.5)
    insert(db, 50)
    with scheduler(settings) as killed:
        assert processes.wait_until(lambda: statuses(db) == {"sending": 50}, WAIT_SECONDS)
        killed.kill()
    with scheduler(settings):
        assert processes.wait_until(lambda: statuses(db) == {"sent": 50}, WAIT_SECONDS)

    assert sinch.control.summary().sent_twice == 0
    assert sinch.control.summary().messages == 50
