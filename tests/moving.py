"""Helpers for tests of messages that go to another plan: two plans on the default route, and a third."""

from typing import Any

from tests.calls import accept, claim_all, report
from tests.engine import insert, stand_still
from tests.shares import FIRST, SECOND, Named
from tests.stack import Connection

THIRD = ("sinch", "q")
"""It stands by after the two of :mod:`tests.shares`, of which the first carries everything."""


def begin(db: Connection) -> None:
    """A process of the first two plans runs, and the clock stands still."""
    stand_still(db)
    claim_of(db, FIRST)
    claim_of(db, SECOND)


def claim_of(db: Connection, named: Named, **settings: Any) -> list[dict[str, Any]]:
    position = [FIRST, SECOND, THIRD].index(named)
    return claim_all(db, provider=named[0], plan=named[1], position=position, **settings)


def only(dispatches: list[dict[str, Any]]) -> dict[str, Any]:
    (dispatch,) = dispatches
    return dispatch


def moves(db: Connection, row: int) -> list[str]:
    found = db.execute("select detail from public.outbox_events where outbox_id = %s and event = 'moved' order by id", [row])
    return [str(detail) for (detail,) in found]


def sent(db: Connection, named: Named = FIRST, **columns: Any) -> tuple[int, dict[str, Any]]:
    """A message that this plan accepted, as batch `B` and its recipient."""
    if named != FIRST:
        db.execute("select outbox_engine.pause_plan('sinch', 'p', 'operator', 'c', 'maintenance', 3600)")
    (row,) = insert(db, first=_count(db), **columns)
    dispatch = only(claim_of(db, named))
    accept(db, dispatch, batch_of(dispatch))
    db.execute("delete from outbox_engine.plan_pauses")
    return row, dispatch


def _count(db: Connection) -> int:
    found = db.execute("select count(*) from public.outbox").fetchone()
    assert found is not None
    return int(str(found[0]))


def batch_of(dispatch: dict[str, Any]) -> str:
    return f"B{dispatch['recipients'][0]}"


def say(db: Connection, dispatch: dict[str, Any], status: str, code: int = 0, **more: str) -> None:
    report(db, batch_of(dispatch), dispatch["recipients"][0], status, code, **more)


def allow_network(db: Connection) -> None:
    """The default route sends texts again that failed in the network."""
    db.execute("select nextval('outbox_engine.route_ids')")
    db.execute("insert into outbox_engine.default_route (after_network_failure) values (true)")


def upkeep(db: Connection) -> None:
    db.execute("""select public.outbox_run_upkeep('{"messages": null}', 1000)""")


def alarms(db: Connection, kind: str) -> list[Any]:
    return [detail for (detail,) in db.execute("select detail from outbox_engine.alarms where kind = %s order by id", [kind])]
