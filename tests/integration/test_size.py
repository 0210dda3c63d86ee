"""The cost of a call depends on its own rows, not on how many others the tables hold. Tests count rows, not time."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from tests.campaigns import campaign, template
from tests.engine import insert
from tests.nightly import size
from tests.plans import TABLES, buffers_of, fresh_plans, planned, touched, walked
from tests.stack import Connection

__all__ = ["fresh_plans"]

FINISHED = size(10_000, 30_000)
SCHEDULED = size(25_000, 70_000)
OPTED_OUT = size(7_000, 20_000)
DUE = 5_000


@pytest.fixture
def big(db: Connection) -> Connection:
    fill(db)
    db.execute("analyze")
    insert(db, DUE)
    return db


@pytest.fixture
def generic(db: Connection) -> Iterator[Connection]:
    """A session that keeps its plans."""
    db.execute("set plan_cache_mode = force_generic_plan")
    yield db
    db.execute("reset plan_cache_mode")


@pytest.fixture
def grown(stack: LocalStack, generic: Connection) -> Connection:
    """The same, but every plan was made while the tables were almost empty, and the statistics still say so."""
    insert(generic, 100, first=9000)
    generic.execute("analyze")
    for batch in ("first", "second"):
        [dispatch] = claim(generic, 5)
        accept(generic, dispatch, batch)
        record(generic, dispatch, batch)
    with psycopg.connect(stack.admin_url, autocommit=True) as other:  # Setting a replication role makes the session plan again.
        fill(other)
        insert(other, DUE)
    return generic


def fill(db: Connection) -> None:
    """Add rows of the past and the future: delivered rows with their dispatches, rows scheduled for later, people opted out."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, sent_at,"
            " finalized_at, due_at, dispatch_id, batch_id)"
            " select '+1' || (2020000000 + n), 'hello', now(), now() + interval '1 day', 100, 'delivered', 1, now(), now(),"
            " now(), now(), md5('old' || n / 10)::uuid, 'old' || n / 10 from generate_series(1, %s) n",
            [FINISHED],
        )
        db.execute(
            "insert into outbox_engine.dispatches (id, claim_id, worker, provider, plan, host, credential, expires_at,"
            " recipients, state, lease_token, lease_until, deadline, claimed_at, accepted_at, batch_id)"
            " select distinct dispatch_id, dispatch_id, 'w', 'sinch', 'p', 'h', 'c', now(), 100, 'accepted', 0, now(),"
            " interval '10 s', now(), now(), batch_id from public.outbox where batch_id like 'old%'"
        )
        db.execute(
            "insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)"
            " select dispatch_id, recipient, id from public.outbox where batch_id like 'old%'"
        )
        db.execute(
            "insert into public.outbox_events (outbox_id, at, source, event, status, report_key)"
            " select id, now(), 'webhook', 'report', 'delivered', md5(recipient)::uuid from public.outbox"
            " where batch_id like 'old%'"
        )
        db.execute(
            "insert into public.outbox"
            " (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue, due_at)"
            " select '+1' || (4020000000 + n), 'hello', t.at, t.at + interval '1 day', 100, 'scheduled', 0, now(), 'w', t.at"
            " from generate_series(1, %s) n cross join lateral (select now() + n * interval '1 minute' as at) t",
            [SCHEDULED],
        )
        db.execute(
            "insert into public.outbox_suppressions (recipient) select '+1' || (5020000000 + n) from generate_series(1, %s) n",
            [OPTED_OUT],
        )


def claim(db: Connection, rows: int) -> list[dict[str, Any]]:
    row = db.execute(
        "select public.outbox_claim_due(%s, 'w', 'sinch', 'p', 'h', 'c', 30, 10, 8::smallint, 1000::smallint, %s, null, 600,"
        " null, true)",
        [str(uuid4()), rows],
    ).fetchone()
    assert row is not None
    dispatches: list[dict[str, Any]] = row[0]["dispatches"]  # type: ignore[index]
    return dispatches


def accept(db: Connection, dispatch: dict[str, Any], batch: str = "b") -> None:
    db.execute("select public.outbox_accept(%s::uuid[], array[%s], 'w', 30, 300)", [[dispatch["dispatch_id"]], batch])


