"""What pauses a plan, and what proves that it works again."""

import json
from typing import Any
from uuid import uuid4

import pytest

from sandbox.simulator import control as faults
from tests import calls
from tests.calls import pauses
from tests.engine import MakeRig, Rig, insert, later, number, stand_still, statuses
from tests.races import overlap
from tests.stack import Connection

CLAIM = """
    select public.outbox_claim_due(
      %s, 'w', 'sinch', 'p', 'h', %s, 60, 20, 8::smallint, 1000::smallint, %s, null, 6000, null, false)
"""
BLOCKED, DELIVERED, FAILED = ("aborted", 413), ("delivered", 0), ("failed", 15)


def claim(db: Connection, rows: int = 100, *, credential: str = "c") -> list[dict[str, Any]]:
    row = db.execute(CLAIM, [uuid4(), credential, rows]).fetchone()
    assert row is not None
    answer = row[0] if isinstance(row[0], dict) else json.loads(str(row[0]))
    return list(answer["dispatches"])


def accept(db: Connection, dispatch: dict[str, Any]) -> None:
    """By a batch named after the dispatch."""
    number = dispatch["dispatch_id"]
    db.execute("select public.outbox_accept(array[%s::uuid], array[%s::text], 'w', 60, 300)", [number, f"batch {number}"])


def refuse(db: Connection, dispatch: dict[str, Any], why: str = "account") -> None:
    db.execute(
        "select public.outbox_refuse(%s::uuid, %s, %s, 'HTTP 401', 401::smallint, null, 'w', 60)",
        [dispatch["dispatch_id"], dispatch["lease_token"], why],
    )


def report(db: Connection, dispatch: dict[str, Any], said: tuple[str, int]) -> None:
    """Of each of its recipients."""
    for recipient in dispatch["recipients"]:
        calls.report(db, f"batch {dispatch['dispatch_id']}", recipient, *said)


def test_blocked_account_stays_paused_despite_accepted_requests(db: Connection) -> None:
    insert(db, 30)
    first, before = claim(db, 1), claim(db, 1)
    accept(db, first[0])
    report(db, first[0], BLOCKED)
    accept(db, before[0])  # The request began before the failure.

    assert pauses(db) == ["account"]
    assert claim(db) == []
    for _ in range(3):
        later(db, "5 minutes")
        (probe,) = claim(db)
        assert len(probe["recipients"]) == 1
        accept(db, probe)
        assert claim(db) == []
        report(db, probe, BLOCKED)


def test_concurrent_account_refusals_raise_one_alarm(db: Connection, other: Connection) -> None:
    insert(db, 1, body="one")
    insert(db, 1, body="two", first=1)
    one, two = claim(db)

    overlap(db, lambda: refuse(db, one), lambda: refuse(other, two))

    assert db.execute("select kind from outbox_engine.alarms").fetchall() == [("plan.paused",)]


@pytest.mark.parametrize("said", [DELIVERED, FAILED])
def test_other_report_on_a_probe_ends_the_pause(db: Connection, said: tuple[str, int]) -> None:
    insert(db, 30)
    (first,) = claim(db, 1)
    accept(db, first)
    report(db, first, BLOCKED)
    later(db, "5 minutes")
    (probe,) = claim(db)
    accept(db, probe)

    report(db, probe, said)

    assert pauses(db) == []
    assert recipients(claim(db)) == 28


def test_acceptance_of_an_older_request_lifts_no_pause(db: Connection) -> None:
    """The request began before the failure."""
    insert(db, 10)
    (older,), (refused,) = claim(db, 1), claim(db, 1)
    refuse(db, refused)

    accept(db, older)

    assert pauses(db) == ["account"]
    later(db, "1 minute")
    (probe,) = claim(db)
    accept(db, probe)
    assert pauses(db) == []


def test_newest_acceptance_of_a_call_lifts_pauses(db: Connection) -> None:
    stand_still(db)
    insert(db, 3)
    (older,), (refused,) = claim(db, 1), claim(db, 1)
    later(db, "1 second")
    refuse(db, refused)
    later(db, "1 minute")
    (probe,) = claim(db)

    ids = [older["dispatch_id"], probe["dispatch_id"]]
    db.execute("select public.outbox_accept(%s::uuid[], '{B1,B2}', 'w', 60, 300)", [ids])

    assert pauses(db) == []


