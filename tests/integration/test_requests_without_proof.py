"""Ambiguous requests at a provider whose lookups prove no absence: they wait for a fact, and are never sent again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.restore_check import RestoreCheck
from jobs.gateway.status import Requests
from jobs.gateway.values import Plan
from jobs.providers.base import Batch, ListedReference, Page, Unusable
from jobs.recover import Recovery
from jobs.runtime.clocks import Clocks as JobClocks
from jobs.runtime.settings import EngineSettings
from sandbox.simulator.behaviour import Fault
from scheduler.commands import status_view
from tests.calls import claim, claim_all, claim_lookups, mark_ambiguous, pauses, record_lookup, refuse, release, report
from tests.engine import MakeRig, column, history, insert, later, number, stand_still, statuses
from tests.snapshots import Snapshot
from tests.stack import Connection

VONAGE, UNLISTED = "vonage", "a provider without a row"
PLAN = Plan(VONAGE, "p", "h", "c", None, 6000)
REASON = "no callback and no lookup showed within 72 hours whether the provider took the request"


@pytest.fixture(autouse=True)
def _still(db: Connection) -> None:
    stand_still(db)


class Records:
    """A provider without a list: its records show what the test puts into ``shown``, and everything else is refused."""

    name, plan, host, credential = PLAN.provider, PLAN.plan, PLAN.host, PLAN.credential
    max_recipients, absence_proof = 1, None

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.shown: tuple[Batch, ...] = ()
        self.unusable: tuple[Unusable, ...] = ()

    async def find(self, reference: str, **asked: Any) -> Page[Batch]:
        self.asked.append({"reference": reference, **asked})
        return Page(self.shown, last=True, unusable=self.unusable)

    async def references(self, **_: Any) -> Page[ListedReference]:
        return Page((), last=True)


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def recovery(gateway: Gateway, records: Records) -> Recovery:
    shared: dict[str, Any] = {"gateway": gateway, "provider": records, "plan": PLAN}
    return Recovery(
        **shared,
        settings=EngineSettings(_env_file=None),
        outage=ProviderOutage(gateway=gateway, plan=PLAN),
        clocks=JobClocks(),
    )


def lost(db: Connection, provider: str = VONAGE) -> dict[str, Any]:
    """The dispatch of one message, ambiguous since its claim."""
    insert(db)
    dispatch = claim(db, provider=provider)
    mark_ambiguous(db, dispatch)
    return dispatch


def miss(db: Connection, lookup: dict[str, Any]) -> str:
    """As a process does whose settling time is over in its eyes."""
    row = db.execute(
        "select public.outbox_record_missed_lookup(%s::uuid, %s, 0, outbox_engine.now(), 1000000, '{}')",
        [lookup["dispatch_id"], lookup["lease_token"]],
    ).fetchone()
    assert row is not None
    return str(row[0])


def walk(db: Connection, *hours: float, provider: str = VONAGE) -> list[tuple[float, str]]:
    """At each of these hours after the claim, make the lookups that are due. Returns the hours and the decisions."""
    decided: list[tuple[float, str]] = []
    before = 0.0
    for hour in hours:
        later(db, f"{hour - before} hours")
        before = hour
        decided += [(hour, miss(db, lookup)) for lookup in claim_lookups(db, provider=provider)]
    return decided


@pytest.mark.parametrize("provider", [VONAGE, UNLISTED])
def test_empty_lookups_never_free_a_message(db: Connection, provider: str) -> None:
    lost(db, provider)

    decided = walk(db, 0.1, 0.16, 0.17, 0.5, 0.99, 1, 2, 12, 23.99, 24, 36, 48, 71.99, provider=provider)

    assert decided == [(hour, "undecided") for hour in (0.17, 1, 24)]
    assert statuses(db) == {"sending": 1}
    assert claim_all(db, provider=provider) == []
    later(db, "1 minute")
    assert claim_lookups(db, provider=provider) == []
    assert statuses(db) == {"unknown": 1}
    assert claim_all(db, provider=provider) == []


@pytest.mark.parametrize("by", ["recover", "upkeep"])
def test_message_ends_as_unknown_with_its_reason(db: Connection, by: str) -> None:
    """Where no process is configured for the plan, the upkeep job ends it."""
    lost(db)
    later(db, "72 hours")

    if by == "recover":
        claim_lookups(db, provider=VONAGE)
    else:
        db.execute("select public.outbox_run_upkeep('{}', 1000)")

    assert db.execute("select status, error from public.outbox").fetchall() == [("unknown", REASON)]
    assert db.execute("select event, status, detail from public.outbox_events").fetchall()[-1] == ("unknown", "unknown", REASON)


@pytest.mark.parametrize("hours", [0.01, 30, 73, 200])
@pytest.mark.parametrize("status", ["dispatched", "delivered"])
def test_callback_at_any_time_is_the_acceptance(db: Connection, hours: float, status: str) -> None:
    dispatch = lost(db)
    walk(db, *(hour for hour in (0.17, 1, 24, 72) if hour < hours))
    db.execute("update outbox_engine.clock set shift = %s::interval", [f"{hours} hours"])

    report(db, "M1", number(0), status, reference=dispatch["dispatch_id"])

    (expected,) = {status} if status == "delivered" or hours < 72 else {"unknown"}
    assert statuses(db) == {expected: 1}
    assert db.execute("select state, batch_id from outbox_engine.dispatches").fetchall() == [("accepted", "M1")]
    assert db.execute("select batch_id from public.outbox").fetchall() == [("M1",)]
    assert claim_all(db, provider=VONAGE) == []
    assert db.execute("select count(*) from outbox_engine.duplicate_sends").fetchone() == (0,)


def test_request_of_a_silent_worker_waits_too(db: Connection) -> None:
    insert(db)
    claim(db, provider=VONAGE)

    decided = walk(db, 0.1, 0.17, 1, 24)

    assert [hour for hour, _ in decided] == [0.17, 1, 24]
    assert statuses(db) == {"sending": 1}


@pytest.mark.parametrize(("provider", "counts"), [(VONAGE, True), ("sinch", False)])
@pytest.mark.parametrize("outcome", ["released", "refused"])
def test_certain_outcome_counts_however_late(db: Connection, provider: str, counts: bool, outcome: str) -> None:
    """The database was away. Only its worker can know that the request was never made, or that it was refused."""
    insert(db)
    dispatch = claim(db, provider=provider)
    walk(db, *((0.1, 0.17) if counts else (0.1,)), provider=provider)

    if outcome == "released":
        release(db, dispatch)
    else:
        refuse(db, dispatch)

    decided = {"released": "pending", "refused": "failed"}[outcome]
    assert statuses(db) == {decided if counts else "sending": 1}
    state: Any = db.execute("select state, lookup_at is null from outbox_engine.dispatches").fetchone()
    assert state == ((outcome, True) if counts else ("ambiguous", False))


def test_late_worker_cannot_unsay_a_timeout(db: Connection) -> None:
    dispatch = lost(db)

    release(db, dispatch)

    assert statuses(db) == {"sending": 1}


def test_lookup_that_is_late_is_made_once(db: Connection) -> None:
    """No process ran for five hours. The lookup that was due after one hour is not made on top."""
    lost(db)

    assert [hour for hour, _ in walk(db, 5, 5.1, 23, 24, 25)] == [5, 24]


def test_process_that_reports_absence_frees_nothing(db: Connection) -> None:
    """As a process of release 0.1.0, or one with a fault, reports two empty lookups of Sinch."""
    lost(db)
    later(db, "10 minutes")
    (lookup,) = claim_lookups(db, provider=VONAGE)

    decided = [record_lookup(db, lookup, [], []), record_lookup(db, lookup, [], []), miss(db, lookup)]
    db.execute("update outbox_engine.dispatches set lookup_at = outbox_engine.now()")
    (again,) = claim_lookups(db, provider=VONAGE)
    decided.append(record_lookup(db, again, [], []))

    assert decided == ["undecided", "overtaken", "overtaken", "undecided"]
    assert db.execute("select state, lookup_misses from outbox_engine.dispatches").fetchall() == [("ambiguous", 2)]
    assert statuses(db) == {"sending": 1}


async def test_request_is_found_by_the_second_lookup(db: Connection, recovery: Recovery, records: Records) -> None:
    dispatch = lost(db)
    later(db, "10 minutes")
    await recovery.tick()
    records.shown = (Batch("M1", dispatch["dispatch_id"], (number(0),), None),)
    later(db, "50 minutes")
    await recovery.tick()

    assert statuses(db) == {"sent": 1}
    row: Any = db.execute("select claimed_at, ambiguous_at from outbox_engine.dispatches").fetchone()
    hour = timedelta(hours=1)
    for asked in records.asked:
        assert asked["recipients"] == (number(0),)
        assert (asked["since"], asked["until"]) == (row[0] - hour, row[1] + hour)
    assert len(records.asked) == 2


async def test_records_of_others_cause_no_repetition(db: Connection, recovery: Recovery, records: Records) -> None:
    """Each lookup costs money, and a record without a reference cannot make an empty one prove less."""
    lost(db)
    records.shown = (Batch("M1", None, (number(0),), None),)
    records.unusable = (Unusable("a record of a new kind", b"{}"),)
    later(db, "10 minutes")
    await recovery.tick()
    later(db, "49 minutes")
    await recovery.tick()

    assert len(records.asked) == 1


def alarms(db: Connection) -> Sequence[Any]:
    return db.execute("select detail ->> 'why' from outbox_engine.alarms where kind = 'lookup.undecided'").fetchall()


def test_one_alarm_says_that_no_lookup_follows(db: Connection) -> None:
    insert(db, 3)
    for dispatch in claim_all(db, provider=VONAGE, recipients=1):
        mark_ambiguous(db, dispatch)

    walk(db, 0.17, 1)
    assert alarms(db) == []
    walk(db, 23, 47, 70)

    assert alarms(db) == [("the last lookup found no trace of the request; only a callback can show one now",)]


def test_lookups_that_fail_alarm_once_a_day(db: Connection) -> None:
    lost(db)
    made = 0
    for _ in range(47):
        later(db, "1 hour")
        for lookup in claim_lookups(db, provider=VONAGE):
            made += 1
            failed = [lookup["dispatch_id"], lookup["lease_token"]]
            db.execute("select public.outbox_record_failed_lookup(%s::uuid, %s, 'no answer', 5)", failed)

    assert made == 47
    assert alarms(db) == [("no answer",)] * 2
    assert statuses(db) == {"sending": 1}


def test_part_of_a_family_is_not_freed(db: Connection) -> None:
    """The refused part goes back to the queue once the other is given up. The other part's message does not."""
    rows = insert(db, 2, expires_at=datetime.now(UTC) + timedelta(days=9))
    one, other = refuse(db, claim(db, provider=VONAGE), "shared")
    mark_ambiguous(db, one)
    refuse(db, other, "shared")

    walk(db, 0.17, 1, 24, 48)
    assert statuses(db) == {"sending": 2}
    walk(db, 24.1)

    assert statuses(db) == {"pending": 1, "unknown": 1}
    assert column(db, "status", rows[one["recipients"] == [number(1)]]) == "unknown"


