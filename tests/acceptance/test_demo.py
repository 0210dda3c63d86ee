"""The demo as a user runs it: real processes, judged by the simulator's books."""

import json
import subprocess
import sys

import pytest

from sandbox.demo.work import plan_work


def test_the_demo_ends_by_itself_with_nothing_lost_or_sent_twice() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "scheduler", "demo", "--messages", "60", "--exit", "--json"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["messages"] == 60
    assert (summary["lost"], summary["sent_twice"], summary["sent_wrongly"], summary["stuck"]) == (0, 0, 0, 0)
    assert sum(summary["statuses"].values()) == 60
    assert summary["statuses"]["suppressed"] == 1
    assert summary["statuses"]["cancelled"] == 1


@pytest.mark.parametrize("messages", [1, 19, 20, 500])
def test_the_work_is_as_many_rows_as_asked_for_and_no_text_goes_to_a_number_twice(messages: int) -> None:
    work = plan_work(messages)

    assert len(work.rows) == messages
    assert len(work.once) + len(work.never) == messages
