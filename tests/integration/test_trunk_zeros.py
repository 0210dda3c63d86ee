"""A number with the zero that is dialled inside its country only is refused when it is new, and stops no row that exists."""

from itertools import islice

import psycopg
import pytest

from jobs.runtime.phone import has_trunk_zero
from tests.campaigns import campaign, template
from tests.integration.test_countries import e164, examples, valid_numbers
from tests.stack import Connection

ZERO = "+4407700900123"
RIGHT = "+447700900123"
INSERTS = {
    "a message": "insert into public.outbox (recipient, body) values (%s, 'x')",
    "a suppression": "insert into public.outbox_suppressions (recipient) values (%s)",
    "a member": "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, parameters)"
    """ values ('c', 'new', %s, 'UTC', '{"name": "Ada"}')""",
}


@pytest.fixture
def campaigns(db: Connection) -> None:
    template(db)
    campaign(db)


def old_row(db: Connection, insert: str) -> None:
    """A row from before the rule: triggers do not see it."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(insert.encode(), [ZERO])


@pytest.mark.usefixtures("campaigns")
@pytest.mark.parametrize("insert", INSERTS.values(), ids=INSERTS)
def test_new_number_with_a_trunk_zero_is_refused(db: Connection, insert: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="the zero is dialled inside the country only") as refused:
        db.execute(insert.encode(), [ZERO])

    assert ZERO in str(refused.value)
    assert refused.value.diag.message_hint == "Leave out the zero after +44."
    db.execute(insert.encode(), [RIGHT])


@pytest.mark.usefixtures("campaigns")
def test_import_refuses_the_line_with_the_zero(db: Connection) -> None:
    stage = (
        "select public.outbox_stage_members(gen_random_uuid(), 'c', '{1,2}', '{a,b}', %s, '{UTC,UTC}',"
        " '{2026-11-30 12:00Z,2026-11-30 12:00Z}', %s)"
    )
    row = db.execute(stage, [[ZERO, RIGHT], ['{"name": "Ada"}'] * 2]).fetchone()

    assert row is not None
    assert str(row[0]).count("dialled inside the country only") == 1


@pytest.mark.usefixtures("campaigns")
def test_older_member_can_change_and_is_sent(db: Connection) -> None:
    old_row(db, INSERTS["a member"])

    db.execute("update public.outbox_campaign_members set event_at = '2027-01-15 12:00Z'")
    db.execute("insert into public.outbox (recipient, body, campaign) values (%s, 'x', 'c')", [ZERO])

    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute("update public.outbox_campaign_members set recipient = '+4907700900123'")


SENDER_WRITES = {
    "a message": "insert into public.outbox (recipient, body, sender) values ('+447700900123', 'x', %s)",
    "a new campaign": "insert into public.outbox_campaigns (name, template, sender, schedule, starts_at)"
    " values ('new', 'hi', %s, 'once', '2027-01-15 12:00Z')",
    "a campaign": "update public.outbox_campaigns set sender = %s",
    "a word": "insert into public.outbox_opt_out_words (word, effect, sender) values ('ENOUGH', 'stop', %s)",
}


@pytest.mark.usefixtures("campaigns")
@pytest.mark.parametrize("write", SENDER_WRITES.values(), ids=SENDER_WRITES)
def test_new_sender_with_a_trunk_zero_is_refused(db: Connection, write: str) -> None:
    for sender in (ZERO, ZERO.removeprefix("+")):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="the zero is dialled inside the country") as refused:
            db.execute(write.encode(), [sender])
        assert refused.value.diag.message_hint == "Leave out the zero after +44."

    for sender in (RIGHT, "44012", "+390612345678"):
        with db.transaction(force_rollback=True):
            db.execute(write.encode(), [sender])


@pytest.mark.usefixtures("campaigns")
def test_older_campaign_keeps_its_sender(db: Connection) -> None:
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute("update public.outbox_campaigns set sender = %s", [ZERO])

    db.execute("update public.outbox_campaigns set priority = 150")
    db.execute("insert into public.outbox (recipient, body, campaign, sender) values (%s, 'x', 'c', %s)", [RIGHT, ZERO])

    assert db.execute("select sender from public.outbox").fetchall() == [(ZERO,)]


def test_older_suppression_can_change(db: Connection) -> None:
    old_row(db, INSERTS["a suppression"])

    db.execute("update public.outbox_suppressions set reason = 'said so'")


def test_opt_out_of_an_older_row_is_recorded(db: Connection) -> None:
    """A report of an opt-out must not be refused because of its number."""
    db.execute("select outbox_engine.apply_opt_outs(%s, '{carrier}', '{2026-11-30 12:00Z}')", [[ZERO]])

    assert db.execute("select recipient, by_engine from public.outbox_suppressions").fetchall() == [(ZERO, True)]


def test_library_knows_no_number_that_is_refused(db: Connection) -> None:
    numbers = [e164(one) for one in [*examples(), *islice(valid_numbers(seed=2), 2000)]]
    found = "select n from unnest(%s::text[]) n where n ~ outbox_engine.trunk_zero_pattern()"

    assert db.execute(found, [numbers]).fetchall() == []
    assert [one for one in numbers if has_trunk_zero(one)] == []