def test_a_report_of_queueing_lifts_no_pause(db: Connection) -> None:
    """Only a status after queued proves that the account works."""
    insert(db, 2)
    (first,) = claim(db, 1)
    accept(db, first)
    report(db, first, BLOCKED)
    later(db, "5 minutes")
    (probe,) = claim(db)
    accept(db, probe)

    report(db, probe, ("sent", 400))
    assert pauses(db) == ["account"]
    report(db, probe, ("dispatched", 401))
    assert pauses(db) == []


def test_report_on_an_older_request_lifts_no_pause(db: Connection) -> None:
    insert(db, 2)
    (blocked,), (older,) = claim(db, 1), claim(db, 1)
    accept(db, blocked)
    accept(db, older)
    report(db, blocked, BLOCKED)

    report(db, older, DELIVERED)

    assert pauses(db) == ["account"]


def test_report_ends_only_its_own_tokens_pause(db: Connection) -> None:
    stand_still(db)
    insert(db, 3)
    (one,), (other,) = claim(db, 1, credential="one"), claim(db, 1, credential="other")
    accept(db, one)
    accept(db, other)
    report(db, one, BLOCKED)
    later(db, "55 seconds")
    report(db, other, BLOCKED)
    later(db, "5 seconds")
    (probe,) = claim(db, credential="one")
    accept(db, probe)

    report(db, probe, DELIVERED)

    assert db.execute("select credential from outbox_engine.plan_pauses").fetchall() == [("other",)]


@pytest.mark.parametrize(("minutes", "held"), [(59, ["account"]), (61, [])])
def test_blocked_account_pauses_only_for_recent_batches(db: Connection, minutes: int, held: list[str]) -> None:
    """A report that comes an hour late is no evidence about the account's present state."""
    insert(db, 1)
    (dispatch,) = claim(db)
    accept(db, dispatch)
    later(db, f"{minutes} minutes")

    report(db, dispatch, BLOCKED)

    assert pauses(db) == held


def test_a_shorter_pause_never_cuts_a_longer_one(db: Connection) -> None:
    stand_still(db)
    insert(db, 2)
    (patient,), (hasty,) = claim(db, 1), claim(db, 1)

    calls.refuse(db, patient, "throttled", retry_after=60)
    calls.refuse(db, hasty, "throttled", retry_after=1)

    later(db, "59 seconds")
    assert claim(db) == []
    later(db, "1 second")
    assert recipients(claim(db)) == 2


@pytest.mark.parametrize("why", ["throttled", "unreachable"])
def test_acceptance_of_an_older_request_cuts_no_wait(db: Connection, why: str) -> None:
    """An acceptance ends the pause only after the wait is over."""
    stand_still(db)
    insert(db, 3)
    (refused,), (older,) = claim(db, 1), claim(db, 1)
    calls.refuse(db, refused, why, retry_after=60)

    accept(db, older)

    assert (pauses(db), claim(db)) == ([why], [])
    later(db, "1 minute")
    accept(db, claim(db)[0])
    assert pauses(db) == []


def test_refused_token_does_not_retry_another_tokens_probe(db: Connection) -> None:
    stand_still(db)
    insert(db)
    for credential in ("one", "other"):
        refuse(db, claim(db, credential=credential)[0])
    later(db, "1 minute")
    refuse(db, claim(db, credential="one")[0])

    assert claim(db, credential="other") == []


def test_a_probe_delays_no_other_tokens_probe(db: Connection) -> None:
    stand_still(db)
    insert(db, 3)
    held = {credential: claim(db, 1, credential=credential)[0] for credential in ("one", "other")}
    for dispatch in held.values():
        refuse(db, dispatch)
    later(db, "1 minute")

    assert recipients(claim(db, credential="one")) == 1
    assert recipients(claim(db, credential="other")) == 1


def recipients(dispatches: list[dict[str, Any]]) -> int:
    return sum(len(dispatch["recipients"]) for dispatch in dispatches)


def test_the_next_probe_is_another_row(db: Connection) -> None:
    """If one bad row were the only probe, it would pause the plan for ever."""
    stand_still(db)
    insert(db, 1)
    refuse(db, claim(db)[0])
    later(db, "1 minute")
    (probe,) = claim(db)
    refuse(db, probe)
    later(db, "1 minute")
    insert(db, 1, first=1)

    (next_probe,) = claim(db)

    assert next_probe["recipients"] == [number(1)]