def record(db: Connection, dispatch: dict[str, Any], batch: str = "b") -> None:
    n = [len(dispatch["recipients"])]
    db.execute(
        "select public.outbox_record_reports('webhook', array_fill(%s::text, %s), %s, array_fill('delivered'::text, %s),"
        " array_fill('0'::text, %s), array_fill(now()::text, %s), array_fill(''::text, %s), array_fill('{}'::text, %s))",
        [batch, n, dispatch["recipients"], n, n, n, n, n],
    )


def nothing_due(db: Connection) -> None:
    db.execute("delete from public.outbox where queue = 'r'")
    db.execute("vacuum public.outbox")


def test_claim_reads_only_due_rows(big: Connection) -> None:
    with touched(big) as read:
        [dispatch] = claim(big, 100)

    assert len(dispatch["recipients"]) == 100
    assert read["outbox"] <= 10 * 100
    assert read["outbox_suppressions"] <= 100
    assert read["outbox_events"] == 0


@pytest.mark.parametrize("kind", ["big", "grown"])
def test_no_plan_scans_a_whole_table(kind: str, request: pytest.FixtureRequest) -> None:
    db: Connection = request.getfixturevalue(kind)
    with planned(db) as claiming:
        [dispatch] = claim(db, 100)
    with planned(db) as accepting:
        accept(db, dispatch)
    with planned(db) as recording:
        record(db, dispatch)

    for steps in (claiming, accepting, recording):
        scans = [step for step in steps if "Scan" in step["Node Type"]]
        ours = [step for step in scans if step.get("Relation Name") in TABLES and step["Actual Loops"]]
        assert ours
        assert [step for step in ours if step["Node Type"] == "Seq Scan"] == []
        assert [step for step in scans if walked(step) > 4 * 100] == [], "nor one of its steps for each row of another"


def test_acceptance_scans_no_table_after_a_duplicate_send(big: Connection) -> None:
    big.execute(
        "insert into outbox_engine.duplicate_sends select id, dispatch_id, 'x', now(), now() from public.outbox limit 1"
    )
    [dispatch] = claim(big, 100)

    with planned(big) as steps:
        accept(big, dispatch)

    assert [step for step in steps if "Scan" in step["Node Type"] and walked(step) > 4 * 100] == []


def test_an_idle_claim_reads_next_to_nothing(big: Connection) -> None:
    nothing_due(big)

    with touched(big) as read:
        assert claim(big, 4000) == []

    assert sum(read.values()) <= 10


def test_idle_claims_are_cheap_after_many_priorities(db: Connection) -> None:
    db.execute(
        "insert into public.outbox (recipient, body, priority)"
        " select '+1' || (2020000000 + n), 'hello', n from generate_series(1, 2000) n"
    )
    db.execute("delete from public.outbox")
    db.execute("vacuum public.outbox")
    assert buffers_of_idle_claim(db) > 2000

    for _ in range(4):
        db.execute("update outbox_engine.clock set shift = shift + interval '11 minutes'")
        db.execute("select public.outbox_find_overlooked()")
    db.execute("vacuum outbox_engine.priorities")

    assert buffers_of_idle_claim(db) < 300


def buffers_of_idle_claim(db: Connection) -> int:
    with planned(db) as steps:
        assert claim(db, 100) == []
    return buffers_of(steps)


def test_due_rows_wake_without_scanning_the_others(big: Connection) -> None:
    nothing_due(big)
    big.execute("update outbox_engine.clock set shift = interval '50 minutes'")

    with touched(big) as read:
        dispatches = claim(big, 4000)

    assert 40 <= sum(len(dispatch["recipients"]) for dispatch in dispatches) <= 50
    assert read["outbox"] <= 10 * 50


