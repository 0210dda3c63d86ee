"""Which route a message takes, when it is inserted and when it changes."""

from typing import Any

import psycopg
import pytest

from tests.calls import claim, release
from tests.campaigns import campaign, member, template
from tests.engine import column, insert
from tests.routes import detour, route, route_of, routes_of
from tests.stack import Connection, as_engine

GERMAN, BRITISH = "+4915550100100", "+447700900123"


def send(db: Connection, **columns: Any) -> int:
    """Insert one message. Returns its id."""
    values = {"recipient": BRITISH, "body": "hello", **columns}
    row = db.execute(
        f"insert into public.outbox ({', '.join(values)}) values ({', '.join(['%s'] * len(values))}) returning id",
        list(values.values()),
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


@pytest.mark.parametrize(
    ("rule", "taken", "left"),
    [
        ({"countries": ["DE", "FR"]}, {"recipient": GERMAN}, {"recipient": BRITISH}),
        ({"countries": ["US"]}, {"recipient": "+12025550100"}, {"recipient": "+12425550100"}),
        ({"priority_below": 100}, {"priority": 99}, {"priority": 100}),
        ({"priority_from": 101}, {"priority": 101}, {"priority": 100}),
        ({"channel": "mms"}, {"media_url": "https://example.com/a.jpg"}, {}),
        ({"channel": "sms"}, {}, {"media_url": "https://example.com/a.jpg"}),
        ({"campaign": "spring"}, {"campaign": "spring"}, {"campaign": "autumn"}),
        ({"campaign": "spring"}, {"campaign": "spring"}, {}),
        ({"countries": ["DE"], "priority_below": 100}, {"recipient": GERMAN, "priority": 0}, {"recipient": GERMAN}),
    ],
)
def test_messages_take_the_route_they_match(
    db: Connection, rule: dict[str, Any], taken: dict[str, Any], left: dict[str, Any]
) -> None:
    route(db, "mine", **rule)

    assert routes_of(db, send(db, **taken), send(db, **left)) == ["mine", "default"]


def test_the_most_specific_route_wins(db: Connection) -> None:
    """A campaign counts more than countries, those more than priorities, and those more than a channel."""
    rules: list[dict[str, Any]] = [{"channel": "sms"}, {"priority_below": 200}, {"countries": ["GB"]}, {"campaign": "spring"}]

    taken = []
    for n, rule in enumerate(rules):
        route(db, f"r{n}", position=n, **rule)
        taken.append(route_of(db, send(db, campaign="spring")))

    assert taken == ["r0", "r1", "r2", "r3"]


def test_more_conditions_are_more_specific(db: Connection) -> None:
    route(db, "german", position=1, countries=["DE"])
    route(db, "german-codes", position=2, countries=["DE"], priority_below=100)

    assert routes_of(db, send(db, recipient=GERMAN, priority=0), send(db, recipient=GERMAN)) == ["german-codes", "german"]


def test_position_decides_between_equals(db: Connection) -> None:
    route(db, "second", position=2, countries=["GB", "DE"])
    route(db, "first", position=1, countries=["GB", "FR"])

    assert routes_of(db, send(db), send(db, recipient=GERMAN)) == ["first", "second"]


def test_retired_routes_take_no_message(db: Connection) -> None:
    route(db, "old", countries=["GB"], retired_at="2026-01-01T00:00Z")

    assert route_of(db, send(db)) == "default"


def test_a_countrys_detour_takes_its_numbers(db: Connection) -> None:
    mine = route(db, "mine", priority_below=100)
    around = detour(db, mine, country="GB")
    of_default = detour(db, 0, country="DE")
    detour(db, mine, "sinch p", country="GB")

    assert column(db, "route", send(db, priority=0)) == around
    assert route_of(db, send(db, priority=0, recipient=GERMAN)) == "mine"
    assert column(db, "route", send(db, recipient=GERMAN)) == of_default


def test_messages_of_campaigns_take_its_route(db: Connection) -> None:
    template(db)
    campaign(db, schedule="once", starts_at="2026-01-01T10:00Z", late_limit="1000 days")
    member(db)
    route(db, "mine", campaign="c")

    db.execute("select public.outbox_expand_campaigns(100)")

    row = db.execute("select id from public.outbox").fetchone()
    assert row is not None
    assert route_of(db, int(str(row[0]))) == "mine"


def test_apps_write_no_route(db: Connection) -> None:
    with db.transaction(force_rollback=True):
        db.execute("set local role service_role")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only the engine writes"), db.transaction():
            insert(db, route=7)

    assert column(db, "route", send(db, route=7)) == 0


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ({"countries": ["DE"]}, f"recipient = '{GERMAN}'"),
        ({"priority_below": 100}, "priority = 5"),
        ({"campaign": "spring"}, "campaign = 'spring'"),
        ({"channel": "mms"}, "media_url = 'https://example.com/a.jpg'"),
    ],
)
def test_a_changed_message_is_matched_again(db: Connection, rule: dict[str, Any], change: str) -> None:
    route(db, "mine", **rule)
    waiting = send(db)

    db.execute(f"update public.outbox set {change} where id = %s".encode(), [waiting])

    assert route_of(db, waiting) == "mine"


def test_a_final_message_keeps_its_route(db: Connection) -> None:
    ended = send(db)
    as_engine(db, "update public.outbox set status = 'cancelled', queue = null, finalized_at = now() where id = %s", [ended])
    route(db, "mine", countries=["DE"])

    db.execute("update public.outbox set recipient = %s where id = %s", [GERMAN, ended])

    assert route_of(db, ended) == "default"


def test_a_returned_message_is_matched_again(db: Connection) -> None:
    """Its route may have been retired and deleted while it was in a request."""
    gone = route(db, "gone", countries=["GB"])
    message = send(db)
    as_engine(db, "update public.outbox set route = 0 where id = %s", [message])
    dispatch = claim(db)
    db.execute("update public.outbox set route = %s where id = %s", [gone, message])
    db.execute("delete from public.outbox_routes where id = %s", [gone])
    route(db, "new", countries=["GB"])

    release(db, dispatch)

    assert (column(db, "queue", message), route_of(db, message)) == ("r", "new")


def test_refused_plans_stay_left_out(db: Connection) -> None:
    """A message on a detour around a plan that refused it takes the detour of its new route without that plan."""
    german = route(db, "german", countries=["DE"])
    db.execute("insert into public.outbox_route_plans values (%s, 'vonage', 'v', 0, 2)", [german])
    around = detour(db, 0, "sinch p")
    detour(db, 0, country="GB")
    message = send(db)
    db.execute("update public.outbox set route = %s where id = %s", [around, message])

    db.execute("update public.outbox set priority = 7 where id = %s", [message])
    assert column(db, "route", message) == around

    db.execute("update public.outbox set recipient = %s where id = %s", [GERMAN, message])
    found = db.execute(
        "select d.route, d.without from public.outbox o join outbox_engine.detours d on d.id = o.route where o.id = %s",
        [message],
    ).fetchone()
    assert found == (german, ["sinch p"])


def test_a_route_of_refusing_plans_only_is_taken(db: Connection) -> None:
    route(db, "german", countries=["DE"])
    around = detour(db, 0, "sinch p")
    message = send(db)
    db.execute("update public.outbox set route = %s where id = %s", [around, message])

    db.execute("update public.outbox set recipient = %s where id = %s", [GERMAN, message])

    assert route_of(db, message) == "german"
