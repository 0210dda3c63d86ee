"""What operators do with routes: write, list and remove them, and match waiting messages again."""

from typing import Any

import psycopg
import pytest

from tests.calls import claim_all, release
from tests.campaigns import campaign, template
from tests.engine import column, insert, later
from tests.routes import detour, live, route, route_of, set_route
from tests.stack import Connection, as_engine

A, B = {"provider": "sinch", "plan": "a"}, {"provider": "vonage", "plan": "b"}


@pytest.fixture
def plans(db: Connection) -> None:
    """Processes send for the plans sinch a and vonage b."""
    live(db, "sinch", "a")
    live(db, "vonage", "b")


def stored_plans(db: Connection, name: str) -> list[tuple[Any, ...]]:
    return db.execute(
        "select m.plan, m.weight from public.outbox_route_plans m where m.route ="
        " coalesce((select id from public.outbox_routes where name = %s), 0) order by m.position",
        [name],
    ).fetchall()


def listed(db: Connection) -> dict[str, dict[str, Any]]:
    row = db.execute("select public.outbox_list_routes()").fetchone()
    assert row is not None
    assert isinstance(row[0], list)
    return {one["name"]: one for one in row[0]}


def match_again(db: Connection, *, most: int = 100) -> dict[str, int]:
    """Match all messages again, ``most`` at a time. Returns the sums, and how many calls it took."""
    sums = {"looked_at": 0, "changed": 0, "skipped": 0, "calls": 0}
    after: int | None = 0
    while after is not None:
        row = db.execute("select public.outbox_match_again(%s, %s)", [after, most]).fetchone()
        assert row is not None
        assert isinstance(row[0], dict)
        after = row[0]["next"]
        sums["calls"] += 1
        for name in ("looked_at", "changed", "skipped"):
            sums[name] += row[0][name]
    return sums


@pytest.mark.usefixtures("plans")
def test_a_route_is_written_as_a_whole(db: Connection) -> None:
    set_route(db, "mine", [{**A, "weight": 70}, {**B, "weight": 30}], countries=["us", "DE", "de"], below=100, position=4)
    first = listed(db)["mine"]
    set_route(db, "mine", [B], channel="mms", after_network_failure=True)

    assert (first["countries"], first["priority_below"], first["position"]) == (["DE", "US"], 100, 4)
    assert [(plan["plan"], plan["weight"], plan["is_live"]) for plan in first["plans"]] == [("a", 70, True), ("b", 30, True)]
    second = listed(db)["mine"]
    assert (second["countries"], second["priority_below"], second["channel"]) == (None, None, "mms")
    assert (second["position"], second["after_network_failure"], len(second["plans"])) == (4, True, 1)


@pytest.mark.usefixtures("plans")
def test_plans_without_weights_stand_by(db: Connection) -> None:
    set_route(db, "one", [A, B], channel="sms")
    set_route(db, "two", [{**A, "weight": 0}, {**B, "weight": 5}], channel="mms")

    assert stored_plans(db, "one") == [("a", 100), ("b", 0)]
    assert stored_plans(db, "two") == [("a", 0), ("b", 5)]


@pytest.mark.usefixtures("plans")
def test_routes_come_in_matching_order(db: Connection) -> None:
    set_route(db, "x", [A], channel="sms")
    set_route(db, "z", [A], below=100)
    set_route(db, "y", [A], below=90)
    set_route(db, "old", [A], countries=["DE"])
    db.execute("select public.outbox_remove_route('old')")

    assert list(listed(db)) == ["z", "y", "x", "default", "old"]


