"""Histories, reports, imports and edits read what they are asked for, not the table. Tests count pages and rows."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.campaigns import campaign, template
from tests.nightly import size
from tests.plans import buffers_of, fresh_plans, planned, touched, walked
from tests.stack import Connection

__all__ = ["fresh_plans"]

FINISHED = size(10_000, 200_000)
"""Messages with three events each. Reading the events of all takes some hundred pages."""
OWNED = {"none": 0, "few": 3, "many": 1_000}
HISTORIES = {
    "one message": "select * from public.outbox_events where outbox_id = (select max(id) from public.outbox) order by id",
    "latest messages": "select * from public.outbox_events where outbox_id = any"
    " (array(select id from public.outbox order by id desc limit 10)) order by id",
    "messages": "select * from public.outbox order by id desc limit 50",
}
NEWEST = "select * from public.outbox_events order by id desc limit 50"
LINES = 2_000
CHUNK = 100


@pytest.fixture
def users(db: Connection) -> dict[str, UUID]:
    """Users with messages, spread over a table of other people's."""
    users = {name: uuid4() for name in OWNED}
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at)"
            " select '+1' || (2020000000 + n), 'hello', now(), now(), 100, 'delivered', 1, now()"
            " from generate_series(1, %s) n",
            [FINISHED],
        )
        for name, count in OWNED.items():
            if count:
                db.execute(
                    "update public.outbox set owner_id = %s"
                    " where id in (select 1 + n * %s / %s from generate_series(0, %s - 1) n) and owner_id is null",
                    [users[name], FINISHED, count, count],
                )
        db.execute(
            "insert into public.outbox_events (outbox_id, at, source, event)"
            " select o.id, now(), 'engine', 'accepted' from generate_series(1, 3) n cross join public.outbox o"
        )
    db.execute("vacuum analyze public.outbox, public.outbox_events")
    return users


@pytest.mark.parametrize(("user", "history"), [*product(OWNED, HISTORIES), ("none", "newest"), ("few", "newest")])
def test_history_of_a_user_reads_few_pages(db: Connection, users: dict[str, UUID], user: str, history: str) -> None:
    asked = HISTORIES.get(history, NEWEST)
    with db.transaction():
        db.execute("set local role authenticated")
        db.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps({"sub": str(users[user])})])
        found = db.execute(asked).fetchall()
        row = db.execute(f"explain (analyze, buffers, format json) {asked}").fetchone()
    assert row is not None
    plan: Any = row[0]

    owned = OWNED[user]
    events = {"one message": 3 * min(1, owned), "latest messages": 3 * min(10, owned), "messages": min(50, owned)}
    assert len(found) == events.get(history, 3 * owned)
    assert buffers_of([plan[0]["Plan"]]) < 100


@pytest.fixture
def members(db: Connection) -> Connection:
    """A campaign whose occurrences, skipped, sent, failed and deleted ones, are a part of the table."""
    template(db)
    for name in ("c", "other"):
        campaign(db, name, schedule="once", starts_at="2030-01-01 12:00+00")
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, sent_at,"
            " finalized_at, campaign, error, parts)"
            " select '+1' || (4150000000 + n), 'hello', now(), now(), 200,"
            " case when n % 10 = 0 then 'failed' else 'delivered' end, 1, '2026-01-01',"
            " timestamptz '2026-01-01 00:00+00' + n * interval '37 minutes', '2026-04-01', 'c',"
            " case when n % 10 = 0 then 'refused' end, 1 from generate_series(1, 3000) n"
        )
        db.execute(
            "insert into public.outbox_campaign_occurrences"
            " (campaign, external_id, occurs_at, stands_for, outbox_id, reason, created_at)"
            " select case when n % 2 = 0 then 'c' else 'other' end, 'm' || n, now(), now(),"
            " case when n % 3 > 0 then n end, case when n % 3 = 0 then 'the member was removed' end, now()"
            " from generate_series(1, 3100) n"
        )
    db.execute("analyze")
    return db


