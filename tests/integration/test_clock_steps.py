"""The database's clock steps, or the provider's differs: nothing is sent twice, and nothing waits for a clock to catch up."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.simulator import control as faults
from sandbox.simulator.server import Running
from tests.calls import (
    accept,
    claim,
    claim_all,
    claim_answer,
    claim_lookups,
    mark_ambiguous,
    plan_claim,
    refuse,
    renew,
    report,
)
from tests.engine import SENDER, Clocks, MakeRig, Rig, column, insert, later, number, stand_still, statuses
from tests.stack import Connection

BACK = ["10 minutes", "3 hours"]


@pytest.fixture(autouse=True)
def _still(db: Connection) -> None:
    stand_still(db)


def one(db: Connection, question: str, *values: object) -> Any:
    row = db.execute(question.encode(), values).fetchone()
    assert row is not None
    return row[0]


def missed(db: Connection, lookup: dict[str, Any], *, provider_at: datetime | None, watched: float | None) -> str:
    return str(
        one(
            db,
            "select public.outbox_record_missed_lookup(%s::uuid, %s, 20, %s, %s, '{}')",
            lookup["dispatch_id"],
            lookup["lease_token"],
            provider_at,
            watched,
        )
    )


# Set back


@pytest.mark.parametrize("back", BACK)
def test_the_rate_goes_on_after_a_step_back(db: Connection, back: str) -> None:
    insert(db, 40)
    assert len(claim_all(db, rate=2, recipients=1)) == 2

    later(db, f"-{back}")
    claim_answer(db, rate=2)
    sent = 0
    for _ in range(5):
        later(db, "1 second")
        sent += len(claim_all(db, rate=2, recipients=1))

    assert sent == 10


@pytest.mark.parametrize("back", BACK)
def test_request_limit_goes_on_after_step_back(db: Connection, back: str) -> None:
    insert(db, 40)
    for n in range(5):
        accept(db, claim_all(db, requests=5, dispatches=1, recipients=1)[0], f"B{n}")
    assert claim_answer(db, requests=5)["limited"] == "requests_per_minute"

    later(db, f"-{back}")
    assert claim_answer(db, requests=5)["limited"] == "requests_per_minute"

    later(db, "65 seconds")
    assert len(claim_all(db, requests=5, dispatches=5, recipients=1)) == 5


@pytest.mark.parametrize(("kind", "why"), [("throttled", "throttled"), ("account", "account"), ("unreachable", "unreachable")])
def test_pause_ends_as_soon_as_without_step(db: Connection, kind: str, why: str) -> None:
    insert(db, 2)
    refuse(db, claim_all(db, recipients=1)[0], why, retry_after=20)
    assert claim_answer(db)["paused"] == kind
    wait = claim_answer(db)["wait_seconds"]

    later(db, "-3 hours")

    assert claim_answer(db)["wait_seconds"] == pytest.approx(wait, abs=0.1)
    later(db, "21 seconds")
    assert claim_answer(db, recipients=1)["dispatches"]


def test_a_pause_by_an_operator_keeps_its_end(db: Connection) -> None:
    insert(db)
    claim(db)
    db.execute("select public.outbox_pause('sinch', 'p', null, 60, null)")
    until = one(db, "select until from outbox_engine.plan_pauses")

    insert(db)
    later(db, "-1 hour")
    claim_answer(db)

    assert one(db, "select until from outbox_engine.plan_pauses") == until


@pytest.mark.parametrize("back", BACK)
def test_a_dead_workers_request_is_looked_up_soon(db: Connection, back: str) -> None:
    insert(db, 2)
    lost, _ = claim_all(db, recipients=1)

    later(db, f"-{back}")
    insert(db)
    claim_answer(db)
    later(db, "9 seconds")

    assert lost["dispatch_id"] in {lookup["dispatch_id"] for lookup in claim_lookups(db)}


def test_renewed_lease_keeps_its_end(db: Connection) -> None:
    insert(db, 2)
    kept, _ = claim_all(db, recipients=1)
    later(db, "-3 hours")
    assert renew(db, kept) == [kept["dispatch_id"]]
    until = one(db, "select lease_until from outbox_engine.dispatches where id = %s", kept["dispatch_id"])

    insert(db)
    claim_answer(db)

    assert one(db, "select lease_until from outbox_engine.dispatches where id = %s", kept["dispatch_id"]) == until


def test_lookups_go_on_after_a_step_back(db: Connection) -> None:
    """The first lookup was by the clock as it was."""
    insert(db, 2)
    lost, _ = claim_all(db, recipients=1)
    mark_ambiguous(db, lost)
    later(db, "1 second")
    (lookup,) = claim_lookups(db)
    assert missed(db, lookup, provider_at=None, watched=None) == "missed"

    later(db, "-1 hour")
    decided = []
    for _ in range(4):
        later(db, "21 seconds")
        decided += [missed(db, again, provider_at=None, watched=None) for again in claim_lookups(db)]

    assert "not_found" in decided


def test_reports_are_fetched_soon_after_a_step_back(db: Connection) -> None:
    insert(db)
    accept(db, claim(db), "B1")
    later(db, "-3 hours")
    insert(db)
    claim_answer(db)
    later(db, "301 seconds")

    answer = one(db, "select public.outbox_claim_reconciliation('sinch', 'p', 10::smallint)")

    assert answer["feed"]["batches"] == ["B1"]


def test_temporary_failure_waits_no_longer_after_step(db: Connection) -> None:
    """A message that an app scheduled keeps its time."""
    [failed] = insert(db)
    accept(db, claim(db), "B1")
    report(db, "B1", number(0), "aborted", 404)
    [scheduled] = insert(db, first=1, send_at=one(db, "select outbox_engine.now() + interval '1 minute'"))
    assert (column(db, "queue", failed), column(db, "queue", scheduled)) == ("w", "w")
    wait = column(db, "due_at - outbox_engine.now()", failed)
    at = column(db, "due_at", scheduled)

    later(db, "-3 hours")
    claim_answer(db)

    assert column(db, "due_at - outbox_engine.now()", failed) <= wait + timedelta(seconds=1)
    assert column(db, "due_at", scheduled) == at


def test_replies_are_read_after_a_step_back(db: Connection) -> None:
    claim_window = "select public.outbox_claim_inbound_window('sinch', 'p', 60)"
    assert one(db, claim_window) is not None
    assert one(db, claim_window) is None

    later(db, "-1 hour")

    assert one(db, claim_window) is not None


def test_offered_alarm_is_offered_again_after_a_step(db: Connection) -> None:
    db.execute("select outbox_engine.alarm('test', '{}')")
    take = "select jsonb_array_length(public.outbox_take_alarms(10::smallint))"
    assert [one(db, take), one(db, take)] == [1, 0]

    later(db, "-1 hour")

    assert one(db, take) == 1


def test_heartbeats_go_on_after_a_step_back(db: Connection) -> None:
    claim_answer(db)
    claim_answer(db, plan="gone")

    later(db, "-1 hour")
    claim_answer(db)
    db.execute("select public.outbox_upkeep(90, null, 1000)")

    assert one(db, "select max(at) <= outbox_engine.now() and max(since) <= outbox_engine.now() from outbox_engine.heartbeats")


@pytest.mark.parametrize("by_upkeep", [True, False])
def test_step_back_is_no_restore(db: Connection, by_upkeep: bool) -> None:
    """A process claims again once the clock has passed its last heartbeat: it was cut off from the database meanwhile."""
    plan_claim(db)
    known = plan_claim(db)["heartbeat_at"]
    later(db, "-10 minutes")
    if by_upkeep:
        db.execute("select public.outbox_upkeep(90, null, 1000)")
    else:
        plan_claim(db, heartbeat_at=known)

    later(db, "11 minutes")

    assert "paused" not in plan_claim(db, heartbeat_at=known)
    later(db, "11 seconds")
    plan_claim(db)
    assert one(db, "select bool_and(was_at is null) from outbox_engine.heartbeats where worker <> ''")


def test_report_after_a_step_back_forbids_a_resend(db: Connection) -> None:
    """It names the number of a lost request, and no reference: the request may have arrived."""
    insert(db)
    mark_ambiguous(db, claim(db))
    later(db, "-3 hours")
    report(db, "another", number(0), "delivered")

    decided = []
    for _ in range(3):
        later(db, "1 minute")
        decided += [missed(db, lookup, provider_at=None, watched=None) for lookup in claim_lookups(db)]

    assert set(decided) == {"reported"}


# Set forward


def silent(db: Connection) -> None:
    """The worker of a dispatch falls silent by a clock that was set forward an hour."""
    insert(db)
    claim(db)
    later(db, "1 hour")


AT = datetime.fromisoformat("2026-11-24T12:00:00+00:00")


@pytest.mark.parametrize(
    ("provider_seconds", "watched", "decided"),
    [
        (None, None, "not_found"),  # no clock but the database's
        (21, 0, "missed"),  # a lease and a deadline of 8 s are missing
        (28, 0, "not_found"),
        (26, 27, "missed"),
        (0, 28, "not_found"),
    ],
)
def test_silent_request_needs_a_second_clock(
    db: Connection, provider_seconds: float | None, watched: float | None, decided: str
) -> None:
    silent(db)
    (lookup,) = claim_lookups(db)
    first = None if provider_seconds is None else AT
    assert missed(db, lookup, provider_at=first, watched=watched) == "missed"
    later(db, "1 hour")
    (lookup,) = claim_lookups(db)

    second = None if provider_seconds is None else AT + timedelta(seconds=provider_seconds)

    assert missed(db, lookup, provider_at=second, watched=watched) == decided


def test_undecided_lookup_is_repeated_until_time_has_passed(db: Connection) -> None:
    insert(db)
    mark_ambiguous(db, claim(db))
    later(db, "1 second")
    decided = []
    for seconds in (0, 5, 26):
        (lookup,) = claim_lookups(db)
        decided.append(missed(db, lookup, provider_at=AT + timedelta(seconds=seconds), watched=0))
        later(db, "1 hour")

    assert decided == ["missed", "missed", "not_found"]


def test_provider_clock_set_back_begins_again(db: Connection) -> None:
    insert(db)
    mark_ambiguous(db, claim(db))
    later(db, "1 second")
    decided = []
    for seconds in (0, -3600, -3600 + 21):
        (lookup,) = claim_lookups(db)
        decided.append(missed(db, lookup, provider_at=AT + timedelta(seconds=seconds), watched=0))
        later(db, "20 seconds")

    assert decided == ["missed", "missed", "not_found"]


# All clocks


def ahead(rig: Rig, clocks: Clocks, seconds: float) -> None:
    """Set the provider's clock ahead of the database's."""
    clocks.set(clocks.now())
    rig.simulator.advance(seconds)


@pytest.mark.parametrize("steps", [("1 hour", "-1 hour"), ("-1 hour", "1 hour"), ("10 minutes", "1 hour")])
async def test_steps_amid_requests_send_nothing_twice(rig: Rig, db: Connection, steps: tuple[str, str]) -> None:
    """Requests without an answer are taken by the provider, whatever the database's clock says meanwhile."""
    insert(db, 6)
    rig.simulator.add(faults.error_after_accepting(times=2), faults.unavailable_page(times=2))
    rig.simulator.change(list_lag=0.0)
    await rig.tick("dispatch")
    for by in (*steps, "30 seconds", "30 seconds", "65 seconds"):
        later(db, by)
        await rig.tick("dispatch", "recover")

    assert rig.simulator.summary().sent_twice == 0


