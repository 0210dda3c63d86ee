"""Alarms: each is offered to one process at a time, until one acknowledges it."""

from typing import Any

import pytest

from tests.campaigns import campaign, member, template
from tests.engine import later, stand_still
from tests.stack import Connection

BREAK = """
    alter table public.outbox_campaigns disable trigger outbox_campaigns_change;
    update public.outbox_campaigns set sender = '???';
    alter table public.outbox_campaigns enable trigger outbox_campaigns_change;
"""


@pytest.fixture(autouse=True)
def _still(db: Connection) -> None:
    stand_still(db)


def keep(db: Connection, *raws: str) -> None:
    """A callback that could not be read is an alarm."""
    for raw in raws:
        db.execute("select public.outbox_keep_callbacks(array['no JSON'], array[%s])", [raw])


def take(db: Connection, *, limit: int = 10) -> list[dict[str, Any]]:
    answer: Any = db.execute("select public.outbox_take_alarms(%s::smallint)", [limit]).fetchone()
    return list(answer[0])


def acknowledge(db: Connection, alarms: list[dict[str, Any]]) -> None:
    db.execute("select public.outbox_acknowledge_alarms(%s)", [[str(alarm["id"]) for alarm in alarms]])


def reject(db: Connection, count: int) -> None:
    """A process has rejected callbacks."""
    db.execute("select public.outbox_record_rejected_callbacks(%s)", [count])


def test_parts_of_one_count_are_one_alarm(db: Connection) -> None:
    reject(db, 3)
    reject(db, 4)

    assert [alarm["detail"] for alarm in take(db)] == [{"count": 7}]


def test_count_after_an_alarm_was_taken_is_another(db: Connection) -> None:
    reject(db, 3)
    taken = take(db)
    reject(db, 4)
    acknowledge(db, taken)
    reject(db, 5)

    assert [alarm["detail"] for alarm in taken + take(db)] == [{"count": 3}, {"count": 9}]


def test_later_count_is_another_alarm(db: Connection) -> None:
    reject(db, 3)
    later(db, "31 seconds")
    reject(db, 4)

    assert [alarm["detail"] for alarm in take(db)] == [{"count": 3}, {"count": 4}]


def test_alarm_is_offered_to_one_process_only(db: Connection) -> None:
    keep(db, "e30=")

    assert len(take(db)) == 1
    later(db, "59.999 seconds")
    assert take(db) == []


def test_unacknowledged_alarm_is_offered_again(db: Connection) -> None:
    """The process that took it died."""
    keep(db, "e30=")
    (alarm,) = take(db)
    later(db, "1 minute")

    assert take(db) == [alarm]


def test_alarm_being_taken_is_left_to_others(db: Connection, other: Connection) -> None:
    keep(db, "e30=")
    other.execute("set lock_timeout = '1s'")

    with db.transaction():
        assert len(take(db)) == 1
        assert take(other) == []


def test_acknowledged_alarm_is_offered_no_more(db: Connection) -> None:
    keep(db, "e30=")
    acknowledge(db, take(db))
    later(db, "1 minute")

    assert take(db) == []


def test_the_first_acknowledgement_counts(db: Connection) -> None:
    """A process that got no answer acknowledges the alarm again."""
    keep(db, "e30=")
    alarms = take(db)
    acknowledge(db, alarms)
    at = db.execute("select acknowledged_at from outbox_engine.alarms").fetchall()
    later(db, "1 day")

    acknowledge(db, alarms)

    assert db.execute("select acknowledged_at from outbox_engine.alarms").fetchall() == at


def test_alarms_are_taken_in_their_order(db: Connection) -> None:
    keep(db, "e30=", "W10=", "MQ==")

    first = take(db, limit=2)
    (last,) = take(db, limit=2)

    ids = [alarm["id"] for alarm in (*first, last)]
    assert ids == sorted(ids)


def test_callbacks_of_one_call_are_one_alarm(db: Connection) -> None:
    db.execute("select public.outbox_keep_callbacks(array['no JSON', 'no batch'], array['e30=', 'W10='])")
    keep(db, "e30=")

    (alarm,) = take(db)

    assert (alarm["kind"], alarm["detail"]["count"]) == ("callback.unusable", 2)


@pytest.mark.parametrize(
    ("step", "raises"), [("59 minutes", False), ("-59 seconds", False), ("-61 seconds", True), ("1 hour", True)]
)
def test_repeated_alarm_heeds_a_clock_set_back(db: Connection, step: str, raises: bool) -> None:
    again = "select outbox_engine.alarm_at_most('k', '{\"plan\": 1}', '{\"plan\": 1}', '1 hour', outbox_engine.now())"
    db.execute(again)
    later(db, step)

    db.execute(again)
    assert len(take(db)) == 1 + raises

    db.execute("select outbox_engine.alarm_at_most('k', '{}', '{\"plan\": 2}', '1 hour', outbox_engine.now())")
    assert len(take(db)) == 1


def test_each_stuck_campaign_raises_an_alarm(db: Connection) -> None:
    template(db)
    now: Any = db.execute("select outbox_engine.now()").fetchone()
    for name in ("c", "d"):
        campaign(db, name, schedule="once", starts_at=now[0])
        member(db, to=name)
    db.execute(BREAK)

    db.execute("select public.outbox_expand_campaigns(10)")

    assert sorted(alarm["detail"]["campaign"] for alarm in take(db)) == ["c", "d"]


def test_stuck_campaign_raises_one_alarm_an_hour(db: Connection) -> None:
    """Also after the upkeep job has run."""
    template(db)
    now: Any = db.execute("select outbox_engine.now()").fetchone()
    campaign(db, schedule="once", starts_at=now[0])
    member(db)
    db.execute(BREAK)

    raised = []
    for _ in range(3):
        db.execute("select public.outbox_expand_campaigns(10)")
        db.execute("select public.outbox_upkeep(90, null, 1000)")
        alarms = take(db)
        acknowledge(db, alarms)
        raised.append([alarm["kind"] for alarm in alarms])
        later(db, "30 minutes")

    assert raised == [["campaign.stuck"], [], ["campaign.stuck"]]
