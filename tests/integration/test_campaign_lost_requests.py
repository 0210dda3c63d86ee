"""A campaign's message was taken back, and its lost request is found after another message took over its time."""

from typing import Any

import pytest

from tests.calls import accept, claim, claim_all, look_up, mark_ambiguous, release, report
from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, Rig, column, history, number
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
WHY = "an earlier message for this time turned out to have been sent"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)
    db.execute("alter sequence public.outbox_id_seq restart")  # Tests that left no message may have advanced the sequence.


async def test_waiting_message_for_the_same_time_is_cancelled(db: Connection, rig: Rig, clocks: Clocks) -> None:
    lost = await taken_back_and_made_anew(db, rig, clocks)

    look_up(db, lost, ["B1"])
    await rig.tick("campaigns", "dispatch")

    assert rows(db, "id, status, batch_id, error") == [
        (1, "cancelled", "B1", "the member was removed from the campaign"),
        (2, "cancelled", None, WHY),
    ]
    assert history(db, 2) == ["cancelled"]
    assert occurrences(db) == [(1, False)]
    assert reasons(db) == [None]
    assert rig.simulator.summary().messages == 0
    assert (duplicate_sends(db), alarms(db)) == ([], [])
    report(db, "B1", number(1), "delivered")
    assert rows(db) == [("delivered",), ("cancelled",)]
    clocks.move("91 days")
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    assert rows(db) == db.execute("select * from outbox_engine.reassigned_occurrences").fetchall() == []