@pytest.mark.parametrize(
    ("name", "rule", "says"),
    [
        ("Mine", {"channel": "sms"}, "'Mine' is not a name for a route"),
        ("mine", {}, "route 'mine' has no conditions"),
        ("default", {"channel": "sms"}, "the default route has no conditions"),
        ("default", {"position": 3}, "the default route has no position"),
        ("mine", {"countries": []}, "the list of countries is empty"),
        ("mine", {"countries": ["DE", "XX"]}, "country 'XX' is not known"),
        ("mine", {"countries": ["DE", None]}, "country NULL is not known"),
        ("mine", {"from_": 100, "below": 100}, "no priority is from 100 and below 100"),
        ("mine", {"below": -32768}, "no priority is from -32768 and below -32768"),
        ("mine", {"campaign": "spring"}, "campaign 'spring' does not exist"),
        ("mine", {"channel": "rcs"}, "channel 'rcs' is neither sms nor mms"),
        ("mine", {"countries": ["FR", "DE"]}, "route 'german' matches the same messages"),
    ],
)
@pytest.mark.usefixtures("plans")
def test_routes_that_match_nothing_are_refused(db: Connection, name: str, rule: dict[str, Any], says: str) -> None:
    set_route(db, "german", [A], countries=["DE", "FR"])

    with pytest.raises(psycopg.errors.InvalidParameterValue, match=says):
        set_route(db, name, [A], **rule)
    assert list(listed(db)) == ["german", "default"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "a route needs a plan"),
        ({}, "a route needs a plan"),
        (["a"], '"a" is not a plan'),
        ([{"provider": "sinch"}], "is not a plan"),
        ([{**A, "wieght": 1}], "is not a plan"),
        ([{"provider": "twilio", "plan": "a"}], "provider 'twilio' is not known"),
        ([{**A, "weight": 101}], "weight 101 of plan a is not between 0 and 100"),
        ([{**A, "weight": -1}], "weight -1 of plan a is not between 0 and 100"),
        ([{**A, "weight": 0.5}], "weight 0.5 of plan a is not between 0 and 100"),
        ([{**A, "weight": 0}], "all plans stand by"),
        ([A, {**B, "weight": 30}], "plan sinch a has no weight, and others have one"),
        ([A, B, A], "plan sinch a is named twice"),
        ([{"provider": "sinch", "plan": "c"}], "no running process sends for plan sinch c"),
    ],
)
@pytest.mark.usefixtures("plans")
def test_plans_that_cannot_carry_are_refused(db: Connection, given: Any, says: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=says):
        set_route(db, "mine", given, channel="sms")
    assert list(listed(db)) == ["default"]


@pytest.mark.usefixtures("plans")
def test_an_mms_route_needs_providers_that_send_them(db: Connection) -> None:
    db.execute("delete from outbox_engine.mms_countries where provider = 'vonage'")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="Vonage sends no MMS"):
        set_route(db, "mine", [A, B], channel="mms")


def test_plans_of_ended_processes_are_absent(db: Connection) -> None:
    live(db, "sinch", "a", worker="w")
    set_route(db, "mine", [A], channel="sms")
    serving = listed(db)["mine"]["serves"]
    db.execute("select public.outbox_end_process('w')")

    assert (serving, listed(db)["mine"]["serves"], listed(db)["default"]["serves"]) == (True, False, False)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no running process"):
        set_route(db, "mine", [A], channel="sms")
    set_route(db, "mine", [A], channel="sms", allow_absent=True)


def test_processes_of_older_releases_refuse_routes(db: Connection) -> None:
    live(db, "sinch", "a", version=1)

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="a process of an older release still run"):
        set_route(db, "mine", [A], channel="sms")


@pytest.mark.usefixtures("plans")
def test_the_51st_route_is_refused(db: Connection) -> None:
    for n in range(50):
        route(db, f"r{n}", priority_below=n)

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="there are 50 routes"):
        set_route(db, "mine", [A], channel="sms")
    set_route(db, "r3", [A], channel="sms")


@pytest.mark.usefixtures("plans")
def test_the_default_route_is_configured_and_reset(db: Connection) -> None:
    before = listed(db)["default"]
    set_route(db, "default", [B, A], after_network_failure=True)
    configured = listed(db)["default"]
    (waiting,) = insert(db)
    db.execute("select public.outbox_remove_route('default')")

    assert (before["plans"], before["serves"]) == ([], True)
    assert ([plan["plan"] for plan in configured["plans"]], configured["after_network_failure"]) == (["b", "a"], True)
    assert listed(db)["default"] == {**before, "waiting": 1}
    assert column(db, "route", waiting) == 0


