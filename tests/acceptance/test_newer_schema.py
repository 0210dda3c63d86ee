"""`outbox run` while a newer version of the schema is applied to its database."""

from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests.acceptance.test_run import environment, scheduler
from tests.engine import insert, statuses
from tests.stack import Connection

WAIT_SECONDS = 60.0
ROWS = 200


def apply(db: Connection, *, breaking: bool) -> None:
    db.execute("insert into outbox_engine.schema_versions (version, breaking, release) values (9999, %s, '99.0.0')", [breaking])


def test_breaking_version_ends_a_running_process(stack: LocalStack, sinch: Running, db: Connection) -> None:
    settings = {**environment(stack, sinch), "SINCH_MESSAGES_PER_SECOND": "20"}
    sinch.control.change(latency=(0.5, 1.0))
    insert(db, ROWS)

    with scheduler(settings) as (process, log):
        assert processes.wait_until(lambda: sinch.control.summary().messages > 0, WAIT_SECONDS)
        apply(db, breaking=True)
        assert process.wait(timeout=WAIT_SECONDS) == 1

        (line,) = log.plain()
        assert line.startswith("outbox: the database has schema version 9999 (release 99.0.0)")
        assert log.count("schema.unfit", "scheduler.stopped", "work.cut_off", "tick.failed") == [1, 1, 0, 0]

    books = sinch.control.summary()
    assert statuses(db) == {"sent": books.messages, "pending": ROWS - books.messages}
    assert db.execute("select count(*) from outbox_engine.dispatches where state = 'claimed'").fetchone() == (0,)


def test_harmless_version_is_warned_of_once(stack: LocalStack, sinch: Running, db: Connection) -> None:
    settings = {**environment(stack, sinch), "DISPATCH_INTERVAL_SECONDS": "0.2"}

    with scheduler(settings) as (process, log):
        apply(db, breaking=False)
        assert processes.wait_until(lambda: log.has("schema.newer"), WAIT_SECONDS)
        insert(db)
        assert processes.wait_until(lambda: statuses(db) == {"sent": 1}, WAIT_SECONDS)

        assert process.poll() is None
        assert log.count("schema.newer", "schema.unfit") == [1, 0]
    assert db.execute("select public.outbox_schema_version() -> 'processes'").fetchone() == (1,)
