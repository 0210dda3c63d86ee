"""The content of a campaign's report, also long after its messages were deleted."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from jobs.gateway.campaigning import Campaigning
from jobs.gateway.gateway import Gateway
from tests.calls import accept, claim
from tests.campaigns import campaign, member, template
from tests.engine import Clocks, Rig, number
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
UPKEEP = "select public.outbox_upkeep(90, null, %s)"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)


def report(db: Connection, name: str = "c") -> dict[str, Any]:
    answer: Any = db.execute("select public.outbox_campaign_report(%s)", [name]).fetchone()
    return dict(answer[0])


def reported(db: Connection, n: int, status: str, code: str) -> None:
    """A delivery report about each message to the nth number."""
    db.execute(
        "select public.outbox_record_reports('webhook', array_agg(batch_id), array_agg(recipient), array_agg(%s::text),"
        " array_agg(%s::text), array_agg(''::text), array_agg(''::text), array_agg('{}'::text))"
        " from public.outbox where recipient = %s",
        [status, code, number(n)],
    )


def stops(db: Connection, n: int) -> None:
    db.execute("insert into public.outbox_suppressions (recipient, reason, by_engine) values (%s, 'STOP', true)", [number(n)])


async def send(rig: Rig, db: Connection, clocks: Clocks) -> None:
    """Reminders: 1 is delivered, 2 fails, 3 and 6 are delivered and opt out, and 4 opted out before."""
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'said so')", [number(4)])
    campaign(db, offsets=["-1 hour"])
    for n in (1, 2, 3, 4, 6):
        member(db, str(n), n=n, event_at="2026-11-24 13:30+00")
    clocks.move("30 minutes")
    await rig.tick("campaigns", "dispatch")
    for n, status, code in ((1, "Delivered", "0"), (2, "Failed", "402"), (3, "Delivered", "0"), (6, "Delivered", "0")):
        reported(db, n, status.lower(), code)


async def test_report_is_unchanged_after_retention(rig: Rig, db: Connection, clocks: Clocks) -> None:
    await send(rig, db, clocks)
    member(db, "again", n=3, event_at="2026-11-24 14:30+00")
    clocks.move("1 hour")
    await rig.tick("campaigns", "dispatch")
    reported(db, 3, "delivered", "0")
    clocks.move("1 minute")
    for n in (3, 6):
        stops(db, n)
    before = report(db)
    assert (before["sent"], before["opted_out"]) == (5, 2)
    assert before["statuses"] == {"delivered": 4, "failed": 1}

    clocks.move("91 days")
    while db.execute("select from public.outbox").fetchone() is not None:
        db.execute(UPKEEP, [1])

    after = report(db)
    kept = ("sent", "opted_out", "forgotten", "statuses", "undelivered", "skipped", "countries")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert [(step["at"], step["sent"], step["delivered"], step["failed"]) for step in after["timeline"]] == [
        ("2026-11-24T00:00:00+00:00", 5, 4, 1)
    ]
    assert after["step_seconds"] == 86400


async def test_old_messages_and_young_ones_are_counted_together(rig: Rig, db: Connection, clocks: Clocks) -> None:
    await send(rig, db, clocks)
    clocks.move("80 days")
    member(db, "young", n=7, event_at="2027-02-12 14:00+00")
    clocks.move("1 hour")
    await rig.tick("campaigns", "dispatch")
    reported(db, 7, "delivered", "0")
    clocks.move("11 days")
    db.execute(UPKEEP, [1000])

    found = report(db)
    assert found["statuses"] == {"delivered": 4, "failed": 1}
    assert (found["sent"], found["forgotten"]) == (5, 0)
    assert [step["sent"] for step in found["timeline"] if step["sent"]] == [4, 1]


async def test_operators_suppressions_do_not_count_as_opt_outs(rig: Rig, db: Connection, clocks: Clocks) -> None:
    """Only replies and the provider's reports count."""
    await send(rig, db, clocks)
    clocks.move("1 minute")
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'spring clean')", [number(1)])
    db.execute("select public.outbox_import_suppressions(array[%s], '{old list}', '{operator}')", [number(2)])

    assert report(db)["opted_out"] == 0


