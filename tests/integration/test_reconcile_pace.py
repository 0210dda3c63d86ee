"""Which reports are polled when, and which polls count."""

from collections.abc import Sequence
from typing import Any

import pytest

from jobs.providers.base import ProviderError
from jobs.providers.sinch.client import SinchClient
from sandbox.simulator import control as faults
from tests.engine import MakeRig, Rig, insert, later, statuses
from tests.stack import Connection

ACCEPTED = """
    insert into outbox_engine.dispatches (id, claim_id, worker, provider, plan, host, credential, expires_at, recipients,
      state, lease_token, lease_until, deadline, claimed_at, accepted_at, closed_at, batch_id, reconcile_at, reconciliations)
    select gen_random_uuid(), gen_random_uuid(), 'w', 'sinch', p.plan, p.host, 'c', outbox_engine.now() + interval '1 day', 1,
      'accepted', 1, outbox_engine.now(), '10 seconds', outbox_engine.now(), outbox_engine.now(), outbox_engine.now(),
      'B' || n, outbox_engine.now(), %s
    from generate_series(1, %s) n
    cross join outbox_engine.plans p
"""


def asked(db: Connection) -> Sequence[object]:
    """How often each dispatch with open rows was polled, and in how many minutes it is polled again."""
    return db.execute(
        "select reconciliations, round(extract(epoch from reconcile_at - outbox_engine.now()) / 60)::integer"
        " from outbox_engine.dispatches"
        " where reconcile_at is not null group by 1, 2 order by 1, 2"
    ).fetchall()


async def sent(make_rig: MakeRig, db: Connection, rows: int, *, reconciliations: int = 0, is_stuck: bool = False) -> Rig:
    """Each row in a request of its own, accepted ten minutes ago, without a report. No report will come for the stuck ones."""
    rig: Rig = await make_rig(reconcile_after_seconds=60)
    if is_stuck:
        rig.simulator.change(final_delay=86_400.0)
    db.execute("update outbox_engine.clock set frozen_at = now()")
    for row in range(rows):
        insert(db, 1, body=f"text {row} ${{}}", first=row)
    await rig.tick("dispatch")
    assert statuses(db) == {"sent": rows}
    db.execute("update outbox_engine.dispatches set reconciliations = %s", [reconciliations])
    later(db, "10 minutes")
    return rig


async def test_thousand_fully_reported_dispatches_close_in_one_run(make_rig: MakeRig, db: Connection) -> None:
    rig = await sent(make_rig, db, 1)
    db.execute(ACCEPTED, [0, 1000])

    await rig.tick("reconcile")

    assert asked(db) == [(1, 1)]
    assert rig.simulator.summary().requests == {"send": 1, "feed": 1, "list": 1}


async def test_unanswered_reconciliation_is_repeated_soon(make_rig: MakeRig, db: Connection) -> None:
    rig = await sent(make_rig, db, 5, reconciliations=3)
    rig.simulator.add(faults.unavailable_page(times=None, on="any"))

    await rig.tick("reconcile")
    assert asked(db) == [(3, 2)]

    rig.simulator.change(requests=[])
    later(db, "2 minutes")
    await rig.tick("reconcile")
    assert asked(db) == [(4, 360)]


async def test_batches_beyond_the_polling_share_stay_due(make_rig: MakeRig, db: Connection) -> None:
    rig = await sent(make_rig, db, 5, reconciliations=1)
    db.execute("update outbox_engine.plans set requests_per_minute = 15")

    await rig.tick("reconcile")

    assert asked(db) == [(1, 2), (2, 5)]
    assert rig.simulator.summary().requests["batch_report"] == 3


async def test_rejected_callbacks_bring_polling_forward_once(make_rig: MakeRig, db: Connection) -> None:
    """Anyone can send such callbacks."""
    rig = await sent(make_rig, db, 3, reconciliations=2)
    await rig.tick("reconcile")
    assert asked(db) == [(3, 30)]
    later(db, "6 minutes")

    for _ in range(5):
        db.execute("select public.outbox_record_rejected_callbacks(1)")
        await rig.tick("reconcile")
        later(db, "30 seconds")

    assert rig.simulator.summary().requests["batch_report"] == 6
    assert asked(db) == [(3, 28)]


async def test_feed_too_long_for_its_share_is_dropped(make_rig: MakeRig, db: Connection) -> None:
    """The one dispatch that the page should have covered is polled by itself the next time."""
    rig = await sent(make_rig, db, 1)
    insert(db, 150, body="big", first=1)
    await rig.tick("dispatch")
    db.execute("update outbox_engine.plans set requests_per_minute = 5")
    later(db, "10 minutes")

    await rig.tick("reconcile")

    assert rig.simulator.summary().requests == {"send": 2, "feed": 1}
    assert asked(db) == [(0, 2), (1, 1)]