def test_operator_may_send_it_again(db: Connection) -> None:
    """With `--force`, because it may go out twice. A callback before that is adopted."""
    dispatch = lost(db)
    later(db, "72 hours")
    claim_lookups(db, provider=VONAGE)
    (row,) = db.execute("select id from public.outbox").fetchone() or (None,)

    def retry(*, force: bool) -> Any:
        found = db.execute("select public.outbox_retry(array[%s]::bigint[], %s, 3600, false)", [row, force]).fetchone()
        assert found is not None
        return found[0]

    assert [one["outcome"] for one in retry(force=False)] == ["may_have_arrived"]
    assert [one["outcome"] for one in retry(force=True)] == ["retried"]
    report(db, "M1", number(0), "delivered", reference=dispatch["dispatch_id"])

    assert statuses(db) == {"delivered": 1}
    assert claim_all(db, provider=VONAGE) == []
    assert history(db, int(str(row)))[-1] == "report"


async def test_a_list_that_is_empty_allows_claims(db: Connection, gateway: Gateway, records: Records) -> None:
    lost(db)
    outage: Any = ProviderOutage(gateway=gateway, plan=PLAN)
    provider: Any = records

    check = RestoreCheck(gateway=gateway, provider=provider, plan=PLAN, outage=outage, deadline=5)

    assert await check.allows_claims()


