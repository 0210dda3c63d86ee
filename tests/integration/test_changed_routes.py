"""What changes while messages are under way: routes are deleted and made, and plans are forgotten."""

import pytest

from tests.attempts import left_without_proof
from tests.calls import sent_to
from tests.engine import column, later, number
from tests.moving import begin, claim_of, moves, say, sent, upkeep
from tests.plans import fresh_plans, touched
from tests.races import overlap
from tests.routes import detour, route, route_of, set_route
from tests.shares import FIRST, SECOND, took
from tests.stack import Connection

__all__ = ["fresh_plans"]


@pytest.mark.parametrize("detour", ["new", "known"])
def test_move_meets_the_end_of_its_route(db: Connection, other: Connection, detour: str) -> None:
    """The upkeep job deletes the retired route, on which nothing waits, while a report moves a message there."""
    begin(db)
    codes = route(db, "codes", priority_below=50)
    db.execute("insert into public.outbox_route_plans values (%s, %s, %s, 0, 2)", [codes, *SECOND])
    if detour == "known":
        db.execute("select outbox_engine.make_detour(%s::smallint, '{sinch p}', null)", [codes])
    row, dispatch = sent(db, priority=10)
    db.execute("select public.outbox_remove_route('codes')")
    later(db, "61 minutes")
    claim_of(db, FIRST)
    claim_of(db, SECOND)

    overlap(db, lambda: say(db, dispatch, "aborted", 402), lambda: upkeep(other))
    assert db.execute("select from public.outbox_routes").fetchall() == []
    upkeep(db)

    assert len(moves(db, row)) == 1
    taken = [*claim_of(db, SECOND), *claim_of(db, FIRST)]
    assert sent_to(taken) == {number(0)}
    assert left_without_proof(db) == []


def test_message_of_no_route_is_matched(db: Connection) -> None:
    begin(db)
    codes = route(db, "codes", priority_below=50)
    db.execute("insert into public.outbox (recipient, body, priority) values (%s, 'hello', 10)", [number(0)])
    db.execute("delete from public.outbox_routes where id = %s", [codes])
    assert [*claim_of(db, FIRST), *claim_of(db, SECOND)] == []

    upkeep(db)

    assert route_of(db, 1) == "default"
    assert sent_to(claim_of(db, FIRST)) == {number(0)}


@pytest.mark.parametrize("name", ["codes", "default"])
def test_weight_in_a_country_holds_on_new_routes(db: Connection, name: str) -> None:
    """An operator pinned it before the route had the plan."""
    begin(db)
    if name == "default":
        set_route_of(db, name, {"vonage": "app"})
    db.execute("select public.outbox_pin_plan('sinch', 'p', 'GB', 100::smallint, true)")
    set_route_of(db, name, {"sinch": "p", "vonage": "app"})
    db.execute("insert into public.outbox (recipient, body, priority) values ('+447700900123', 'hello', 10)")

    assert took(db, FIRST, position=0) == 0
    assert took(db, SECOND, position=1) == 1


def set_route_of(db: Connection, name: str, plans: dict[str, str]) -> None:
    """Of plans with the same weight. The processes of these tests name no release, so they are taken for old ones."""
    db.execute("update outbox_engine.heartbeats set schema_version = 2")
    given = [{"provider": provider, "plan": plan, "weight": 50} for provider, plan in plans.items()]
    set_route(db, name, given, below=None if name == "default" else 50)


def test_messages_of_a_forgotten_plan_end(db: Connection) -> None:
    """No report on them came before, and no process asks for any."""
    begin(db)
    row, _ = sent(db, SECOND)
    db.execute("select public.outbox_end_process('w')")
    db.execute("select public.outbox_forget_plan('vonage', 'app')")
    upkeep(db)

    for interval in ("4 days", "61 minutes"):
        later(db, interval)
        upkeep(db)

    assert (column(db, "status", row), column(db, "error", row)) == ("unknown", "no report")
    assert db.execute("select from outbox_engine.dispatches where reconcile_at is not null").fetchall() == []


def test_upkeep_passes_the_backlog_of_other_routes(db: Connection) -> None:
    """It looks for messages of a detour that no plan is left for, and of routes that no process serves."""
    begin(db)
    route(db, "codes", priority_below=50)
    detour(db, 0, "sinch p", "vonage app")
    db.execute(
        "insert into public.outbox (recipient, body, send_at)"
        " select '+1' || (2020000000 + n), 'hello', now() + interval '1 day' from generate_series(1, 300) n"
    )
    # Statistics of an earlier test would have the planner read all that waits by another index.
    db.execute("analyze public.outbox")

    with touched(db) as read:
        db.execute("select outbox_engine.end_stranded(now(), 100), outbox_engine.alarm_without_plans(now())")
        db.execute("select public.outbox_list_plans()")

    assert read["outbox"] < 100
