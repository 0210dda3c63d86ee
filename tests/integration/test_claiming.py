"""A claim whose answer was lost is repeated, and the repetition takes no further rows."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.rpc import Rpc
from tests import calls
from tests.engine import MakeRig, insert, later, statuses
from tests.races import overlap
from tests.stack import Connection


def claim(db: Connection, claim_id: UUID, *, dispatches: int = 1, recipients: int = 5) -> dict[str, Any]:
    row = db.execute(
        "select public.outbox_claim_due(%s, 'w', 'sinch', 'p', 'h', 'c', 60, 20, %s::smallint, %s::smallint, %s, null, 100000,"
        " null, true)",
        (claim_id, dispatches, recipients, recipients),
    ).fetchone()
    assert row is not None
    answer: Any = row[0]
    return dict(answer)


def test_repeated_claim_returns_the_same_dispatches(db: Connection) -> None:
    insert(db, 20)
    claim_id = uuid4()

    assert claim(db, claim_id)["dispatches"] == claim(db, claim_id)["dispatches"]
    assert statuses(db) == {"sending": 5, "pending": 15}


def test_repeated_claim_leaves_out_halves(db: Connection) -> None:
    """The halves of a refused dispatch were returned to its refusal."""
    insert(db, 2, body="refused")
    insert(db, 1, first=2, body="whole")
    claim_id = uuid4()
    refused, whole = sorted(calls.claim_all(db, claim_id=claim_id), key=lambda dispatch: str(dispatch["body"]))
    calls.refuse(db, refused, "shared")

    again = calls.claim_all(db, claim_id=claim_id)

    assert [dispatch["dispatch_id"] for dispatch in again] == [whole["dispatch_id"]]


def test_repeated_claim_waits_for_the_first(db: Connection, other: Connection) -> None:
    """It takes nothing more."""
    insert(db, 20)
    claim_id = uuid4()

    first, again = overlap(db, lambda: claim(db, claim_id), lambda: claim(other, claim_id))

    assert again["dispatches"] == first["dispatches"]
    assert statuses(db) == {"sending": 5, "pending": 15}


def test_repeated_claim_waits_even_when_rows_ran_out(db: Connection, other: Connection) -> None:
    """No other process sees the rows that the first claim made ready."""
    insert(db, 5, send_at="2100-01-01", expires_at="2100-01-02")
    db.execute("update public.outbox set due_at = outbox_engine.now()")
    claim_id = uuid4()

    first, again = overlap(db, lambda: claim(db, claim_id), lambda: claim(other, claim_id))

    assert len(first["dispatches"]) == 1
    assert again["dispatches"] == first["dispatches"]


def claim_a_thousand(db: Connection, *, dispatches: int = 8, urgent_only: bool = False) -> dict[str, Any]:
    """Up to a thousand rows, texts that differ together."""
    row = db.execute(
        "select public.outbox_claim_due(gen_random_uuid(), 'w', 'sinch', 'p', 'h', 'c', 60, 20, %s::smallint, 1000::smallint,"
        " 1000, null, 600, null, true, %s)",
        [dispatches, urgent_only],
    ).fetchone()
    assert row is not None
    answer: Any = row[0]
    return dict(answer)


def test_expired_urgent_rows_delay_no_others(db: Connection) -> None:
    insert(db, 1, body="ordinary")
    insert(db, 1, body="Your code is 1234", first=1, priority=0)
    db.execute("update public.outbox set expires_at = outbox_engine.now() where priority = 0")

    claim_a_thousand(db)

    assert statuses(db) == {"sending": 1, "expired": 1}


def test_urgent_rows_are_claimed_apart_from_others(db: Connection) -> None:
    """Otherwise a one-time code would wait until thousands of other rows are made ready to share its request."""
    insert(db, 50, body="campaign", priority=200)
    insert(db, 10, body="ordinary", first=50)
    insert(db, 3, body="Your code is 1234", first=60, priority=0)

    bodies = [[dispatch["body"] for dispatch in claim_a_thousand(db)["dispatches"]] for _ in range(2)]

    assert bodies == [["Your code is 1234"], ["ordinary", "campaign"]]


def test_urgent_claim_leaves_and_reports_no_ordinary_rows(db: Connection) -> None:
    insert(db, 10, body="ordinary")
    insert(db, 3, body="Your code is 1234", first=10, priority=0)
    insert(db, 2, body="Your code is 5678", first=20, priority=99, sender="+12025550199")

    first, second, third = (claim_a_thousand(db, dispatches=1, urgent_only=True) for _ in range(3))

    bodies = [[dispatch["body"] for dispatch in claim["dispatches"]] for claim in (first, second, third)]
    assert bodies == [["Your code is 1234"], ["Your code is 5678"], []]
    assert [claim["more"] for claim in (first, second, third)] == [True, False, False]
    assert statuses(db) == {"sending": 5, "pending": 10}


def claimed(db: Connection, requests_per_minute: int) -> int:
    """How many rows a claim takes that may take 2,000 in requests of 1,000."""
    row = db.execute(
        "select sum(jsonb_array_length(d -> 'recipients')) from jsonb_array_elements(public.outbox_claim_due(gen_random_uuid(),"
        " 'w', 'sinch', 'p', 'h', 'c', 60, 20, 8::smallint, 1000::smallint, 2000, null, %s, null, true) -> 'dispatches') d",
        (requests_per_minute,),
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


@pytest.mark.parametrize(
    ("after", "requests_per_minute", "taken"), [("4 seconds", 600, 500), ("6 seconds", 600, 1200), ("4 seconds", 2, 1000)]
)
def test_claims_stay_small_while_urgent_rows_arrive(db: Connection, after: str, requests_per_minute: int, taken: int) -> None:
    """Only where the plan has requests to spare."""
    db.execute("update outbox_engine.clock set frozen_at = now()")
    insert(db, 1, body="Your code is 1234", priority=0)
    claimed(db, 600)
    insert(db, 1200, body="campaign", first=1, priority=200)
    later(db, after)

    assert claimed(db, requests_per_minute) == taken


def test_rows_inserted_during_claims_join_one_dispatch_each(db: Connection, other: Connection) -> None:
    """A claim runs several queries. None may write rows that a later one does not see."""
    with ThreadPoolExecutor() as threads:
        inserting = threads.submit(lambda: [insert(other, first=n) for n in range(2000)])
        while not inserting.done():
            claim(db, uuid4(), dispatches=8, recipients=1000)
        inserting.result()

    twice = db.execute("select outbox_id from outbox_engine.dispatch_members group by outbox_id having count(*) > 1").fetchall()
    assert twice == []


async def test_lost_claim_answer_neither_loses_nor_duplicates(
    make_rig: MakeRig, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several claims run at once."""
    insert(db, 6000)
    rig = await make_rig()
    call, asked = Rpc.call, Counter[str]()

    async def loses(rpc: Rpc, function: str, arguments: dict[str, Any]) -> Any:
        answer = await call(rpc, function, arguments)
        asked[function] += 1
        if function == "outbox_claim_due" and asked[function] == 2:
            raise GatewayUnavailable("lost on the way back")
        return answer

    monkeypatch.setattr(Rpc, "call", loses)

    with pytest.raises(GatewayUnavailable):
        await rig.tick("dispatch")
    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 6000}
    books = rig.simulator.summary()
    assert (books.messages, books.sent_twice, books.requests["send"]) == (6000, 0, 6)
