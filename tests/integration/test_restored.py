"""A database that was restored from a backup while processes live on sends nothing that the backup lacks."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from tests.calls import SentReport, accept, claim, claim_all, mark_ambiguous, pauses, plan_claim, report, report_all
from tests.engine import Rig, insert, later, number, stand_still, statuses
from tests.snapshots import Snapshot
from tests.stack import Connection

V4 = "5f0c3f7e-0000-4000-8000-000000000001"


def value(db: Connection, question: str, *values: object) -> Any:
    row = db.execute(question.encode(), values or None).fetchone()
    assert row is not None
    return row[0]


def is_own(db: Connection, reference: str, *, or_earlier: bool = False) -> bool:
    return bool(value(db, "select outbox_engine.is_own_reference(%s, %s)", reference, or_earlier))


def lift(db: Connection) -> None:
    """As the end of an adoption does."""
    db.execute("select outbox_engine.lift_restored('sinch', 'p')")


def sees(db: Connection) -> dict[str, Any]:
    """What a process has seen of the database after this claim."""
    answer = plan_claim(db)
    seen = {"heartbeat_at": answer["heartbeat_at"], "timeline": answer["timeline"]}
    for dispatch in answer["dispatches"]:
        seen |= {"highest_lease_token": dispatch["lease_token"], "known_dispatch": dispatch["dispatch_id"]}
    return seen


def remember(db: Connection, reference: str) -> None:
    """As an adoption does that finds no row of the message."""
    db.execute(
        "insert into outbox_engine.adopted_messages values"
        " ('sinch', 'p', 'b', %s, %s, null, null, now(), null, null, now() + interval '1 day')",
        [reference, number(0)],
    )


def last_token(db: Connection) -> int:
    return int(value(db, "select case when is_called then last_value else 0 end from outbox_engine.lease_tokens"))


def token_of_the_future(db: Connection) -> str:
    return str(last_token(db) + 7)


def alarms(db: Connection) -> list[object]:
    return [kind for (kind,) in db.execute("select kind from outbox_engine.alarms order by id")]


def test_dispatch_ids_name_the_installation(db: Connection) -> None:
    insert(db)
    dispatch_id = UUID(claim(db)["dispatch_id"])

    assert dispatch_id.version == 8
    assert dispatch_id.hex[:12] == value(db, "select id from outbox_engine.installation")
    assert is_own(db, str(dispatch_id))
    assert is_own(db, str(dispatch_id).upper())


def test_other_references_are_not_ours(db: Connection) -> None:
    own = str(value(db, "select outbox_engine.new_dispatch_id()"))
    foreign = ["", "order 7", V4, own.replace("-", ""), own[:14] + "4" + own[15:], ("1" if own[0] == "0" else "0") + own[1:]]

    assert [reference for reference in foreign if is_own(db, reference)] == []
    assert value(db, "select outbox_engine.is_own_reference(null)") is False


def test_ten_thousand_ids_all_differ(db: Connection) -> None:
    assert value(db, "select count(distinct outbox_engine.new_dispatch_id()) from generate_series(1, 10000)") == 10_000


def test_claim_behind_a_process_pauses_every_plan(db: Connection) -> None:
    insert(db, 3)

    answer = plan_claim(db, highest_lease_token=token_of_the_future(db))

    assert (answer["paused"], answer["dispatches"]) == ("restored", [])
    assert plan_claim(db, plan="another")["paused"] == "restored"
    assert (pauses(db), alarms(db)) == (["restored"], ["plan.restored"])
    assert statuses(db) == {"pending": 3}


def test_tokens_are_not_issued_twice(db: Connection) -> None:
    """The second call draws them: the first one's pause might not be committed."""
    before, seen = last_token(db), token_of_the_future(db)
    plan_claim(db, highest_lease_token=seen)
    assert last_token(db) == before
    plan_claim(db, highest_lease_token=seen)
    assert last_token(db) == before + 7

    lift(db)
    insert(db)
    assert int(plan_claim(db, highest_lease_token=seen)["dispatches"][0]["lease_token"]) > before + 1_000_000


def test_claim_without_its_known_dispatch_pauses(db: Connection) -> None:
    insert(db, 2)
    [known] = plan_claim(db, rows=1)["dispatches"]
    assert "paused" not in plan_claim(db, known_dispatch=known["dispatch_id"])

    assert plan_claim(db, known_dispatch=str(uuid4()))["paused"] == "restored"


def test_claim_without_its_heartbeat_pauses(db: Connection) -> None:
    """Also in a process that made no request since the backup. A heartbeat of the future is of a clock that was set back."""
    stand_still(db)
    backup = Snapshot(db)
    plan_claim(db)
    seen = plan_claim(db)["heartbeat_at"]
    assert "paused" not in plan_claim(db, heartbeat_at=seen)
    backup.restore()
    later(db, "-1 hour")
    assert "paused" not in plan_claim(db, heartbeat_at=seen)

    backup.restore()
    later(db, "1 hour")

    assert plan_claim(db, heartbeat_at=seen)["paused"] == "restored"


