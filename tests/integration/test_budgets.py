"""Budgets are exact: sent messages are counted once, however many attempts they took, and a preview predicts the same."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from sandbox.simulator.control import throttle
from tests.calls import claim_all
from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks, Rig, statuses
from tests.races import overlap
from tests.stack import Connection

NOON = "2026-11-24 12:00+00"


@pytest.fixture(autouse=True)
def _noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOON)
    template(db)


def spent(db: Connection) -> list[tuple[Any, ...]]:
    return db.execute("select day::text, parts from outbox_engine.campaign_spend where parts <> 0 order by day").fetchall()


def sent_parts(db: Connection) -> int:
    return sum(int(parts) for status, parts in rows(db, "status, parts") if status == "sent")


def foreseen(db: Connection) -> list[str | None]:
    found = db.execute("select jsonb_array_elements(public.outbox_preview_campaign('c', 100)) ->> 'problem'").fetchall()
    return [None if problem is None else str(problem) for (problem,) in found]


async def test_budget_counts_the_longer_text_of_a_retry(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The first attempt was throttled and counted with the shorter text."""
    campaign(db, schedule="once", starts_at=NOON, budget_parts=5)
    for n in range(2):
        member(db, str(n), n=n)
    rig.simulator.add(throttle(retry_after="1"))
    await rig.tick("campaigns", "dispatch")
    assert spent(db) == [("2026-11-24", 2)]

    db.execute("update public.outbox_templates set body = body || repeat('x', 600)")
    assert foreseen(db) == [None, "budget_parts 5 of the campaign reached"]
    clocks.move("2 minutes")
    await rig.tick("dispatch")

    # The second member's first attempt stays counted: it was claimed, and not sent since.
    assert statuses(db) == {"sent": 1, "suppressed": 1}
    assert (sent_parts(db), spent(db)) == (4, [("2026-11-24", 5)])


async def test_claims_of_two_plans_share_a_budget(db: Connection, other: Connection, rig: Rig) -> None:
    """Each claims one row at the same moment, and there is budget for one."""
    campaign(db, schedule="once", starts_at=NOON, budget_parts=1)
    for n in range(2):
        member(db, str(n), n=n)
    await rig.tick("campaigns")

    overlap(db, lambda: claim_all(db, rate=1), lambda: claim_all(other, plan="q", rate=1))

    assert statuses(db) == {"sending": 1, "suppressed": 1}
    assert spent(db) == [("2026-11-24", 1)]


async def test_throttled_attempt_counts_on_the_day_of_retry(db: Connection, rig: Rig, clocks: Clocks) -> None:
    clocks.set("2026-11-24 23:50+00")
    campaign(db, schedule="cron", cron_expression="58 23 * * *", timezone="UTC", late_limit="2 hours", daily_budget_parts=2)
    for n in range(2):
        member(db, str(n), n=n, zone=None)
    await rig.tick("campaigns")
    rig.simulator.add(throttle(retry_after="600"))
    clocks.set("2026-11-24 23:58:30+00")
    await rig.tick("campaigns", "dispatch")
    assert spent(db) == [("2026-11-24", 2)]

    clocks.set("2026-11-25 00:09:30+00")
    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 2}
    assert spent(db) == [("2026-11-25", 2)]


@pytest.mark.parametrize("budget", ["budget_parts", "daily_budget_parts"])
async def test_one_claim_spends_no_more_than_a_budget(db: Connection, rig: Rig, budget: str) -> None:
    campaign(db, schedule="once", starts_at=NOON)
    db.execute(f"update public.outbox_campaigns set {budget} = 2")
    for n in range(3):
        member(db, str(n), n=n)

    await rig.tick("campaigns", "dispatch")

    assert statuses(db) == {"sent": 2, "suppressed": 1}
    assert spent(db) == [("2026-11-24", 2)]


async def test_preview_counts_a_throttled_message_only_once(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, schedule="once", starts_at=NOON, budget_parts=2)
    for n in range(2):
        member(db, str(n), n=n)
    rig.simulator.add(throttle(retry_after="1"))
    await rig.tick("campaigns", "dispatch")

    assert foreseen(db) == [None, None]
    clocks.move("2 minutes")
    await rig.tick("dispatch")
    assert statuses(db) == {"sent": 2}


def test_concurrent_campaign_claims_and_refusals_never_deadlock(stack: LocalStack, db: Connection) -> None:
    campaign(db, schedule="once", starts_at=NOON)
    for n in range(200):
        member(db, str(n), n=n)
    db.execute("select public.outbox_expand_campaigns(1000)")
    failures: list[psycopg.Error] = []

    def work(worker: str) -> None:
        with psycopg.connect(stack.admin_url, autocommit=True) as connection:
            for dispatch in claimed(connection, worker):
                try:
                    connection.execute(
                        "select public.outbox_refuse(%s, %s, 'recipient', 'to[3] is no number', 400::smallint, null, %s, 30)",
                        (dispatch["dispatch_id"], dispatch["lease_token"], worker),
                    )
                except psycopg.Error as failure:
                    failures.append(failure)

    def claimed(connection: Connection, worker: str) -> Iterator[dict[str, Any]]:
        for _ in range(20):
            try:
                row = connection.execute(
                    "select public.outbox_claim_due(%s, %s, 'sinch', 'p', 'h', 'c', 30, 10, 8::smallint, 10::smallint, 2000,"
                    " null, 600000, null, true)",
                    (uuid4(), worker),
                ).fetchone()
            except psycopg.Error as failure:
                failures.append(failure)
                continue
            assert row is not None
            assert isinstance(row[0], dict)
            yield from row[0]["dispatches"]

    workers = [threading.Thread(target=work, args=(f"worker {n}",)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert failures == []