def stretches(db: Connection, most: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The answer of each call, and the report."""
    answers: list[dict[str, Any]] = []
    while not answers or answers[-1]["report"] is None:
        state = json.dumps(answers[-1]["state"]) if answers else None
        row = db.execute("select public.outbox_read_campaign_report('c', %s, %s)", [state, most]).fetchone()
        assert row is not None
        answers.append(row[0])  # type: ignore[arg-type]
    return answers, answers[-1]["report"]


@pytest.mark.parametrize("most", [50, 77, 500, 1550, 2000])
def test_report_is_the_same_in_any_stretches(members: Connection, most: int) -> None:
    row = members.execute("select public.outbox_campaign_report('c')").fetchone()
    assert row is not None

    answers, report = stretches(members, most)

    assert report == row[0]
    assert len(answers) == 1550 // most + 1
    assert report["statuses"] == {"delivered": 800, "failed": 200}
    assert sum(step["sent"] for step in report["timeline"]) == report["sent"] == 1000
    assert report["skipped"] == [{"reason": "the member was removed", "messages": 516}]
    assert report["forgotten"] == 34
    assert len(json.dumps(answers[-1]["state"])) < 20_000


def test_report_stretch_reads_only_its_occurrences(members: Connection) -> None:
    with planned(members) as steps, touched(members) as read:
        members.execute("select public.outbox_read_campaign_report('c', null, %s)", [CHUNK])

    assert read["outbox"] <= 3 * CHUNK
    assert read["outbox_campaign_occurrences"] <= 3 * CHUNK
    scans = [step for step in steps if step.get("Relation Name") in ("outbox", "outbox_campaign_occurrences")]
    assert scans
    assert [step for step in scans if step["Node Type"] == "Seq Scan" or walked(step) > 3 * CHUNK] == []


def test_opted_out_recipient_counts_once_in_any_stretch(members: Connection) -> None:
    """Two messages to one number, in two stretches."""
    members.execute("update public.outbox set recipient = '+14155550100' where id in (2, 4)")
    members.execute(
        "insert into outbox_engine.campaign_sends (outbox_id, campaign, recipient, parts, at)"
        " select id, 'c', recipient, 1, sent_at from public.outbox where id in (2, 4)"
    )
    members.execute(
        "insert into public.outbox_suppressions (recipient, reason, by_engine) values ('+14155550100', 'STOP', true)"
    )

    assert stretches(members, 50)[1]["opted_out"] == 1


def test_retention_finds_each_occurrence_by_its_message(members: Connection) -> None:
    members.execute("set plan_cache_mode = force_generic_plan")
    members.execute("update outbox_engine.upkeep set pruned_to = 0")

    with touched(members) as read:
        row = members.execute("select public.outbox_upkeep(15, 15, %s)", [CHUNK]).fetchone()

    assert row is not None
    assert row[0]["pruned"] == CHUNK  # type: ignore[index]
    assert read["outbox_campaign_occurrences"] <= 3 * CHUNK
    assert read["outbox"] <= 10 * CHUNK


@pytest.fixture
def importing(db: Connection) -> str:
    """An import whose plans were made while its tables were empty."""
    template(db)
    campaign(db, schedule="once", starts_at="2030-01-01 12:00+00")
    db.execute("set plan_cache_mode = force_generic_plan")
    import_id = str(uuid4())
    for first in range(1, LINES, CHUNK):
        assert stage(db, import_id, first) == []
    return import_id


@pytest.fixture(autouse=True)
def _plans(db: Connection) -> Iterator[None]:
    yield
    db.execute("reset plan_cache_mode")


def stage(db: Connection, import_id: str, first: int, ids: str = "n") -> Any:
    row = db.execute(
        f"select public.outbox_stage_members(%s, 'c', array_agg(n), array_agg('m' || {ids}),"
        " array_agg('+1' || (2020000000 + n)),"
        " array_agg('UTC'::text), array_agg(''::text), array_agg('{\"name\": \"Ada\"}'::text))"
        " from generate_series(%s, %s::integer) n",
        [import_id, first, first + CHUNK - 1],
    ).fetchone()
    assert row is not None
    return row[0]


def write(db: Connection, import_id: str, most: int = CHUNK) -> Any:
    row = db.execute("select public.outbox_write_members(%s, %s)", [import_id, most]).fetchone()
    assert row is not None
    return row[0]


def test_staging_compares_no_line_with_all_others(db: Connection, importing: str) -> None:
    with touched(db) as read:
        assert stage(db, importing, LINES + 1) == []

    assert read["campaign_import_lines"] <= 3 * CHUNK


def test_line_of_a_known_member_names_the_first(db: Connection, importing: str) -> None:
    refused = stage(db, importing, LINES + 1, ids="least(n, 2050)")

    assert len(refused) == CHUNK - 50
    assert refused[0] == {"line": 2051, "problem": "external_id 'm2050' is on line 2050 already"}
    assert stage(db, importing, LINES + 1, ids="least(n, 2050)") == refused


def test_written_members_read_only_their_lines(db: Connection, importing: str) -> None:
    for _ in range(3):
        write(db, importing)

    with touched(db) as read:
        assert write(db, importing) == {"added": 4 * CHUNK, "changed": 0, "unchanged": 0, "left": True}

    assert read["campaign_import_lines"] <= 10 * CHUNK
    assert read["outbox_campaign_members"] <= 5 * CHUNK


def test_import_goes_on_after_a_lost_answer(db: Connection, importing: str) -> None:
    done = [write(db, importing, 700) for _ in range(4)]

    assert [(one["added"], one["left"]) for one in done] == [(700, True), (1400, True), (2000, False), (2000, False)]
    assert db.execute("select count(*) from public.outbox_campaign_members").fetchone() == (LINES,)
    assert db.execute("select count(*) from outbox_engine.campaign_import_lines").fetchone() == (0,)


def test_import_stops_at_an_edit_of_the_template(db: Connection, importing: str) -> None:
    write(db, importing)
    db.execute("update public.outbox_templates set body = 'Bye {{name}}'")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="was changed during the import"):
        write(db, importing)

    db.execute("select public.outbox_discard_import(%s)", [importing])
    assert db.execute("select count(*) from public.outbox_campaign_members").fetchone() == (CHUNK,)
    assert db.execute("select count(*) from outbox_engine.campaign_imports").fetchone() == (0,)


@pytest.mark.parametrize(
    "change", ["send_at = send_at + interval '1 hour'", "priority = 50", "body = 'later'", "status = 'cancelled'"]
)
def test_edit_of_waiting_rows_reads_only_those(db: Connection, users: dict[str, UUID], change: str) -> None:
    assert users
    db.execute(
        "insert into public.outbox (recipient, body, send_at)"
        " select '+1' || (4150000000 + n), 'hello', now() + interval '1 day' from generate_series(1, 300) n"
    )

    with touched(db) as read:
        db.execute(f"update public.outbox set {change} where id > {FINISHED}")

    assert read["outbox"] <= 3 * 300
    assert read["outbox_events"] == 0
