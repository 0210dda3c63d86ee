"""How long what people sent is kept: replies, callbacks, decisions, imports; and what hangs on messages that are gone."""

import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from jobs.runtime.settings import EngineSettings
from tests.calls import accept, claim
from tests.campaigns import campaign, template
from tests.engine import Clocks, column, insert, later, number
from tests.integration.replies import PHONE, suppressed, text_in
from tests.persons import stage
from tests.stack import Connection


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set("2026-11-24 12:00+00")


def run_upkeep(db: Connection, *, most: int = 1000, **days: float) -> None:
    """Until no call has more to do."""
    kept = {"messages": 90, "replies": 90, "callbacks": 90, "consents": 1826, "imports": 1, **days}
    while True:
        answer: Any = db.execute("select public.outbox_run_upkeep(%s, %s)", [json.dumps(kept), most]).fetchone()
        if not answer[0]["more"]:
            return


def count(db: Connection, table: str) -> int:
    row: Any = db.execute(f"select count(*) from {table}".encode()).fetchone()
    return int(row[0])


def walk_again(db: Connection) -> None:
    """The next walk begins a day after the last one."""
    later(db, "1 day")


@pytest.mark.parametrize(("days", "kept"), [(6, True), (8, False)])
def test_metadata_goes_before_its_row(db: Connection, days: int, kept: bool) -> None:
    rows = insert(db, 5, metadata=Jsonb({"name": "Ada"}))
    db.execute("select public.outbox_cancel(%s, false)", [rows])
    later(db, f"{days} days")

    run_upkeep(db, metadata=7, most=2)

    assert {column(db, "metadata", row) is not None for row in rows} == {kept}
    assert {column(db, "body", row) for row in rows} == {"hello"}


def test_metadata_of_waiting_message_stays(db: Connection) -> None:
    (row,) = insert(db, metadata=Jsonb({"name": "Ada"}), send_at="2100-01-01")
    later(db, "8 days")

    run_upkeep(db, metadata=7)

    assert column(db, "metadata", row) == {"name": "Ada"}


@pytest.mark.parametrize("most", [2, 1000])
def test_texts_of_replies_go_before_the_replies(db: Connection, most: int) -> None:
    """Replies of one instant, more than a call handles, go too."""
    for n in range(5):
        text_in(db, "hello", name=str(n))
    later(db, "8 days")
    text_in(db, "young", name="young")

    run_upkeep(db, reply_bodies=7, most=most)

    found = db.execute("select distinct body, raw::text from public.outbox_inbound order by 1").fetchall()
    assert found == [("young", "{}"), (None, "{}")]
    assert count(db, "public.outbox_inbound") == 6


@pytest.mark.parametrize(("days", "kept"), [(29, 1), (31, 0)])
def test_replies_and_callbacks_have_days_of_their_own(db: Connection, days: int, kept: int) -> None:
    text_in(db, "hello")
    db.execute("select public.outbox_keep_callbacks(array['new type'], array['e30='])")
    later(db, f"{days} days")

    run_upkeep(db, replies=30, callbacks=30)

    assert (count(db, "public.outbox_inbound"), count(db, "outbox_engine.kept_callbacks")) == (kept, kept)


def test_ids_of_deleted_replies_are_forgotten(db: Connection) -> None:
    """Not before the provider's list has forgotten them."""
    text_in(db, "hello")
    later(db, "20 days")
    run_upkeep(db, replies=15)
    assert (count(db, "public.outbox_inbound"), count(db, "outbox_engine.inbounds_seen")) == (0, 1)

    later(db, "11 days")
    run_upkeep(db, replies=15)
    assert count(db, "outbox_engine.inbounds_seen") == 0


@pytest.mark.parametrize(("days", "kept"), [(59, 1), (61, 0)])
def test_start_is_forgotten_after_its_days(db: Connection, days: int, kept: int) -> None:
    text_in(db, "STOP", ago=60)
    text_in(db, "START")
    later(db, f"{days} days")

    run_upkeep(db, consents=60)

    assert count(db, "outbox_engine.consents") == kept


def test_decision_stays_while_the_number_is_suppressed(db: Connection) -> None:
    """A START from before it, which a poll finds late, lifts nothing."""
    text_in(db, "STOP")
    later(db, "100 days")

    run_upkeep(db, consents=60)
    text_in(db, "START", ago=60)

    assert suppressed(db) == [(PHONE, "replied STOP")]


def test_every_decision_is_walked_in_stretches(db: Connection) -> None:
    """A call looks at ten times its number of rows."""
    for n in range(25):
        text_in(db, "START", phone=number(n), name=str(n))
    later(db, "61 days")
    for _ in range(4):
        run_upkeep(db, consents=60, most=1)

    assert count(db, "outbox_engine.consents") == 0


@pytest.mark.parametrize(("days", "kept"), [(6, 1), (8, 0)])
def test_imports_have_days_of_their_own(db: Connection, days: int, kept: int) -> None:
    template(db)
    campaign(db, schedule="once", starts_at="2100-01-01")
    stage(db, number(1))
    later(db, f"{days} days")

    run_upkeep(db, imports=7)

    assert count(db, "outbox_engine.campaign_import_lines") == kept


def test_rows_of_messages_that_are_gone_go(db: Connection) -> None:
    """Release 0.1.0 left them behind. The messages that are there keep theirs."""
    kept, gone = (*insert(db), *insert(db, first=1, secret=True))
    for dispatch in (claim(db), claim(db)):
        accept(db, dispatch, f"B{dispatch['recipients'][0]}")
    db.execute("set session_replication_role = replica")
    db.execute("delete from public.outbox where id = %s", [gone])
    db.execute("set session_replication_role = origin")

    run_upkeep(db)

    for table in ("public.outbox_events", "outbox_engine.dispatch_members"):
        left = db.execute(f"select distinct outbox_id from {table}".encode()).fetchall()
        assert left == [(kept,)], table
    assert count(db, "outbox_engine.secret_messages") == 0
    assert count(db, "outbox_engine.emptied_dispatches") == 1


def test_settings_default_to_those_of_rows() -> None:
    days = EngineSettings(_env_file=None, retention_days=30, body_retention_days=3).kept_days

    assert days == {
        "messages": 30,
        "bodies": 3,
        "metadata": None,
        "replies": 30,
        "reply_bodies": 3,
        "callbacks": 30,
        "consents": 1826,
        "imports": 1,
        "audit": 400,
        "figures": 800,
    }


def test_text_of_an_unclear_reply_stays(db: Connection) -> None:
    """Until a person has decided what it is."""
    text_in(db, "please cancel my appointment")
    assert db.execute("select unclear from public.outbox_inbound").fetchone() == (True,)
    later(db, "8 days")

    run_upkeep(db, reply_bodies=7)
    assert db.execute("select body from public.outbox_inbound").fetchone() == ("please cancel my appointment",)

    db.execute("update public.outbox_inbound set unclear = false")
    walk_again(db)
    run_upkeep(db, reply_bodies=7)
    assert db.execute("select body from public.outbox_inbound").fetchone() == (None,)
