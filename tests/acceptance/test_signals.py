"""A process ends after SIGTERM or SIGINT, whatever its threads do."""

import signal
import subprocess
import sys

import pytest

A_WHILE = 30.0
STUCK = """
import asyncio, threading
from scheduler.signals import on_stop

async def main():
    on_stop(lambda: print("stopping", flush=True), exit_code=3, exit_seconds={seconds})
    print("ready", flush=True)
    await asyncio.to_thread(threading.Event().wait)

asyncio.run(main())
"""


def stuck(seconds: float) -> "subprocess.Popen[str]":
    """A process with a thread that never ends. Returns once the process handles signals."""
    child = subprocess.Popen([sys.executable, "-c", STUCK.format(seconds=seconds)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stuck_thread_is_abandoned_at_the_deadline(number: signal.Signals) -> None:
    with stuck(0.1) as child:
        child.send_signal(number)

        assert child.wait(A_WHILE) == 3


def test_ctrl_c_after_sigterm_exits_immediately() -> None:
    """A second SIGTERM keeps waiting for open work."""
    with stuck(600) as child:
        assert child.stdout is not None
        for number in (signal.SIGTERM, signal.SIGTERM):
            child.send_signal(number)
        assert child.stdout.readline() == "stopping\n"
        assert child.poll() is None

        child.send_signal(signal.SIGINT)

        assert child.wait(A_WHILE) == 128 + signal.SIGINT
        assert child.stdout.read() == ""