async def test_batch_requested_again_during_polling_stays_due(make_rig: MakeRig, db: Connection) -> None:
    """Meanwhile a summary report arrived that names no recipients."""
    rig = await sent(make_rig, db, 1, reconciliations=1)
    (answer,) = db.execute(
        "select public.outbox_claim_reconciliation('sinch', plan, 10::smallint) -> 'batches' from outbox_engine.plans"
    )
    (batches,) = answer
    later(db, "1 second")
    db.execute("select public.outbox_reconcile_soon(%s)", [batches])

    db.execute("select public.outbox_finish_reconciliation('sinch', plan, %s, true) from outbox_engine.plans", [batches])

    assert asked(db) == [(2, 0)]
    await rig.tick("reconcile")
    assert rig.simulator.summary().requests["batch_report"] == 1


@pytest.mark.parametrize(
    "error", [ProviderError("HTTP 500", http_status=500), ProviderError("no answer: ReadTimeout")], ids=str
)
async def test_batch_without_answer_delays_no_other(
    make_rig: MakeRig, db: Connection, monkeypatch: pytest.MonkeyPatch, error: ProviderError
) -> None:
    """From then on it is polled as rarely as the others."""
    rig = await sent(make_rig, db, 3, reconciliations=1)
    rig.simulator.settle()
    [bad] = unanswerable(db, monkeypatch, error=error)

    await rig.tick("reconcile")

    assert statuses(db) == {"delivered": 2, "sent": 1}
    assert asked(db) == [(2, 5)]
    assert db.execute("select reconciled_at from outbox_engine.dispatches where batch_id = %s", [bad]).fetchone() == (None,)


async def test_many_unanswered_batches_delay_no_other(
    make_rig: MakeRig, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By processes that live for one run each as well."""
    rig = await sent(make_rig, db, 12, reconciliations=1)
    rig.simulator.settle()
    unanswerable(db, monkeypatch, 8)

    for _ in range(30):
        rig = await make_rig(reconcile_after_seconds=60)
        await rig.tick("reconcile")
        later(db, "2 minutes")
        if statuses(db).get("delivered") == 4:
            break

    assert statuses(db) == {"sent": 8, "delivered": 4}


async def test_partially_read_feed_settles_no_batch(make_rig: MakeRig, db: Connection) -> None:
    """The share of requests for polling was used up before the list ended."""
    rig = await sent(make_rig, db, 120)
    rig.simulator.settle()
    db.execute("update outbox_engine.plans set requests_per_minute = 6")

    await rig.tick("reconcile")

    assert rig.simulator.summary().requests["feed"] == 1
    assert db.execute(
        "select count(*) from outbox_engine.dispatches where reconciliations = 1 and reconciled_at is null"
    ).fetchone() == (120,)


async def test_failing_feed_falls_back_to_single_batches(
    make_rig: MakeRig, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await sent(make_rig, db, 3)
    rig.simulator.settle()
    db.execute(
        "update outbox_engine.dispatches set reconciliations = 1"
        " where id = (select min(id::text)::uuid from outbox_engine.dispatches)"
    )

    async def no_feed(*_: Any, **__: Any) -> Any:
        raise ProviderError("HTTP 500", http_status=500)

    monkeypatch.setattr(SinchClient, "finished_reports", no_feed)
    await rig.tick("reconcile")
    assert statuses(db) == {"delivered": 1, "sent": 2}
    later(db, "1 minute")
    await rig.tick("reconcile")

    assert statuses(db) == {"delivered": 3}


async def test_batch_without_answer_is_eventually_given_up(
    make_rig: MakeRig, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the provider has forgotten it."""
    rig = await sent(make_rig, db, 1, reconciliations=1)
    unanswerable(db, monkeypatch)

    for _ in range(13):
        await rig.tick("reconcile")
        later(db, "1 day")
    assert statuses(db) == {"sent": 1}
    for _ in range(2):
        later(db, "1 day")
        await rig.tick("reconcile")

    assert statuses(db) == {"unknown": 1}


@pytest.mark.parametrize("hours", [2, 8, 24])
async def test_unreported_row_ends_even_with_rare_runs(make_rig: MakeRig, db: Connection, hours: int) -> None:
    """As `outbox run --once` does."""
    rig = await sent(make_rig, db, 1, reconciliations=3, is_stuck=True)
    for _ in range(4 * 24 // hours):
        await rig.tick("reconcile", "upkeep")
        later(db, f"{hours} hours")
    assert "unknown" not in statuses(db)
    for _ in range(2 * 24 // hours):
        later(db, f"{hours} hours")
        await rig.tick("reconcile", "upkeep")

    assert statuses(db) == {"unknown": 1}


def unanswerable(
    db: Connection,
    monkeypatch: pytest.MonkeyPatch,
    count: int = 1,
    *,
    error: ProviderError = ProviderError("HTTP 500", http_status=500),  # noqa: B008  # is raised and not changed
) -> list[str]:
    """Have the provider answer nothing about the batches that are polled first. Yields their ids."""
    first = db.execute("select batch_id from outbox_engine.dispatches order by accepted_at, batch_id limit %s", [count])
    bad, ask = [str(batch) for (batch,) in first], SinchClient.batch_reports

    async def reports(client: SinchClient, batch_ids: Sequence[str], *, deadline: float) -> Any:
        if not set(batch_ids).isdisjoint(bad):
            raise error
        return await ask(client, batch_ids, deadline=deadline)

    monkeypatch.setattr(SinchClient, "batch_reports", reports)
    return bad