def test_urgent_rows_wake_without_passing_a_campaign(big: Connection) -> None:
    """The campaign's rows are due as well, but there are more than a claim makes ready."""
    nothing_due(big)
    big.execute("update outbox_engine.clock set shift = interval '40 days'")
    now = big.execute("select outbox_engine.now()").fetchone()
    assert now is not None
    with big.transaction():
        big.execute("set local session_replication_role = replica")
        big.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue,"
            " due_at) select '+12025550199', 'hello', %s, %s + interval '1 day', 0, 'scheduled', 0, %s, 'w', %s",
            [*now * 4],
        )
        big.execute("insert into outbox_engine.priorities (priority) values (0)")

    with planned(big) as steps:
        big.execute("select outbox_engine.wake_due(outbox_engine.current_queue_bounds(), outbox_engine.now(), 1)")

    assert big.execute("select status from public.outbox where priority = 0").fetchone() == ("pending",)
    scans = [step for step in steps if step.get("Relation Name") == "outbox" and "Scan" in step["Node Type"]]
    assert scans
    # Entries that an index scan passes are not counted as rows.
    assert sum(step["Shared Hit Blocks"] + step["Shared Read Blocks"] for step in scans) < 50


def test_status_counts_no_more_than_it_must(big: Connection) -> None:
    nothing_due(big)
    with planned(big) as steps:
        big.execute("select public.outbox_status()")

    bound = 20_001
    scans = [step for step in steps if step.get("Relation Name") == "outbox" and "Actual Rows" in step]
    assert scans
    assert [step for step in scans if walked(step) > bound] == []
    assert len([step for step in scans if walked(step) > 100]) == 1, "only the count of scheduled rows"


def test_suppressed_rows_cost_no_scan(big: Connection) -> None:
    big.execute("insert into public.outbox_suppressions select recipient from public.outbox where queue = 'r'")

    with touched(big) as read:
        assert claim(big, 100) == []

    assert read["outbox"] <= 10 * 100


def test_accepting_and_recording_touch_only_their_rows(big: Connection) -> None:
    [dispatch] = claim(big, 100)

    with touched(big) as accepted:
        accept(big, dispatch)
    with touched(big) as recorded:
        record(big, dispatch)

    assert big.execute("select count(*) from public.outbox where batch_id = 'b' and status = 'delivered'").fetchone() == (100,)
    for read in (accepted, recorded):
        assert read["outbox"] <= 10 * 100
        assert read["dispatches"] <= 10 * 100
        assert read["dispatch_members"] <= 10 * 100
        assert read["outbox_events"] <= 10 * 100


def test_returned_rows_find_their_members_without_a_scan(generic: Connection) -> None:
    db = generic
    template(db)
    campaign(db, schedule="once", starts_at="2020-01-01 12:00Z", late_limit="100 years")
    add_members(db, 1, 100)
    db.execute("select public.outbox_expand_campaigns(1000)")
    db.execute("analyze")
    for _ in range(3):
        release(db, *claim(db, 100))
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        add_members(db, 101, 30_000)
        db.execute(
            "insert into public.outbox_campaign_occurrences"
            " (campaign, external_id, occurs_at, stands_for, outbox_id, created_at)"
            " select campaign, external_id, now(), now(), 1000000 + substr(external_id, 2)::integer, now()"
            " from public.outbox_campaign_members where external_id > 'm00100'"
        )
    db.execute("update public.outbox_campaign_members set recipient = '+12025550123' where external_id <= 'm00100'")

    with planned(db) as steps:
        dispatches = claim(db, 100)

    assert {number for dispatch in dispatches for number in dispatch["recipients"]} == {"+12025550123"}
    scans = [step for step in steps if step.get("Relation Name") in ("outbox_campaign_members", "outbox_campaign_occurrences")]
    assert [step for step in scans if step["Actual Loops"]]
    assert [step for step in scans if walked(step) > 4 * 100] == []


def add_members(db: Connection, first: int, last: int) -> None:
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, parameters, changed_at)"
        " select 'c', 'm' || lpad(n::text, 5, '0'), '+1' || (2020000000 + n), 'UTC', '{\"name\": \"Ada\"}', now()"
        " from generate_series(%s, %s::integer) n",
        [first, last],
    )


def release(db: Connection, *dispatches: dict[str, Any]) -> None:
    db.execute(
        "select public.outbox_release(%s::uuid[], %s)",
        [[dispatch[name] for dispatch in dispatches] for name in ("dispatch_id", "lease_token")],
    )