async def test_duplicate_send_for_one_time_needs_its_acceptance(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The second message is in a request when the first one's batch is found."""
    lost = await taken_back_and_made_anew(db, rig, clocks)
    second = claim(db)

    look_up(db, lost, ["B1"])
    assert (duplicate_sends(db, confirmed=True), alarms(db)) == ([], [])
    accept(db, second, "B2")

    assert rows(db, "status, batch_id") == [("cancelled", "B1"), ("sent", "B2")]
    assert duplicate_sends(db, confirmed=True) == [(2, "B1")]
    assert alarms(db) == [("message.duplicate_send", [2])]
    assert history(db, 2)[-2:] == ["accepted", "duplicate_send"]


@pytest.mark.parametrize("how", ["given back", "refused"])
async def test_returned_message_for_the_same_time_is_cancelled(db: Connection, rig: Rig, clocks: Clocks, how: str) -> None:
    lost = await taken_back_and_made_anew(db, rig, clocks)
    second = claim(db)
    look_up(db, lost, ["B1"])

    if how == "given back":
        release(db, second)
    else:
        db.execute(
            "select public.outbox_refuse(%s::uuid, %s, 'throttled', 'HTTP 429', 429::smallint, 1, 'w', 600)",
            [second["dispatch_id"], second["lease_token"]],
        )
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    clocks.move("2 minutes")
    await rig.tick("campaigns", "dispatch")

    assert rows(db, "status, batch_id") == [("cancelled", "B1"), ("cancelled", None)]
    assert column(db, "error", 2) == WHY
    assert occurrences(db) == [(1, False)]
    assert (duplicate_sends(db), alarms(db)) == ([], [])


async def test_sent_message_for_the_same_time_is_duplicate(db: Connection, rig: Rig, clocks: Clocks) -> None:
    lost = await taken_back_and_made_anew(db, rig, clocks)
    accept(db, claim(db), "B2")

    look_up(db, lost, ["B1"])

    assert rows(db, "status, batch_id") == [("cancelled", "B1"), ("sent", "B2")]
    assert duplicate_sends(db, confirmed=True) == [(2, "B1")]
    assert alarms(db) == [("message.duplicate_send", [2])]
    assert occurrences(db) == [(2, False)]
    look_up(db, lost, ["B1"])
    assert alarms(db) == [("message.duplicate_send", [2])]


async def test_time_of_a_found_message_is_not_reused(db: Connection, rig: Rig, clocks: Clocks) -> None:
    lost = await in_a_lost_request(db, rig)
    db.execute("delete from public.outbox_campaign_members")
    find_nothing(db, clocks, lost)
    assert occurrences(db) == [(1, True)]

    look_up(db, lost, ["B1"])
    member(db)
    await rig.tick("campaigns", "dispatch")

    assert rows(db, "status, batch_id") == [("cancelled", "B1")]
    assert occurrences(db) == [(1, False)]


async def test_each_duplicate_send_for_one_time_is_counted(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The first two requests are lost and found later; the third is accepted."""
    first = await taken_back_and_made_anew(db, rig, clocks)
    second = claim(db)
    mark_ambiguous(db, second)
    db.execute("delete from public.outbox_campaign_members")
    member(db)
    find_nothing(db, clocks, second)
    await rig.tick("campaigns")
    accept(db, claim(db), "B3")

    look_up(db, first, ["B1"])
    look_up(db, second, ["B2"])

    assert rows(db, "status, batch_id") == [("cancelled", "B1"), ("cancelled", "B2"), ("sent", "B3")]
    assert duplicate_sends(db, confirmed=True) == [(3, "B1"), (3, "B2")]


async def test_found_older_attempt_keeps_its_time(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """A later attempt of the same message was taken back."""
    lost = await in_a_lost_request(db, rig)
    find_nothing(db, clocks, lost)
    second = claim(db)
    db.execute("delete from public.outbox_campaign_members")
    member(db)
    look_up(db, lost, ["B1"])
    release(db, second)
    db.execute("select public.outbox_expand_campaigns(1000)")
    assert rows(db) == [("cancelled",), ("pending",)]

    claim_all(db)

    assert rows(db, "status, batch_id") == [("sent", "B1"), ("cancelled", None)]
    assert occurrences(db) == [(1, False)]
    assert (duplicate_sends(db), alarms(db)) == ([], [])


@pytest.mark.parametrize("news", ["delivered", "dispatched", "a second batch"])
async def test_time_of_an_accepted_message_is_not_reused(db: Connection, rig: Rig, clocks: Clocks, news: str) -> None:
    """A report had it wait again when it was withdrawn, and what is heard later contradicts that one."""
    campaign(db, schedule="once", starts_at=NOW, late_limit="5 hours")
    member(db)
    await rig.tick("campaigns")
    former = claim(db)
    accept(db, former, "B1")
    report(db, "B1", number(1), "aborted", 404)
    db.execute("delete from public.outbox_campaign_members")
    member(db)
    await rig.tick("campaigns")

    if news == "a second batch":
        accept(db, former, "B-again")
    else:
        report(db, "B1", number(1), news)
    clocks.move("20 minutes")
    await rig.tick("campaigns", "dispatch")

    assert rig.simulator.summary().messages == 0
    assert occurrences(db) == [(1, False)]
    assert rows(db) == [("delivered" if news == "delivered" else "cancelled",)]


async def taken_back_and_made_anew(db: Connection, rig: Rig, clocks: Clocks) -> dict[str, Any]:
    """The member is removed and added again while the request is ambiguous; two lookups then find nothing."""
    lost = await in_a_lost_request(db, rig)
    db.execute("delete from public.outbox_campaign_members")
    member(db)
    find_nothing(db, clocks, lost)
    await rig.tick("campaigns")
    assert rows(db) == [("cancelled",), ("pending",)]
    assert occurrences(db) == [(2, False)]
    return lost


async def in_a_lost_request(db: Connection, rig: Rig) -> dict[str, Any]:
    campaign(db, schedule="once", starts_at=NOW, late_limit="5 hours")
    member(db)
    await rig.tick("campaigns")
    lost = claim(db)
    mark_ambiguous(db, lost)
    return lost


def find_nothing(db: Connection, clocks: Clocks, dispatch: dict[str, Any]) -> None:
    for _ in range(2):
        clocks.move("30 seconds")
        look_up(db, dispatch, [])


def occurrences(db: Connection) -> list[tuple[Any, ...]]:
    return db.execute("select outbox_id, taken_back from public.outbox_campaign_occurrences").fetchall()


def duplicate_sends(db: Connection, *, confirmed: bool = False) -> list[tuple[Any, ...]]:
    return db.execute(
        "select outbox_id, batch_id from outbox_engine.duplicate_sends where confirmed_at is not null or not %s order by 1, 2",
        [confirmed],
    ).fetchall()


def alarms(db: Connection) -> list[tuple[Any, ...]]:
    return db.execute(
        "select kind, detail -> 'outbox_ids' from outbox_engine.alarms where kind = 'message.duplicate_send' order by id"
    ).fetchall()
