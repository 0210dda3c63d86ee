"""The demo as a user runs it: real processes, judged by the simulator's books."""

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from sandbox.demo.interrupts import Interrupted, interruptible
from sandbox.demo.verdict import Count, compare, together
from sandbox.demo.work import Message, plan_work
from sandbox.simulator.books import Tally


def show(*options: str) -> tuple[dict[str, Any], str]:
    """Run the demo to its end. Returns its summary and what it said."""
    ran = subprocess.run(
        [sys.executable, "-m", "scheduler", "demo", "--exit", "--json", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    summary: dict[str, Any] = json.loads(ran.stdout)
    assert (summary["lost"], summary["sent_twice"], summary["sent_wrongly"], summary["stuck"]) == (0, 0, 0, 0)
    return summary, ran.stderr


def test_demo_ends_without_losses_or_duplicate_sends(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    summary, said = show("--messages", "60", "--burst", "300", "--svg", str(picture))

    # Long lines are broken in the picture.
    words = " ".join(" ".join(ET.parse(picture).getroot().itertext()).split())  # noqa: S314  # it is ours
    assert "nothing was lost and nothing sent twice" in words
    captions = re.findall(r"^demo: (.*)$", said, re.MULTILINE)
    assert [caption for caption in captions if caption[:40] not in words] == []

    assert summary["messages"] == 60
    ours = {status: count - summary["reminders"].get(status, 0) for status, count in summary["statuses"].items()}
    assert sum(ours.values()) == 360
    assert sum(summary["statuses"].values()) == 360 + summary["reminder_messages"]
    assert (summary["killed"], summary["burst"]["messages"]) == (1, 300)
    assert "is killed with SIGKILL" in said
    assert ours["suppressed"] == 1
    assert ours["cancelled"] == 1
    # Of six appointments an hour from now one was moved, one cancelled, and one patient opted out.
    # An hour is ahead of each, a day is past, also for the one that was moved. Another is a day from now.
    assert summary["reminders"] == {"cancelled": 2, "delivered": 5, "suppressed": 1, "too late": 7}


@pytest.mark.nightly
def test_demo_sends_ten_thousand_at_full_speed() -> None:
    summary, _ = show("--messages", "20")

    assert summary["burst"]["messages"] == 10_000


def test_demo_sends_through_vonage_while_sinch_is_away() -> None:
    summary, said = show("--messages", "24", "--burst", "0", "--providers", "sinch,vonage")

    assert "demo: Sinch dies" in said
    assert "demo: Sinch is back" in said
    carried = summary["providers"]
    assert carried["sinch"]["messages"] > 0
    assert carried["vonage"]["messages"] > 0
    assert sum(figures["requests"] for figures in carried.values()) == summary["requests"]


def test_verdict_sums_the_books_of_both_providers() -> None:
    wanted = Message("+12025550101", "once")
    at_sinch = Tally(recipient="12025550101", body="once", accepted=1, excused=0, batch_ids=["A"])
    at_vonage = Tally(recipient="12025550101", body="once", accepted=1, excused=0, batch_ids=["B"])
    stopped = Tally(recipient="12025550101", body="once", accepted=1, excused=1, batch_ids=["C"])

    assert compare([wanted], together([at_sinch, at_vonage])) == Count(lost=0, sent_twice=1, sent_wrongly=0)
    assert compare([wanted], together([stopped, at_vonage])) == Count(lost=0, sent_twice=0, sent_wrongly=0)


@pytest.mark.parametrize("messages", [1, 19, 20, 500, 5000])
def test_work_has_requested_size_and_no_repeated_text(messages: int) -> None:
    """No recipient gets the same text twice."""
    rows = plan_work(messages).messages

    assert len(rows) == messages
    assert len({(message.recipient, message.text) for message in rows}) == messages


def test_one_seed_plans_the_same_work_again() -> None:
    began = datetime(2026, 3, 2, tzinfo=UTC)

    assert plan_work(300, seed=7, began=began) == plan_work(300, seed=7, began=began)
    assert plan_work(300, seed=7, began=began) != plan_work(300, seed=8, began=began)


def test_verdict_counts_lost_duplicate_and_wrong_sends() -> None:
    """The counts come from the provider's books."""
    due = Message("+12025550101", "once")
    lost = Message("+12025550102", "never came")
    held = Message("+12025550103", "opted out", sent=False)
    books = [
        Tally(recipient="12025550101", body="once", accepted=2, excused=0, batch_ids=["A", "B"]),
        Tally(recipient="12025550103", body="opted out", accepted=1, excused=0, batch_ids=["A"]),
    ]

    assert compare([due, lost, held], books) == Count(lost=1, sent_twice=1, sent_wrongly=1)


def test_ctrl_c_ends_as_interrupted_despite_other_errors() -> None:
    def query() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except Interrupted:
            raise OSError("another command is already in progress") from None

    with pytest.raises(Interrupted), interruptible():
        query()
