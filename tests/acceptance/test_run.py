"""`outbox run` as an operator uses it: wrong settings, a single run, a clean stop, a database that goes away."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
import pytest

from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator import control as faults
from sandbox.simulator.server import Running, process
from sandbox.simulator.vonage.applications import ApplicationSettings
from tests import commands
from tests.campaigns import campaign, member, template
from tests.commands import Ran
from tests.engine import insert, later, statuses
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


class Log:
    """The names of the events that a process logs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self._lines() if line.startswith("{")]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The events of this name, with their fields."""
        return [found for line in self._lines() if line.startswith("{") and (found := json.loads(line))["event"] == event]

    def plain(self) -> list[str]:
        """The lines that are no events."""
        return [line.rstrip("\n") for line in self._lines() if not line.startswith("{")]

    def _lines(self) -> list[str]:
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [line for line in lines if line.endswith("\n")]

    def count(self, *names: str) -> list[int]:
        events = self.events()
        return [events.count(name) for name in names]

    def has(self, name: str) -> bool:
        return name in self.events()


Scheduler = tuple["subprocess.Popen[bytes]", Log]


@contextmanager
def scheduler(settings: dict[str, str]) -> Iterator[Scheduler]:
    """`outbox run` as a process, from its first tick on."""
    with NamedTemporaryFile() as said:
        command = [sys.executable, "-m", "scheduler", "run"]
        child = subprocess.Popen(command, env=settings | {"LOG_FORMAT": "json"}, stderr=said)
        log = Log(Path(said.name))
        try:
            assert processes.wait_until(lambda: log.has("scheduler.started"), WAIT_SECONDS)
            yield child, log
        finally:
            child.kill()
            child.wait()


def once(settings: dict[str, str], *options: str) -> Ran:
    return commands.outbox("run", "--once", *options, env=settings, timeout=60)


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
        ("METRICS_PORT", "many"),
        ("METRICS_TOKEN", "two words"),
        ("SENTRY_DSN", "nonsense"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_wrong_setting_exits_2_and_names_it(stack: LocalStack, sinch: Running, name: str, value: str) -> None:
    ran = once({**environment(stack, sinch), name: value})

    assert ran.returncode == 2
    assert name in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_single_run_sends_all_due_rows(stack: LocalStack, sinch: Running, db: Connection) -> None:
    insert(db, 30)

    ran = once(environment(stack, sinch))

    assert ran.returncode == 0, ran.stderr
    assert statuses(db) == {"sent": 30}


def test_single_run_sends_due_campaign_messages(stack: LocalStack, sinch: Running, db: Connection) -> None:
    template(db)
    campaign(db, schedule="once", starts_at="2026-01-01T00:00:00Z", late_limit="100 years")
    member(db)

    ran = once(environment(stack, sinch))

    assert ran.returncode == 0, ran.stderr
    assert statuses(db) == {"sent": 1}


def test_single_run_exits_1_when_provider_is_unreachable(stack: LocalStack, sinch: Running, db: Connection) -> None:
    """The rows stay pending."""
    insert(db, 3)

    ran = once({**environment(stack, sinch), "SINCH_BASE_URL": "http://127.0.0.1:9"})

    assert ran.returncode == 1
    assert statuses(db) == {"pending": 3}


def test_single_run_exits_1_until_token_is_corrected(stack: LocalStack, sinch: Running, db: Connection) -> None:
    """A refused token pauses the plan and logs one error."""
    wrong = {**environment(stack, sinch), "SINCH_API_TOKEN": "wrong", "LOG_FORMAT": "json"}
    insert(db, 3)

    refused = once(wrong)
    again = once(wrong)
    corrected = once(environment(stack, sinch))

    said = [json.loads(line) for line in refused.stderr.splitlines()]
    assert [line["event"] for line in said if line["level"] == "error"] == ["plan.paused"]
    assert [ran.returncode for ran in (refused, again, corrected)] == [1, 1, 0]
    assert statuses(db) == {"sent": 3}


def test_single_run_sends_through_account_that_works(
    stack: LocalStack, sinch: Running, db: Connection, private_key: str, public_key: str
) -> None:
    """Without it the rows wait for an operator."""
    sinch.control.vonage.agree(ApplicationSettings(public_key=public_key))
    both = {
        **environment(stack, sinch),
        "SINCH_API_TOKEN": "wrong",
        "VONAGE_APPLICATION_ID": sinch.application.id,
        "VONAGE_PRIVATE_KEY": private_key,
        "VONAGE_BASE_URL": sinch.url,
        "VONAGE_FROM_NUMBER": "+12025550100",
        "VONAGE_REPORTS": "0",
    }
    insert(db, 3)

    alone = once(both, "--plan", "sinch")
    together = once(both)

    assert (alone.returncode, together.returncode) == (1, 0), together.stderr
    assert statuses(db) == {"sent": 3}
    assert sinch.control.summary(provider="vonage").messages == 3


def test_secrets_and_numbers_stay_out_of_the_log(stack: LocalStack, sinch: Running, db: Connection) -> None:
    insert(db, 1, body="a very private text")

    ran = once({**environment(stack, sinch), "LOG_LEVEL": "debug"})

    for secret in (stack.secret_key, sinch.plan.token, "+12005550100", "12005550100", "a very private text"):
        assert secret not in ran.stderr
        assert secret not in ran.stdout


def test_new_rows_are_sent_until_sigterm(stack: LocalStack, sinch: Running, db: Connection) -> None:
    """Meanwhile the process gives metrics."""
    with scheduler({**environment(stack, sinch), "METRICS_PORT": "0"}) as (child, log):
        insert(db, 5)
        assert processes.wait_until(lambda: statuses(db) == {"sent": 5}, WAIT_SECONDS)
        port = log.lines("metrics.listening")[0]["port"]
        url = f"http://127.0.0.1:{port}"
        accepted = f'outbox_messages_accepted_total{{plan="{sinch.plan.id}"}} 5.0'
        assert processes.wait_until(lambda: accepted in httpx.get(f"{url}/metrics", trust_env=False).text, WAIT_SECONDS)
        assert "outbox_database_up 1.0" in httpx.get(f"{url}/metrics", trust_env=False).text
        assert httpx.get(f"{url}/", trust_env=False).status_code == 404

        child.send_signal(signal.SIGTERM)

        assert child.wait(timeout=WAIT_SECONDS) == 0


def test_sigterm_lets_open_requests_finish(stack: LocalStack, sinch: Running, db: Connection) -> None:
    """The process claims no further rows."""
    sinch.control.change(latency=1.5)
    with scheduler(environment(stack, sinch)) as (child, log):
        insert(db, 5)
        assert processes.wait_until(lambda: sinch.control.summary().requests.get("send") == 1, WAIT_SECONDS)

        child.send_signal(signal.SIGTERM)
        assert processes.wait_until(lambda: log.has("scheduler.stopping"), WAIT_SECONDS)
        insert(db, 3, first=10)

        assert child.wait(timeout=WAIT_SECONDS) == 0
        assert log.count("dispatch.accepted", "scheduler.stopped", "work.cut_off") == [1, 1, 0]
    assert statuses(db) == {"sent": 5, "pending": 3}


@pytest.mark.nightly
def test_request_open_after_nine_seconds_needs_recovery(stack: LocalStack, sinch: Running, db: Connection) -> None:
    settings = {**environment(stack, sinch), "LEASE_SECONDS": "60", "SETTLE_SECONDS": "0.2"}
    sinch.control.add(faults.timeout_after_accepting())
    insert(db, 5)
    with scheduler(settings) as (child, log):
        # A row is `sending` before its request leaves. A row whose request has not left yet would be given back at once.
        assert processes.wait_until(lambda: sinch.control.summary().requests.get("send") == 1, WAIT_SECONDS)
        child.send_signal(signal.SIGTERM)

        assert child.wait(timeout=WAIT_SECONDS) == 0
        assert log.count("work.cut_off", "scheduler.stopped") == [1, 1]
    assert statuses(db) == {"sending": 5}

    later(db, "2 minutes")
    with scheduler(settings):
        assert processes.wait_until(lambda: statuses(db) == {"sent": 5}, 2 * WAIT_SECONDS)
    assert sinch.control.summary().sent_twice == 0
    assert sinch.control.summary().messages == 5


def test_a_second_ctrl_c_ends_it_at_once(stack: LocalStack, sinch: Running, db: Connection) -> None:
    sinch.control.add(faults.timeout_after_accepting())
    insert(db)
    with scheduler(environment(stack, sinch)) as (child, log):
        assert processes.wait_until(lambda: statuses(db) == {"sending": 1}, WAIT_SECONDS)

        child.send_signal(signal.SIGINT)
        assert processes.wait_until(lambda: log.has("scheduler.stopping"), WAIT_SECONDS)
        child.send_signal(signal.SIGINT)

        assert child.wait(timeout=WAIT_SECONDS) == 130
        assert log.count("work.cut_off", "scheduler.stopped") == [0, 0]


def test_each_supabase_outage_is_logged_once_and_survived(stack: LocalStack, sinch: Running, db: Connection) -> None:
    """One outage is there at the start, one comes later."""
    insert(db, 5)
    stack.stop_api()
    with scheduler(environment(stack, sinch)) as (_, log):
        assert processes.wait_until(lambda: log.has("supabase.away"), WAIT_SECONDS)
        stack.restart_api()
        assert processes.wait_until(lambda: log.has("supabase.back"), 2 * WAIT_SECONDS)
        assert processes.wait_until(lambda: statuses(db) == {"sent": 5}, WAIT_SECONDS)

        stack.stop_api()
        insert(db, 5, first=10)
        assert processes.wait_until(lambda: log.count("supabase.away") == [2], WAIT_SECONDS)
        stack.restart_api()
        assert processes.wait_until(lambda: statuses(db) == {"sent": 10}, 2 * WAIT_SECONDS)
        assert processes.wait_until(lambda: log.count("supabase.away", "supabase.back") == [2, 2], 2 * WAIT_SECONDS)
    assert sinch.control.summary().sent_twice == 0


def test_sinch_outage_at_start_is_logged_once(stack: LocalStack, sinch: Running, db: Connection) -> None:
    """Sending begins when Sinch is back, and its list shows no sign of a restored database."""
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = str(reserved.getsockname()[1])
    insert(db, 5)
    with scheduler({**environment(stack, sinch), "SINCH_BASE_URL": f"http://127.0.0.1:{port}"}) as (_, log):
        assert processes.wait_until(lambda: log.has("provider.away"), WAIT_SECONDS)
        assert processes.wait_until(lambda: log.has("sending.waits"), WAIT_SECONDS)

        with process("--port", port, "--plan", sinch.plan.id, "--token", sinch.plan.token) as back:
            assert processes.wait_until(lambda: statuses(db) == {"sent": 5}, WAIT_SECONDS)
            assert log.count("provider.away", "sending.waits", "sending.begins") == [1, 1, 1]
            assert back.control.summary().messages == 5
    assert db.execute("select max(attempts) from public.outbox").fetchone() == (1,)