def test_outcome_of_a_remembered_request_pauses_nothing(db: Connection) -> None:
    db.execute("insert into outbox_engine.plans values ('sinch', 'p', 'h', null, 600, 1, now())")
    dispatch = {"dispatch_id": str(value(db, "select outbox_engine.new_dispatch_id()")), "lease_token": "1"}
    remember(db, dispatch["dispatch_id"])

    accept(db, dispatch, "batch")
    mark_ambiguous(db, dispatch)

    assert pauses(db) == []


@pytest.mark.parametrize("outcome", ["accepted", "ambiguous"])
def test_outcome_of_an_unknown_request_pauses(db: Connection, outcome: str) -> None:
    """The process may be about to end: no claim of it follows."""
    insert(db, 2)
    backup = Snapshot(db)
    claim(db)
    backup.restore()
    dispatch = {"dispatch_id": str(value(db, "select outbox_engine.new_dispatch_id()")), "lease_token": "1"}
    db.execute("insert into outbox_engine.plans values ('sinch', 'p', 'h', null, 600, 1, now())")

    if outcome == "accepted":
        accept(db, dispatch, "batch")
    else:
        mark_ambiguous(db, dispatch)

    assert pauses(db) == ["restored"]
    assert claim_all(db) == []


def test_process_that_slept_through_adoption_goes_on(db: Connection) -> None:
    plan_claim(db)
    backup = Snapshot(db)
    insert(db)
    later(db, "20 seconds")
    slept = sees(db)
    slept |= {"heartbeat_at": plan_claim(db, **slept)["heartbeat_at"]}
    backup.restore()
    assert plan_claim(db, **slept)["paused"] == "restored"
    backup.restore()
    db.execute("select public.outbox_begin_adoption('sinch', 'p')")
    lift(db)

    assert "paused" not in plan_claim(db, **slept)
    assert pauses(db) == []


@pytest.mark.parametrize("sees_more", [True, False])
def test_second_restore_is_noticed(db: Connection, sees_more: bool) -> None:
    """To before the first adoption, also by a process that has seen nothing else since."""
    plan_claim(db)
    backup = Snapshot(db)
    insert(db, 2)
    first = sees(db)
    db.execute("select public.outbox_begin_adoption('sinch', 'p')")
    lift(db)
    seen = sees(db) if sees_more else {"timeline": plan_claim(db)["timeline"]}
    assert seen["timeline"] != first["timeline"]
    backup.restore()

    answer = plan_claim(db, **seen)
    assert (answer["paused"], answer["timeline"]) == ("restored", first["timeline"])
    lift(db)
    assert "paused" not in plan_claim(db, **{**seen, "timeline": answer["timeline"]})


def test_adoption_pauses_all_plans_without_an_alarm(db: Connection) -> None:
    for plan in ("p", "other"):
        insert(db)
        plan_claim(db, plan=plan)

    db.execute("select public.outbox_begin_adoption('sinch', 'p')")

    assert pauses(db) == ["restored", "restored"]
    assert db.execute("select count(*) from outbox_engine.alarms").fetchone() == (0,)


def test_restore_to_after_the_adoption_is_noticed(db: Connection) -> None:
    plan_claim(db)
    db.execute("select public.outbox_begin_adoption('sinch', 'p')")
    lift(db)
    backup = Snapshot(db)
    insert(db)
    seen = sees(db)
    backup.restore()

    assert plan_claim(db, **seen)["paused"] == "restored"


def test_adoption_of_one_plan_excuses_no_other(db: Connection) -> None:
    plan_claim(db)
    plan_claim(db, plan="q")
    backup = Snapshot(db)
    insert(db)
    seen = sees(db)
    backup.restore()
    db.execute("select outbox_engine.pause_restored('sinch', 'q', 'r'), outbox_engine.lift_restored('sinch', 'q')")

    assert plan_claim(db, **seen)["paused"] == "restored"


def test_bound_elsewhere_what_was_seen_counts(db: Connection) -> None:
    plan_claim(db, project="a.example.com")
    backup = Snapshot(db)
    insert(db)
    seen = sees(db)
    db.execute("select public.outbox_bind('b.example.com', false)")
    assert "paused" not in plan_claim(db, **seen)
    backup.restore()
    db.execute("select public.outbox_bind('b.example.com', false)")

    assert plan_claim(db, **seen)["paused"] == "restored"