def test_new_token_that_works_ends_the_old_pause(db: Connection) -> None:
    insert(db, 2)
    db.execute(
        "insert into outbox_engine.plan_pauses (provider, plan, kind, credential, reason, since, until)"
        " values ('sinch', 'p', 'account', 'old', 'HTTP 401', outbox_engine.now() - interval '1 day', outbox_engine.now())"
    )

    accept(db, claim(db, 1)[0])

    assert pauses(db) == []


def shown(db: Connection) -> list[object]:
    """The pauses that operators see."""
    row = db.execute("select outbox_engine.pauses_json(outbox_engine.now())").fetchone()
    assert row is not None
    assert isinstance(row[0], list)
    return row[0]


def refuse_a_probe(db: Connection, *, credential: str = "c") -> dict[str, Any]:
    """Everything that is due, then after the first wait one row."""
    (everything,) = claim(db, credential=credential)
    refuse(db, everything)
    later(db, "1 minute")
    (probe,) = claim(db, credential=credential)
    refuse(db, probe)
    return probe


def test_old_tokens_pause_still_holds_its_processes(db: Connection) -> None:
    """It is not shown once a newer token works."""
    insert(db, 3)
    refuse_a_probe(db, credential="wrong")
    stopped = shown(db)

    accept(db, claim(db, 1, credential="right")[0])
    corrected = shown(db)
    held = claim(db, credential="wrong")

    assert (len(stopped), corrected, held) == (1, [], [])
    assert len(shown(db)) == 1, "another process works with it"


def test_new_token_sends_the_old_probe_immediately(db: Connection) -> None:
    insert(db, 3)
    refuse_a_probe(db, credential="wrong")

    (dispatch,) = claim(db, credential="right")

    assert len(dispatch["recipients"]) == 3


def test_probed_rows_go_out_after_another_acceptance(db: Connection) -> None:
    insert(db, 3)
    refuse_a_probe(db)
    later(db, "4 minutes")
    (probe,) = claim(db)
    before = claim(db)

    accept(db, probe)

    assert before == []
    assert recipients(claim(db)) == 2


def test_operator_ending_a_pause_retries_the_probe(db: Connection) -> None:
    insert(db, 1)
    refuse_a_probe(db)
    waiting = db.execute(
        "select public.outbox_trace(id, false) -> 'message' ->> 'tried_again_at' from public.outbox"
    ).fetchone()

    before = claim(db)
    db.execute("select public.outbox_resume(null, null, true)")

    assert waiting != (None,)
    assert before == []
    assert len(claim(db)) == 1


def test_operator_ending_a_pause_hurries_no_retry(db: Connection) -> None:
    """The row was a probe before it was accepted."""
    insert(db, 1)
    refuse_a_probe(db)
    db.execute("select public.outbox_resume(null, null, true)")
    (again,) = claim(db)
    accept(db, again)
    report(db, again, ("aborted", 404))

    db.execute("select public.outbox_resume(null, null, true)")

    assert claim(db) == []


@pytest.mark.parametrize(("kind", "credential", "sent"), [("throttled", "one", 0), ("account", "one", 1), ("account", "c", 0)])
def test_throttling_pauses_a_plan_for_all_tokens(db: Connection, kind: str, credential: str, sent: int) -> None:
    """Account trouble pauses it for its own token only. A query to the provider found either."""
    stand_still(db)
    insert(db)

    db.execute("select public.outbox_pause_plan('sinch', 'p', %s, %s, 'HTTP 4xx', 60)", [kind, credential])

    assert recipients(claim(db)) == sent


async def test_throttled_poll_stops_sending_and_polling(make_rig: MakeRig, db: Connection) -> None:
    rig: Rig = await make_rig(reconcile_after_seconds=1)
    insert(db, 1)
    await rig.tick("dispatch")
    later(db, "1 minute")
    rig.simulator.change(requests=[])
    rig.simulator.add(faults.throttle(retry_after="60", on="any"))

    await rig.tick("inbound")
    asked = sum(rig.simulator.summary().requests.values())
    insert(db, 1, first=1)
    await rig.tick("dispatch", "reconcile", "inbound", "recover")

    assert sum(rig.simulator.summary().requests.values()) == asked
    assert pauses(db) == ["throttled"]
    assert statuses(db) == {"sent": 1, "pending": 1}
