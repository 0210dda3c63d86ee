"""The demo as a user runs it: real processes, judged by the simulator's books."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest


def show(*options: str, browser: Path | None = None) -> tuple[dict[str, Any], str]:
    """Run the demo to its end. Returns its summary and what it said."""
    ran = subprocess.run(
        [sys.executable, "-m", "scheduler", "demo", "--json", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **({"BROWSER": f"{browser} %s"} if browser else {})},
    )

    assert ran.returncode == 0, ran.stderr
    summary: dict[str, Any] = json.loads(ran.stdout)
    assert (summary["lost"], summary["sent_twice"], summary["sent_wrongly"], summary["stuck"]) == (0, 0, 0, 0)
    return summary, ran.stderr


def test_demo_ends_without_losses_or_duplicate_sends(tmp_path: Path) -> None:
    """One run shows all: a provider that dies, a scheduler that is killed, a night, and a burst."""
    picture, opened, browser = tmp_path / "demo.svg", tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >>{opened}\n')
    browser.chmod(0o755)

    options = ("--messages", "24", "--burst", "300", "--providers", "sinch,vonage", "--svg", str(picture), "--open")
    summary, said = show(*options, browser=browser)

    check_captions(said, picture)
    check_counts(summary)
    carried = summary["providers"]
    assert carried["sinch"]["messages"] > 0
    assert carried["vonage"]["messages"] > 0
    assert sum(figures["requests"] for figures in carried.values()) == summary["requests"]
    pages = re.findall(r"^(Sinch's phones|Vonage's phones|Dashboard): (.*)$", said, re.MULTILINE)
    assert len(pages) == 3
    assert opened.read_text().split() == [address for _, address in pages]


def check_captions(said: str, picture: Path) -> None:
    captions = re.findall(r"^demo: (.*)$", said, re.MULTILINE)
    for words in ("Sinch dies", "Sinch is back", "is killed with SIGKILL", "waits for the morning", "300 of 300 messages"):
        assert any(words in caption for caption in captions), words

    # Long lines are broken in the picture.
    shown = " ".join(" ".join(ET.parse(picture).getroot().itertext()).split())  # noqa: S314  # it is ours
    assert [caption for caption in captions if caption[:40] not in shown] == []
    assert "nothing was lost and nothing sent twice" in shown


def check_counts(summary: dict[str, Any]) -> None:
    assert (summary["messages"], summary["burst"]["messages"], summary["killed"]) == (24, 300, 1)
    assert summary["overnight"] == 1
    assert sum(summary["statuses"].values()) == 324 + summary["campaign_messages"]
    ours = {status: count - summary["reminders"].get(status, 0) for status, count in summary["statuses"].items()}
    assert (ours["suppressed"], ours["cancelled"]) == (1, 1)
    # Of six appointments an hour from now one was moved, one cancelled, and one patient opted out.
    # An hour is ahead of each, a day is past, also for the one that was moved. Another is a day from now.
    assert summary["reminders"] == {"cancelled": 2, "delivered": 5, "suppressed": 1, "too late": 7}


@pytest.mark.nightly
def test_demo_sends_ten_thousand_at_full_speed() -> None:
    summary, _ = show("--messages", "20")

    assert summary["burst"]["messages"] == 10_000