def test_only_a_known_route_is_removed(db: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no route 'mine'"):
        db.execute("select public.outbox_remove_route('mine')")


@pytest.mark.usefixtures("plans")
def test_conditions_of_a_campaign_that_exists(db: Connection) -> None:
    template(db)
    campaign(db, "spring")

    set_route(db, "mine", [A], campaign="spring")

    assert listed(db)["mine"]["campaign"] == "spring"


# Waiting messages


@pytest.mark.usefixtures("plans")
def test_waiting_messages_are_matched_in_batches(db: Connection) -> None:
    ids = insert(db, 7) + insert(db, 3, first=7, priority=5, send_at="2198-01-01T00:00Z")
    as_engine(db, "update public.outbox set status = 'cancelled', queue = null, finalized_at = now() where id = %s", [ids[0]])
    set_route(db, "mine", [A], below=101)
    before = listed(db)["mine"]["waiting"]

    done = match_again(db, most=4)

    assert (before, listed(db)["mine"]["waiting"]) == (0, 9)
    assert done == {"looked_at": 10, "changed": 9, "skipped": 0, "calls": 3}
    assert match_again(db)["changed"] == 0
    assert [route_of(db, one) for one in ids] == ["default"] + ["mine"] * 9


@pytest.mark.usefixtures("plans")
def test_matching_leaves_claimed_messages_to_their_return(db: Connection, other: Connection) -> None:
    ids = insert(db, 2)
    set_route(db, "mine", [A], below=101)
    with other.transaction():
        (dispatch,) = claim_all(other, plan="a", rows=1)
        done = match_again(db)

    assert (done["changed"], done["skipped"]) == (1, 1)
    assert [route_of(db, one) for one in ids] == ["default", "mine"]
    release(db, dispatch)
    assert [route_of(db, one) for one in ids] == ["mine", "mine"]


@pytest.mark.usefixtures("plans")
def test_detours_around_refusals_move_with_their_route(db: Connection) -> None:
    stays, moves = insert(db, 2)
    set_route(db, "default", [A, B])
    set_route(db, "mine", [A, B], below=100)
    around = detour(db, 0, "sinch a")
    db.execute("update public.outbox set route = %s, priority = 100", [around])
    db.execute("update public.outbox set priority = 0 where id = %s", [moves])
    db.execute("update public.outbox set route = %s where id = %s", [around, moves])

    assert match_again(db)["changed"] == 1
    assert column(db, "route", stays) == around
    found = db.execute(
        "select r.name, d.without from public.outbox o join outbox_engine.detours d on d.id = o.route"
        " join public.outbox_routes r on r.id = d.route where o.id = %s",
        [moves],
    ).fetchone()
    assert found == ("mine", ["sinch a"])


@pytest.mark.usefixtures("plans")
def test_a_retired_route_keeps_its_messages(db: Connection) -> None:
    set_route(db, "mine", [A], below=101)
    (before,) = insert(db)
    db.execute("select public.outbox_remove_route('mine')")
    (after,) = insert(db, first=1)

    later(db, "2 hours")
    db.execute("select public.outbox_run_upkeep('{}', 1000)")

    assert [route_of(db, before), route_of(db, after)] == ["mine", "default"]
    assert (listed(db)["mine"]["waiting"], listed(db)["mine"]["serves"]) == (1, False)


@pytest.mark.usefixtures("plans")
def test_a_retired_route_goes_once_empty(db: Connection) -> None:
    set_route(db, "mine", [A], below=101)
    (waiting,) = insert(db, send_at="2198-01-01T00:00Z")
    of_mine = detour(db, column(db, "route", waiting), "sinch a")
    db.execute("update public.outbox set route = %s", [of_mine])
    db.execute("select public.outbox_remove_route('mine')")
    later(db, "2 hours")
    db.execute("select public.outbox_run_upkeep('{}', 1000)")
    kept = "mine" in listed(db)

    match_again(db)
    db.execute("select public.outbox_run_upkeep('{}', 1000)")

    assert (kept, list(listed(db))) == (True, ["default"])
    assert route_of(db, waiting) == f"detour {column(db, 'route', waiting)}"
    assert db.execute("select route from outbox_engine.detours").fetchall() == [(0,)]
    assert db.execute("select count(*) from public.outbox_route_plans").fetchone() == (0,)


@pytest.mark.usefixtures("plans")
def test_a_route_just_retired_is_kept(db: Connection) -> None:
    """An insert that saw it before it was retired may not have ended."""
    set_route(db, "mine", [A], below=101)
    db.execute("select public.outbox_remove_route('mine')")
    db.execute("select public.outbox_run_upkeep('{}', 1000)")
    kept = listed(db)["mine"]["retired_at"]

    set_route(db, "mine", [A], below=101)

    assert kept is not None
    assert listed(db)["mine"]["retired_at"] is None


def test_plans_may_come_as_text(db: Connection) -> None:
    """Supabase's lightweight server passes JSON on as a string."""
    set_route(db, "mine", '[{"provider": "sinch", "plan": "a"}]', channel="sms", allow_absent=True)

    assert stored_plans(db, "mine") == [("a", 100)]
