"""Detours that nothing uses go after 30 days. A message that needs one never misses it."""

from tests.calls import refuse, sent_to
from tests.engine import insert, later, number
from tests.moving import begin, claim_of, only, upkeep
from tests.races import overlap
from tests.routes import detour, route_of
from tests.shares import FIRST, SECOND
from tests.stack import Connection

MAKE = "select outbox_engine.make_detour(0::smallint, %s, null)"


def kept(db: Connection) -> set[object]:
    return {one for (one,) in db.execute("select id from outbox_engine.detours")}


def lower(db: Connection, country: str, lost: int) -> None:
    db.execute(
        "insert into outbox_engine.plan_health values ('sinch', 'p', %s, %s, true, 'pinned', now(), now())"
        " on conflict (provider, plan, country) do update set lost = excluded.lost",
        [country, lost],
    )


def test_only_unused_detours_go(db: Connection) -> None:
    """One has a waiting message, one a request of the last hour, one a plan that is slow in its country."""
    begin(db)
    (waiting,) = insert(db, send_at="2198-01-01T00:00Z")
    around, unused, slow, _ = (
        detour(db, 0, "sinch p"),
        detour(db, 0, "vonage app"),
        detour(db, 0, country="GB"),
        detour(db, 0, country="DE"),
    )
    db.execute("update public.outbox set route = %s where id = %s", [around, waiting])
    lower(db, "GB", 10)
    upkeep(db)
    later(db, "29 days")
    upkeep(db)
    assert len(kept(db)) == 4

    # A message that moves now takes one of them into use.
    db.execute(MAKE, [["vonage app"]])
    later(db, "2 days")
    upkeep(db)
    assert kept(db) == {around, unused, slow}

    db.execute("update public.outbox set route = 0 where id = %s", [waiting])
    db.execute("insert into outbox_engine.route_sends values (%s, outbox_engine.now(), 'vonage', 'app', 1)", [around])
    lower(db, "GB", 0)
    upkeep(db)
    later(db, "20 days")
    upkeep(db)
    later(db, "11 days")
    upkeep(db)
    assert kept(db) == {around}


def test_unused_country_detour_takes_no_message(db: Connection) -> None:
    """It stays with those that wait on it. Where the plan loses weight again, it is in use again."""

    def route_of_next() -> str:
        found = db.execute(
            "insert into public.outbox (recipient, body) values ('+447700900123', 'hello') returning id"
        ).fetchone()
        assert found is not None
        return route_of(db, int(str(found[0])))

    begin(db)
    british = detour(db, 0, country="GB")
    lower(db, "GB", 10)
    routes = [route_of_next()]
    lower(db, "GB", 0)
    upkeep(db)
    routes.append(route_of_next())
    db.execute("update public.outbox set route = 0")
    upkeep(db)
    routes.append(route_of_next())
    db.execute("select public.outbox_pin_plan('sinch', 'p', 'GB', 10::smallint, true)")
    routes.append(route_of_next())

    assert routes == [f"detour {british}", f"detour {british}", "default", f"detour {british}"]


def test_detour_deleted_meanwhile_is_made_again(db: Connection, other: Connection) -> None:
    """The upkeep job deletes it at the moment in which a message is to take it."""
    begin(db)
    old = detour(db, 0, "sinch p")
    upkeep(db)
    later(db, "31 days")

    (_, made) = overlap(db, lambda: upkeep(db), lambda: other.execute(MAKE, [["sinch p"]]).fetchone())

    assert made is not None
    assert kept(db) == {made[0]} != {old}


def test_refused_message_finds_its_old_detour(db: Connection) -> None:
    begin(db)
    detour(db, 0, "sinch p")
    upkeep(db)
    later(db, "31 days")
    claim_of(db, SECOND)
    insert(db)

    refuse(db, only(claim_of(db, FIRST)))
    upkeep(db)

    assert sent_to(claim_of(db, SECOND)) == {number(0)}