@pytest.mark.parametrize("is_away", [False, True])
async def test_list_of_another_account_shows_restore(
    make_rig: MakeRig, db: Connection, gateway: Gateway, records: Records, is_away: bool
) -> None:
    """What Sinch sent is in Sinch's list. Vonage does not wait for a provider that is away."""
    rig = await make_rig()
    insert(db)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()
    provider: Any = records
    outage: Any = ProviderOutage(gateway=gateway, plan=PLAN)
    check = RestoreCheck(gateway=gateway, provider=provider, plan=PLAN, outage=outage, deadline=5)
    rig = await make_rig(is_checked=False)
    sinch = rig.engine.served[0].restores
    check.others, sinch.others = (sinch,), (check,)
    if is_away:
        rig.simulator.add(Fault(effect="answer", status=503, on="list", times=1))

    assert await check.allows_claims()
    assert pauses(db) == ([] if is_away else ["restored"])
    sinch._again_at = 0
    await rig.tick("dispatch")
    assert pauses(db) == ["restored"]


def test_status_and_trace_say_until_when(db: Connection) -> None:
    lost(db)
    (now,) = db.execute("select outbox_engine.now()").fetchone() or (None,)
    assert isinstance(now, datetime)
    until = now + timedelta(hours=72)

    (answer,) = db.execute("select public.outbox_status() -> 'requests'").fetchone() or (None,)
    (found,) = db.execute("select public.outbox_trace(id, false) from public.outbox").fetchone() or (None,)

    assert isinstance(answer, dict)
    line = status_view._requests(Requests.parse(answer)).plain
    assert line.endswith(f"1 ambiguous (1 message), being looked up, 1 until {until:%Y-%m-%d %H:%M:%SZ} at the latest")
    assert isinstance(found, dict)
    details = [entry["detail"] for entry in found["timeline"] if entry["event"] == "ambiguous"]
    # PostgreSQL writes no zeros at the end of a fraction.
    at = f"{until:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
    assert details == [f"timeout: a callback or a lookup may tell until {at}+00 whether the provider took the request"]
    assert datetime.fromisoformat(found["dispatches"][0]["gives_up_at"]) == until


def test_providers_of_the_release_are_listed(db: Connection) -> None:
    found = db.execute("select name, proves_absence, gives_up_after from outbox_engine.providers order by 1").fetchall()

    assert found == [("sinch", True, timedelta(days=13)), ("vonage", False, timedelta(hours=72))]