@pytest.mark.parametrize("seconds", [-3300.0, 7200.0])
async def test_stop_is_read_whatever_the_providers_clock(rig: Rig, db: Connection, clocks: Clocks, seconds: float) -> None:
    ahead(rig, clocks, seconds)
    await rig.tick("inbound")
    later(db, "61 seconds")
    rig.simulator.text_in(sender=number(1), to=SENDER, body="STOP")

    await rig.tick("inbound")

    assert one(db, "select count(*) from public.outbox_suppressions") == 1


@pytest.mark.parametrize("seconds", [-3300.0, 7200.0])
async def test_expiry_is_by_the_providers_clock(
    rig: Rig, db: Connection, sinch: Running, clocks: Clocks, seconds: float
) -> None:
    """The first answer of the provider says how far its clock is off."""
    ahead(rig, clocks, seconds)
    await rig.tick("inbound")
    expires_at = clocks.now() + timedelta(minutes=90)
    insert(db, expires_at=expires_at)

    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 1}
    assert (accepted_expiry(sinch) - expires_at).total_seconds() == pytest.approx(seconds, abs=10)


def accepted_expiry(sinch: Running) -> datetime:
    """The expiry of the one batch that the provider has."""
    url, headers = f"{sinch.url}/xms/v1/{sinch.plan.id}/batches", {"Authorization": f"Bearer {sinch.plan.token}"}
    [batch] = httpx.get(url, headers=headers, trust_env=False).json()["batches"]
    return datetime.fromisoformat(batch["expire_at"])


async def test_a_clock_that_is_off_raises_one_alarm(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    alarms = "select jsonb_agg(detail order by id) from outbox_engine.alarms where kind = 'clock.off'"
    rigs = [await make_rig() for _ in range(2)]
    clocks.set(clocks.now())
    for n, rig in enumerate(rigs):
        insert(db, first=n)
        await rig.tick("dispatch")
    assert one(db, alarms) is None

    later(db, "1 hour")
    for n, rig in enumerate(rigs * 2):
        insert(db, first=10 + n)
        await rig.tick("dispatch")

    [alarm] = one(db, alarms)
    assert (alarm["clock"], alarm["name"]) == ("database", "")
    assert alarm["seconds"] == pytest.approx(3600, abs=10)
    [shown] = one(db, "select public.outbox_status() -> 'clocks'")
    assert shown["clock"] == "database"

    later(db, "-1 hour")
    insert(db, first=20)
    await rigs[0].tick("dispatch", "dispatch")
    assert one(db, "select public.outbox_status() -> 'clocks'") == []
