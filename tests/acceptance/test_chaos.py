"""A short run of ``make chaos``: real processes, really killed, judged by the simulator's books."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from sandbox.simulator.books import Tally
from sandbox.simulator.callbacks import Tried
from tests.chaos.fates import Row, fate
from tests.chaos.judge import Verdict, callbacks, statuses_kept
from tests.nightly import at_night
from tests.older_release import wheels

COMMAND = [sys.executable, "-m", "tests.chaos"]
QUICK = ["--lease", "3", "--settle", "2.5"]


@pytest.mark.parametrize(
    ("messages", "seconds", "pace", "seed"),
    [(250, 5, 1.2, 1), at_night(1200, 8, 0.8, 1), *(at_night(6000, 45, 0.8, seed) for seed in (2, 3, 4))],
)
def test_nothing_is_lost_or_sent_twice_in_chaos(tmp_path: Path, messages: int, seconds: int, pace: float, seed: int) -> None:
    """Every event of a message also reaches a server, which refuses some."""
    verdict = judge(tmp_path, messages, "--seconds", seconds, "--pace", pace, "--seed", seed, "--events")

    events = verdict["events"]
    assert [events[name] for name in ("lost", "unsigned", "changed", "left")] == [0] * 4
    assert events["arrived"] >= messages
    assert events["refused"] > 0


@pytest.mark.parametrize(("messages", "seconds", "pace", "seed"), [at_night(300, 5, 1.2, 1), at_night(3000, 25, 0.8, 2)])
def test_only_unknown_outcomes_stay_unknown_at_vonage(
    tmp_path: Path, messages: int, seconds: int, pace: float, seed: int
) -> None:
    verdict = judge(tmp_path, messages, "--provider", "vonage", "--seconds", seconds, "--pace", pace, "--seed", seed)

    assert (verdict["unsaid"], verdict["resent"]) == (0, 0)


@pytest.mark.parametrize("weights", [at_night("50,50")])
def test_two_providers_lose_and_double_nothing(tmp_path: Path, weights: str) -> None:
    options = ("--providers", "sinch,vonage", "--weights", weights, "--away", 10, "--pace", 0.8, "--seed", 3)

    verdict = judge(tmp_path, 3000, *options)

    assert verdict["unsaid"] == 0
    assert verdict["failover"]["failover_longest"] is not None
    assert verdict["moved"] > 0


@pytest.mark.parametrize("seed", [at_night(1), at_night(2)])
def test_clock_steps_of_an_hour_cost_no_message(tmp_path: Path, seed: int) -> None:
    judge(tmp_path, 6000, "--seconds", 45, "--pace", 0.8, "--seed", seed, "--clock-steps")


@pytest.mark.parametrize(("wheel", "seed"), [at_night(wheel, seed) for wheel in wheels() for seed in (1, 2)])
def test_chaos_beside_an_earlier_release(tmp_path: Path, wheel: Path, seed: int) -> None:
    """During an upgrade processes of both releases work on one database, which has the newer schema."""
    judge(tmp_path, 3000, "--seconds", 25, "--pace", 0.8, "--seed", seed, "--beside", wheel)


def judge(folder: Path, messages: int, *options: object) -> dict[str, Any]:
    """Run the command, and hold its verdict against what may never happen."""
    ran = subprocess.run(
        [*COMMAND, *QUICK, "--messages", str(messages), *map(str, options), "--json", "--folder", str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    verdict: dict[str, Any] = json.loads(ran.stdout)
    wrong = ("lost", "sent_twice", "sent_wrongly", "open_rows", "callbacks_missing")
    assert [verdict[name] for name in wrong] == [0] * len(wrong), ran.stderr
    assert sum(verdict["statuses"].values()) == messages
    assert sum(verdict["disturbances"].values()) > 3
    assert verdict["callbacks"] > messages
    return verdict


def test_interrupted_run_leaves_no_processes_or_files(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*COMMAND, *QUICK, "--messages", "800"], stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        assert any(" rows: " in line for line in running.stdout)
        started = psutil.Process(running.pid).children(recursive=True)
        assert len(started) > 6

        running.send_signal(signal.SIGINT)
        running.stdout.read()

    assert running.returncode == 128 + signal.SIGINT
    assert not [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert list(tmp_path.iterdir()) == []


def test_each_broken_promise_is_named() -> None:
    kept = Verdict(
        seed=1,
        messages=10,
        lost=0,
        sent_twice=0,
        sent_wrongly=0,
        open_rows=0,
        callbacks=20,
        callbacks_missing=0,
        recovery=8.9,
        recovery_limit=9.0,
        statuses={"delivered": 10},
        disturbances={},
        requests={},
        batches=1,
        found=0,
        resent=0,
        seconds=1.0,
    )

    assert kept.broken == []
    broken = {**kept.as_dict(), "lost": 1, "sent_twice": 2, "open_rows": 3, "callbacks_missing": 4, "recovery": 9.1}
    del broken["broken"]
    assert msgspec.convert(broken, Verdict).broken == [
        "1 lost",
        "2 sent twice",
        "3 without a final status",
        "4 callbacks acknowledged and not kept",
        "recovered after 9.1 s, later than 9.0 s",
    ]


def test_acknowledged_but_unstored_callbacks_are_counted() -> None:
    def tried(status: int, recipient: str) -> Tried:
        body = {
            "type": "recipient_delivery_report_sms",
            "batch_id": "A",
            "recipient": recipient,
            "status": "Delivered",
            "code": 0,
            "at": "2026-01-01T00:00:00.000Z",
        }
        return Tried(at=0, url="", status=status, body=msgspec.Raw(msgspec.json.encode(body)))

    kept = [("A", "1", "Delivered", "0", "2026-01-01T00:00:00.000Z")]

    assert callbacks([tried(204, "1"), tried(204, "1"), tried(503, "2")], kept) == (1, 0)
    assert callbacks([tried(204, "1"), tried(204, "2")], kept) == (2, 1)


def test_acknowledged_but_unstored_statuses_are_counted() -> None:
    def tried(status: int, name: str, code: str) -> Tried:
        body = {"message_uuid": name, "status": "rejected", "timestamp": "2026-01-01T00:00:00Z", "error": {"title": code}}
        return Tried(at=0, url="", status=status, body=msgspec.Raw(msgspec.json.encode(body)))

    kept = [("A", 1330, datetime(2026, 1, 1, tzinfo=UTC))]

    assert statuses_kept([tried(200, "A", "1330"), tried(200, "A", "1330"), tried(503, "B", "1330")], kept) == (1, 0)
    assert statuses_kept([tried(200, "A", "1330"), tried(200, "A", "1360"), tried(200, "B", "1330")], kept) == (3, 2)


@pytest.mark.parametrize(
    ("accepted", "excused", "row", "expected"),
    [
        (1, 0, Row("delivered", None, "A"), "told"),
        (1, 0, Row("unknown", None, "A"), "told"),
        (1, 1, Row("aborted", "1000", "A"), "told"),
        (1, 0, Row("unknown", "no trace", None), "unknown_accepted"),
        (1, 0, Row("failed", "refused", None), "unsaid"),
        (1, 0, Row("delivered", None, "B"), "unsaid"),
        (0, 0, Row("unknown", "no trace", None), "unknown_lost"),
        (1, 1, Row("unknown", "no trace", None), "unknown_lost"),
        (0, 0, Row("failed", "refused", None), "told"),
        (0, 0, Row("unknown", None, None), "lost"),
        (0, 0, Row("failed", None, None), "lost"),
        (0, 0, Row("delivered", None, "B"), "lost"),
        (0, 0, Row("sending", None, None), "lost"),
        (0, 0, None, "lost"),
    ],
)
def test_row_must_say_what_the_provider_did(accepted: int, excused: int, row: Row | None, expected: str) -> None:
    tally = Tally(recipient="1", body="t", accepted=accepted, excused=excused, batch_ids=["A"]) if accepted else None

    assert fate(tally, row) == expected