@pytest.mark.parametrize("holds", ["nothing", "new rows", "rows of a backup", "sent rows"])
def test_database_made_anew_is_no_restore(db: Connection, holds: str) -> None:
    """Such as by `supabase db reset`, unless it holds rows of a backup or has sent already."""
    backup = Snapshot(db)
    later(db, "-1 minute")
    rows = insert(db, first=9, send_at="2030-01-01Z")
    db.execute("create temporary table rows as select * from public.outbox where id = any (%s)", [rows])
    insert(db)
    seen = sees(db)
    seen |= {"heartbeat_at": plan_claim(db)["heartbeat_at"]}
    later(db, "1 minute")
    backup.restore()
    db.execute("update outbox_engine.installation set id = '0123456789ab'")
    if holds == "rows of a backup":
        with db.transaction():
            db.execute("set local session_replication_role = replica")
            db.execute("insert into public.outbox overriding system value table rows")
    elif holds != "nothing":
        insert(db)
    if holds == "sent rows":
        plan_claim(db)

    answer = plan_claim(db, **seen)

    assert answer.get("paused") == ("restored" if holds in ("rows of a backup", "sent rows") else None)
    assert len(answer["dispatches"]) == (holds == "new rows")


@pytest.mark.parametrize("source", ["webhook", "reconcile"])
def test_report_on_an_unknown_request_pauses(db: Connection, source: str) -> None:
    """At the next claim, which knows whether the database sends from the process's project."""
    plan_claim(db, project="a.example.com")
    backup = Snapshot(db)
    insert(db)
    reference = claim(db)["dispatch_id"]
    backup.restore()
    insert(db, 2)
    report_all(db, SentReport(batch="b", recipient=number(0), status="sent", reference=reference), source=source)

    assert "unbound" in plan_claim(db, project="b.example.com")
    assert pauses(db) == []
    assert plan_claim(db, project="a.example.com")["paused"] == "restored"
    assert (statuses(db), alarms(db)) == ({"pending": 2}, ["plan.restored"])

    db.execute("select public.outbox_resume_restored('sinch', null)")
    report(db, "b", number(0), "delivered", reference=reference)
    assert len(plan_claim(db, project="a.example.com")["dispatches"]) == 1


@pytest.mark.parametrize("case", ["known", "deleted", "remembered", "old", "other number", "foreign", "adopted since"])
def test_report_that_shows_no_restore_pauses_nothing(db: Connection, case: str) -> None:
    (row,) = insert(db)
    reference, at = claim(db)["dispatch_id"], ""
    if case == "deleted":
        db.execute("delete from public.outbox where id = %s", [row])
    elif case in ("remembered", "adopted since", "old"):
        reference = str(value(db, "select outbox_engine.new_dispatch_id()"))
    elif case == "foreign":
        reference = V4
    if case == "old":
        at = "2020-01-01T00:00:00Z"
    if case == "remembered":
        remember(db, reference)
    report(db, "b", number(7 if case == "other number" else 0), "sent", reference=reference, at=at)
    if case == "adopted since":
        remember(db, reference)

    insert(db, first=1)
    assert len(plan_claim(db)["dispatches"]) == 1


def test_unknown_requests_of_others_do_not_pause(db: Connection) -> None:
    insert(db)
    claim(db)

    accept(db, {"dispatch_id": V4}, "batch")

    assert pauses(db) == []


def test_only_a_named_resume_ends_it(db: Connection) -> None:
    insert(db)
    plan_claim(db, highest_lease_token=token_of_the_future(db))

    db.execute("select public.outbox_resume(null, null, true)")
    assert claim_all(db) == []
    [ended] = value(db, "select public.outbox_resume_restored(null, 'p')")

    assert (ended["kind"], ended["until"]) == ("restored", None)
    assert len(claim_all(db)) == 1


async def test_live_process_sends_nothing_after_a_restore(rig: Rig, db: Connection) -> None:
    insert(db, 4)
    await rig.tick("dispatch")
    insert(db, 2, first=10)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    insert(db, 2, first=20)
    await rig.tick("dispatch")
    sent = rig.simulator.summary().batches

    backup.restore()
    with capture_logs() as logs:
        for _ in range(3):
            await rig.tick("recover", "reconcile", "dispatch")

    assert rig.simulator.summary().batches == sent
    assert statuses(db) == {"sent": 4, "pending": 2}
    assert [entry["kind"] for entry in logs if entry["event"] == "plan.paused" and entry["log_level"] == "warning"] == [
        "restored"
    ]
    assert rig.dispatcher.stopped


async def test_process_goes_on_once_adopted(rig: Rig, db: Connection) -> None:
    """An adoption leaves out requests that never arrived: the process must not name its own for ever."""
    backup = Snapshot(db)
    insert(db)
    await rig.tick("dispatch")
    backup.restore()
    await rig.tick("dispatch", "dispatch")

    db.execute("select outbox_engine.lift_restored(provider, plan) from outbox_engine.plan_pauses")
    insert(db, first=30)
    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 1}
    assert not rig.dispatcher.stopped
