"""What `make setup` says while it works."""

import subprocess
from pathlib import Path

SETUP = Path(__file__).parents[2] / ".ci" / "setup"
STEP = f"set -euo pipefail; eval \"$(sed -n '/^step()/,/^}}/p' {SETUP})\"; "


def ran(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["bash", "-c", STEP + script], capture_output=True, text=True, check=False, timeout=10)


def test_step_says_what_and_how_long() -> None:
    """It ends with its command: nothing holds the pipe that it writes to."""
    done = ran('step "making tea, 0.2 l" "three minutes" echo ready')

    assert (done.returncode, done.stdout) == (0, "setup: making tea, 0.2 l, three minutes\nready\n")


def test_failed_step_ends_the_setup() -> None:
    done = ran('step "making tea" "three minutes" bash -c "exit 7"; echo never')

    assert (done.returncode, done.stdout) == (7, "setup: making tea, three minutes\n")


def test_long_step_says_that_it_goes_on() -> None:
    """A sleep of no length stands for half a minute."""
    done = ran('sleep() { command sleep 0.02; }; step "making tea" "three minutes" command sleep 0.3')

    assert "setup: still at it after 0 seconds: making tea" in done.stdout.splitlines()


def test_each_installation_is_a_step() -> None:
    text = SETUP.read_text().split("step() {")[1].replace("\\\n", "")
    lines = [line.partition("#")[0] for line in text.splitlines()]

    installs = [line.strip() for line in lines if " pip install " in line or " install_node " in line or "-m venv " in line]
    assert len(installs) > 5
    assert [line for line in installs if not line.startswith("step ")] == []
