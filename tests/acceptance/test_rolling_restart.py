"""Replacing processes one by one while messages go out, as a rollout does."""

import signal
from contextlib import ExitStack

from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests.acceptance.test_run import environment, scheduler
from tests.engine import insert, statuses
from tests.stack import Connection

WAIT_SECONDS = 60.0
ROWS = 400


def test_rolling_restart_loses_nothing_and_needs_no_recovery(stack: LocalStack, sinch: Running, db: Connection) -> None:
    settings = {**environment(stack, sinch), "SINCH_MESSAGES_PER_SECOND": "60"}
    sinch.control.change(latency=(0.05, 0.2))
    insert(db, ROWS)

    with ExitStack() as open_processes:
        old = [open_processes.enter_context(scheduler(settings)) for _ in range(2)]
        assert processes.wait_until(lambda: statuses(db).get("sent", 0) > 0, WAIT_SECONDS)
        for process, _ in old:
            open_processes.enter_context(scheduler(settings))
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        assert processes.wait_until(lambda: statuses(db) == {"sent": ROWS}, WAIT_SECONDS)

    books = sinch.control.summary()
    assert (books.messages, books.sent_twice) == (ROWS, 0)
    assert db.execute("select distinct event, source from public.outbox_events").fetchall() == [("accepted", "engine")]