async def test_opt_outs_during_a_request_are_not_counted(rig: Rig, db: Connection, clocks: Clocks) -> None:
    """Another message was their cause. Nor are they after retention."""
    campaign(db, schedule="once", starts_at=NOW)
    member(db)
    await rig.tick("campaigns")
    dispatch = claim(db)
    stops(db, 1)
    clocks.move("1 minute")
    accept(db, dispatch, "B1")
    reported(db, 1, "delivered", "0")
    before = report(db)

    clocks.move("91 days")
    db.execute(UPKEEP, [1000])

    assert db.execute("select from public.outbox").fetchone() is None
    assert [(said["sent"], said["opted_out"]) for said in (before, report(db))] == [(1, 0)] * 2


@pytest.mark.parametrize("days", [0, 1, 9, 400, 4000])
async def test_timeline_has_no_gaps_and_few_steps(rig: Rig, db: Connection, clocks: Clocks, days: int) -> None:
    await send(rig, db, clocks)
    db.execute("update public.outbox set sent_at = sent_at + make_interval(days => %s) where recipient = %s", [days, number(3)])

    found = report(db)
    steps = [step["at"] for step in found["timeline"]]
    lengths = {(_seconds(db, later) - _seconds(db, earlier)) for earlier, later in pairwise(steps)}
    assert lengths <= {found["step_seconds"]}
    assert len(steps) <= 62
    assert sum(step["sent"] for step in found["timeline"]) == 4
    assert found["timeline"][0]["sent"] > 0
    assert found["timeline"][-1]["sent"] > 0


def _seconds(db: Connection, at: str) -> float:
    row: Any = db.execute("select extract(epoch from %s::timestamptz)", [at]).fetchone()
    return float(row[0])


async def spend(rig: Rig, db: Connection, _: Clocks) -> None:
    campaign(db, schedule="once", starts_at=NOW, budget_parts=1)
    member(db)
    await rig.tick("campaigns", "dispatch")


async def prune(rig: Rig, db: Connection, clocks: Clocks) -> None:
    await send(rig, db, clocks)
    db.execute("update public.outbox set finalized_at = sent_at - interval '91 days'")
    db.execute(UPKEEP, [1000])


@pytest.mark.parametrize("live", [spend, prune], ids=["spent", "pruned"])
async def test_new_campaign_of_old_name_inherits_no_counts(
    rig: Rig, db: Connection, clocks: Clocks, live: Callable[[Rig, Connection, Clocks], Any]
) -> None:
    await live(rig, db, clocks)
    tables = ("campaign_spend", "campaign_totals")
    assert any(db.execute(f"select from outbox_engine.{table}".encode()).fetchone() is not None for table in tables)

    db.execute("delete from public.outbox_campaigns")

    for table in tables:
        assert db.execute(f"select from outbox_engine.{table}".encode()).fetchone() is None


async def test_new_campaign_starts_with_its_full_budget(rig: Rig, db: Connection, clocks: Clocks) -> None:
    await spend(rig, db, clocks)
    db.execute("delete from public.outbox_campaigns")
    clocks.move("1 hour")
    campaign(db, schedule="once", starts_at="2026-11-24 13:00+00", budget_parts=1)
    member(db, "other", n=2)
    await rig.tick("campaigns", "dispatch")

    assert db.execute("select status from public.outbox order by id").fetchall() == [("sent",), ("sent",)]


def test_counts_added_during_a_delete_are_not_inherited(db: Connection) -> None:
    """A claim in progress adds them."""
    db.execute("insert into outbox_engine.campaign_spend (campaign, day, parts) values ('c', '2026-11-24', 1)")
    campaign(db)

    assert db.execute("select from outbox_engine.campaign_spend").fetchone() is None


async def test_uncounted_rows_of_old_campaign_are_not_inherited(rig: Rig, db: Connection) -> None:
    campaign(db, schedule="once", starts_at=NOW)
    member(db)
    db.execute("select public.outbox_expand_campaigns(1000)")  # This leaves the counting to the next call.
    db.execute("delete from public.outbox_campaigns")

    campaign(db, schedule="once", starts_at="2026-12-24 12:00+00")
    await rig.tick("campaigns")

    assert db.execute("select member_count, message_count from public.outbox_campaigns").fetchall() == [(0, 0)]


async def test_report_ends_over_the_api_in_stretches(gateway: Gateway, db: Connection) -> None:
    """The server of the local stack passes a JSON object on as a string, so each call began anew."""
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00")
    for n in range(3):
        member(db, f"m{n}", n=n)
    db.execute("select public.outbox_expand_campaigns(1000)")
    read: list[int] = []

    def show(counted: int) -> None:
        read.append(counted)
        assert len(read) < 9

    await Campaigning(gateway._rpc).report("c", stretch=1, progress=show)

    assert read == [1, 2, 3, 3]
