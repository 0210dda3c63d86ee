"""What the status, the figures and a trace count, and up to when."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from jobs.gateway.operating import Operating
from sandbox.local.stack import LocalStack
from tests.calls import DEADLINE_SECONDS, LEASE_SECONDS, claim, find_nothing
from tests.engine import Rig, insert, later, supabase_settings
from tests.integration.replies import NOW, PHONE, text_in
from tests.refusing import Sending, insert_many, refusing_text
from tests.stack import Connection


@pytest.fixture(autouse=True)
def _noon(db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = %s", [NOW])


@pytest.fixture
async def operating(stack: LocalStack) -> AsyncIterator[Operating]:
    operating = await Operating.connect(supabase_settings(stack))
    yield operating
    await operating.aclose()


@pytest.mark.parametrize(("after", "silent"), [(-1, 0), (0, 1)])
async def test_worker_is_silent_after_lease_and_deadline(operating: Operating, db: Connection, after: int, silent: int) -> None:
    insert(db)
    claim(db)
    later(db, f"{LEASE_SECONDS + DEADLINE_SECONDS + after} seconds")

    requests = (await operating.status()).requests

    assert (requests.in_flight, requests.silent) == (1, silent)


async def test_watched_request_is_not_ambiguous(operating: Operating, db: Connection) -> None:
    """Two lookups did not find it."""
    insert(db)
    claim(db)
    find_nothing(db)

    requests = (await operating.status()).requests

    assert (requests.watched, requests.ambiguous, requests.ambiguous_messages) == (1, 0, 0)


async def test_held_messages_are_not_scheduled(operating: Operating, db: Connection) -> None:
    """They wait until they expire. The next scheduled message is another one."""
    insert_many(db, 5, body="wrong")
    Sending(db, refusing_text("wrong")).tick()
    (again,) = insert(db)
    insert(db)
    db.execute(
        "insert into outbox_engine.adopted_messages"
        " (provider, plan, batch_id, reference, recipient, sent_at, outbox_id, kept_until)"
        " select 'sinch', 'p', 'b', gen_random_uuid(), recipient, send_at, id, expires_at from public.outbox where id = %s",
        [again],
    )
    db.execute("update public.outbox set queue = 'w', due_at = expires_at where id = %s", [again])
    insert(db, send_at=NOW + timedelta(days=9))

    backlog = (await operating.status()).backlog
    trace = await operating.trace(again, show_body=False)

    assert (backlog.due.count, backlog.scheduled.count, backlog.held.count) == (1, 1, 3)
    assert backlog.next_due_at == NOW + timedelta(days=9)
    assert trace is not None
    assert trace.message["tried_again_at"] is None


async def test_process_that_ended_is_not_silent(operating: Operating, db: Connection) -> None:
    beat = "select outbox_engine.record_heartbeat('dispatch', 'sinch', 'p', %s)"
    for worker in ("ended", "silent"):
        db.execute(beat, [worker])
    db.execute("select public.outbox_end_process('ended')")
    assert [process.worker for process in (await operating.status()).processes] == ["silent"]

    later(db, "11 seconds")
    db.execute(beat, ["ended"])
    assert [process.worker for process in (await operating.status()).processes] == ["ended", "silent"]


async def test_drained_process_says_that_it_ended(operating: Operating, rig: Rig) -> None:
    await rig.tick("dispatch")
    assert len((await operating.status()).processes) == 1

    await rig.dispatcher.drain()

    assert (await operating.status()).processes == ()


async def test_figures_of_one_day_are_todays(operating: Operating, db: Connection) -> None:
    insert(db)
    later(db, "1 day")
    insert(db, 2)

    figures = (await operating.daily_figures(days=1)).figures

    assert [(f.day, f.messages) for f in figures] == [((NOW + timedelta(days=1)).date(), 2)]


@pytest.mark.parametrize(("hours", "shown"), [(7 * 24, True), (7 * 24 + 1, False)])
async def test_trace_shows_replies_of_a_week(operating: Operating, db: Connection, hours: int, shown: bool) -> None:
    """A week from the end of the message."""
    (row,) = insert(db, first=1)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [row])
    later(db, "30 days")
    text_in(db, "thanks", phone=PHONE, ago=-hours * 3600)

    trace = await operating.trace(row, show_body=False)

    assert trace is not None
    assert ("inbound" in [happening.event for happening in trace.timeline]) == shown


async def test_trace_of_a_ready_row_names_no_retry(operating: Operating, db: Connection) -> None:
    (row,) = insert(db)

    trace = await operating.trace(row, show_body=False)

    assert trace is not None
    assert trace.message["tried_again_at"] is None


async def test_an_id_counts_before_an_idempotency_key(operating: Operating, db: Connection) -> None:
    (row,) = insert(db)
    (keyed,) = insert(db, idempotency_key=str(row))

    by_any = await operating.find(str(row))
    by_key = await operating.find(str(row), read_as="idempotency_key")

    assert ([found.id for found in by_any.messages], [found.id for found in by_key.messages]) == ([row], [keyed])
