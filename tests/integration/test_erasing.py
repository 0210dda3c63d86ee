"""A person is erased: what remains, what still protects, and what cannot bring the person back."""

from typing import Any
from uuid import uuid4

import pytest
from psycopg import errors

from tests.calls import accept, claim, mark_ambiguous, release
from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks, column, insert, later, number
from tests.integration.replies import suppressed, text_in
from tests.persons import DIGITS, PERSON, TEXT, erase, make_person, send_report, stage, tables_with
from tests.races import overlap
from tests.stack import Connection

ABOUT_THE_PERSON = {
    "outbox", "outbox_events", "outbox_inbound", "outbox_campaign_members", "adopted_messages", "campaign_import_lines",
    "campaign_sends", "consents", "dispatch_members", "help_answers", "kept_callbacks", "outbox_suppressions",
    "waiting_reports",
}  # fmt: skip


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set("2026-11-24 12:00+00")


def test_only_the_opt_out_remains_of_person(db: Connection) -> None:
    make_person(db)
    text_in(db, "STOP", phone=PERSON)
    assert tables_with(db, DIGITS) == ABOUT_THE_PERSON

    erase(db)

    assert tables_with(db, DIGITS) == {"outbox_suppressions", "consents"}
    assert tables_with(db, TEXT) == {"outbox_templates"}
    assert suppressed(db) == [(PERSON, "replied STOP")]


def test_others_keep_everything(db: Connection) -> None:
    make_person(db)
    (other,) = insert(db, first=2, body="for another", idempotency_key="other")
    text_in(db, "hello", phone=number(2))
    before = tables_with(db, number(2)[1:])

    erase(db)

    assert tables_with(db, number(2)[1:]) == before
    assert column(db, "body", other) == "for another"


def test_erasing_twice_changes_nothing_more(db: Connection) -> None:
    make_person(db)
    erase(db)

    assert erase(db) == {"erased": 0, "stay": []}
    assert tables_with(db, DIGITS) == set()


@pytest.mark.parametrize("how", ["", " on conflict (idempotency_key) do nothing", " on conflict do nothing"])
def test_insert_with_an_erased_key_is_skipped(db: Connection, how: str) -> None:
    """Other rows of the statement are inserted."""
    insert(db, first=1, idempotency_key="k")
    erase(db)

    db.execute(
        "insert into public.outbox (recipient, body, idempotency_key) values (%s, 'again', 'k'), (%s, 'new', 'l')"
        f"{how}".encode(),
        [PERSON, number(2)],
    )

    assert rows(db, "recipient, idempotency_key") == [(number(2), "l")]


def test_key_is_remembered_as_long_as_its_message(db: Connection) -> None:
    insert(db, first=1, idempotency_key="k", send_at="2027-01-24 12:00+00")
    erase(db)
    days = '{"messages": 90}'

    later(db, "153 days")  # it would have expired 64 days from now
    db.execute("select public.outbox_run_upkeep(%s, 1000)", [days])
    insert_again(db)
    assert rows(db) == []

    later(db, "2 days")
    db.execute("select public.outbox_run_upkeep(%s, 1000)", [days])
    insert_again(db)
    assert rows(db) == [("pending",)]


def insert_again(db: Connection) -> None:
    db.execute("insert into public.outbox (recipient, body, idempotency_key) values (%s, 'hello', 'k')", [PERSON])


def test_insert_of_a_key_waits_for_no_erasure(db: Connection, other: Connection) -> None:
    """It begins while the message with this key is deleted, and ends after that."""
    ids = insert(db, first=1, idempotency_key="k")
    db.execute("select public.outbox_prepare_erasure(%s, array[%s])", [ids, PERSON])

    overlap(
        db,
        lambda: db.execute("select public.outbox_erase_messages(%s, array[%s])", [ids, PERSON]),
        lambda: insert_again(other),
    )

    assert rows(db) == []


def test_repetition_finishes_an_interrupted_erasure(db: Connection) -> None:
    """Meanwhile the app inserts the message again."""
    ids = insert(db, first=1, idempotency_key="k", send_at="2100-01-01")
    db.execute("select public.outbox_prepare_erasure(%s, array[%s])", [ids, PERSON])

    insert_again(db)
    assert rows(db) == [("cancelled",)]
    erase(db)
    insert_again(db)

    assert rows(db) == []


def test_message_that_is_claimed_meanwhile_stays(db: Connection, other: Connection) -> None:
    (row,) = insert(db, first=1)

    _, erased = overlap(db, lambda: claim(db), lambda: erase(other))

    assert erased == {"erased": 0, "stay": [row]}
    assert column(db, "cancel_requested_at", row) is None


def test_import_that_commits_meanwhile_is_erased(db: Connection, other: Connection) -> None:
    template(db)
    campaign(db, schedule="once", starts_at="2100-01-01")
    stage(db, PERSON)

    overlap(
        db,
        lambda: db.execute("select public.outbox_commit_import(id, false) from outbox_engine.campaign_imports"),
        lambda: erase(other),
    )

    assert tables_with(db, DIGITS) == set()


def test_imported_again_a_member_gets_no_past_message(db: Connection) -> None:
    template(db)
    campaign(db, schedule="cron", cron_expression="0 12 * * *", timezone="UTC", late_limit="3 days")
    member(db)
    later(db, "1 minute")
    later(db, "1 day")
    db.execute("select public.outbox_expand_campaigns(1000)")
    made = db.execute("select count(*) from public.outbox_campaign_occurrences").fetchone()
    assert rows(db) != []
    erase(db)

    member(db)
    db.execute("update public.outbox_campaign_members set changed_at = changed_at - interval '23 hours'")
    db.execute("select public.outbox_expand_campaigns(1000)")
    assert rows(db) == []
    assert db.execute("select count(*) from public.outbox_campaign_occurrences").fetchone() == made

    later(db, "1 day")
    db.execute("select public.outbox_expand_campaigns(1000)")
    assert len(rows(db)) == 1


def test_occurrence_of_a_removed_member_is_erased(db: Connection) -> None:
    """Its message leads to it. Another member, who has the message's campaign too, keeps its own."""
    template(db)
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00")
    member(db, "patient-1")
    member(db, "patient-2", n=2)
    db.execute("select public.outbox_expand_campaigns(1000)")
    db.execute("delete from public.outbox_campaign_members where external_id = 'patient-1'")

    erase(db)

    assert tables_with(db, "patient-1") == set()
    assert "outbox_campaign_occurrences" in tables_with(db, "patient-2")


@pytest.mark.parametrize("external_id", [PERSON, DIGITS, f"tel:00{DIGITS}", f"ada/{DIGITS}/x"])
def test_occurrence_whose_member_is_the_number_is_erased(db: Connection, external_id: str) -> None:
    """The member was removed, and retention has deleted the message."""
    template(db)
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00")
    member(db, external_id)
    member(db, "another", n=2)
    db.execute("select public.outbox_expand_campaigns(1000)")
    db.execute("delete from public.outbox_campaign_members")
    db.execute("delete from public.outbox")

    erase(db)

    assert tables_with(db, DIGITS) == set()
    left = db.execute("select external_id from public.outbox_campaign_occurrences order by 1").fetchall()
    assert [one for (one,) in left if not str(one).startswith("erased:")] == ["another"]
    assert len(left) == 2


def test_member_with_another_number_by_now_keeps_occurrences(db: Connection) -> None:
    template(db)
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00")
    member(db, "patient-1")
    db.execute("select public.outbox_expand_campaigns(1000)")
    accept(db, claim(db), "B1")
    db.execute("update public.outbox_campaign_members set recipient = %s", [number(2)])

    erase(db)

    assert tables_with(db, DIGITS) == set()
    found = db.execute("select external_id from public.outbox_campaign_occurrences").fetchall()
    assert found == [("patient-1",)]


@pytest.mark.parametrize("state", ["claimed", "ambiguous"])
def test_message_in_a_request_stays(db: Connection, state: str) -> None:
    (row,) = insert(db, first=1, idempotency_key="k")
    dispatch = claim(db)
    if state == "ambiguous":
        mark_ambiguous(db, dispatch)
    found: Any = db.execute("select public.outbox_find_person(array[%s], 0, 100)", [PERSON]).fetchone()
    assert found[0]["in_request"] == [row]

    assert erase(db) == {"erased": 0, "stay": [row]}

    assert column(db, "status", row) == "sending"
    with pytest.raises(errors.UniqueViolation):
        insert(db, first=1, idempotency_key="k")


def test_only_the_earlier_request_of_moved_message_goes(db: Connection) -> None:
    """Its member has another number since."""
    template(db)
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00")
    member(db)
    db.execute("select public.outbox_expand_campaigns(1000)")
    release(db, claim(db))
    db.execute("update public.outbox_campaign_members set recipient = %s", [number(2)])
    assert "dispatch_members" in tables_with(db, DIGITS)

    erase(db)

    assert tables_with(db, DIGITS) == set()
    assert rows(db, "recipient, status") == [(number(2), "pending")]


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("by", ["batch", "reference"])
def test_late_report_does_not_bring_the_person_back(db: Connection, others: int, by: str) -> None:
    """Nor does it touch the others of its batch."""
    insert(db, first=1)
    for n in range(others):
        insert(db, first=2 + n)
    dispatch = claim(db)
    accept(db, dispatch, "B1")
    erase(db)

    send_late(db, "B1" if by == "batch" else "B2", "" if by == "batch" else dispatch["dispatch_id"])

    assert tables_with(db, DIGITS) == set()
    assert rows(db) == [("sent",)] * others


def send_late(db: Connection, batch: str, reference: str) -> None:
    db.execute(
        "select public.outbox_record_reports('webhook', array[%s], array[%s], '{delivered}', '{0}', '{\"\"}', array[%s],"
        " array[%s])",
        [batch, PERSON, reference, f'{{"to": "{DIGITS}"}}'],
    )


@pytest.mark.parametrize("at", ["2026-11-24T12:00:00Z", ""])
def test_opt_out_in_a_late_report_counts(db: Connection, at: str) -> None:
    insert(db, first=1)
    accept(db, claim(db), "B1")
    erase(db)

    send_report(db, "B1", "failed", code=257, at=at)

    assert suppressed(db) == [(PERSON, "sinch code 257")]


def test_stop_after_the_erasure_counts(db: Connection) -> None:
    text_in(db, "hello", phone=PERSON, name="1")
    erase(db)

    text_in(db, "STOP", phone=PERSON, name="2")
    text_in(db, "hello", phone=PERSON, name="1")

    assert suppressed(db) == [(PERSON, "replied STOP")]
    assert db.execute("select id from public.outbox_inbound").fetchall() == [("2",)]


def test_number_with_an_older_zero_goes_too(db: Connection) -> None:
    db.execute("set session_replication_role = replica")
    db.execute(
        "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, finalized_at)"
        " values ('+4407700900123', 'x', now(), now(), 100, 'failed', 1, now(), now())"
    )
    db.execute("set session_replication_role = origin")

    erase(db, "+447700900123")

    assert rows(db) == []


def test_both_forms_of_a_number_go(db: Connection) -> None:
    one, two = "+525550123456", "+5215550123456"
    for n, form in enumerate((one, two)):
        db.execute("insert into public.outbox (recipient, body) values (%s, 'x')", [form])
        text_in(db, "hello", phone=form, name=str(n))
    text_in(db, "START", phone=one)

    erase(db, one)

    assert tables_with(db, one[1:], two[1:]) == set()


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (f'"to":"{DIGITS}"', True),
        (f"00{DIGITS}", True),
        (f"%2B{DIGITS}", True),
        (f"+1.{DIGITS[1:4]}.{DIGITS[4:]}", True),
        ("\0".join(DIGITS), True),
        (f"\u00a0{DIGITS}\u00a0", True),
        (f"{DIGITS}0", False),
        (f"9{DIGITS}", False),
        (DIGITS[1:], False),
    ],
)
def test_callback_that_names_the_number_goes(db: Connection, raw: str, named: bool) -> None:
    db.execute("select public.outbox_keep_callbacks('{x}', array[encode(%s, 'base64')])", [raw.encode()])

    erase(db)

    assert db.execute("select count(*) from outbox_engine.kept_callbacks").fetchone() == (0 if named else 1,)


def test_start_of_the_erased_is_forgotten(db: Connection) -> None:
    text_in(db, "STOP", phone=PERSON, ago=60)
    text_in(db, "START", phone=PERSON)

    erase(db)

    assert tables_with(db, DIGITS) == set()


def test_digests_differ_between_installations(db: Connection) -> None:
    first = db.execute("select outbox_engine.keyed_digest('k')").fetchone()
    db.execute("update outbox_engine.installation set digest_key = %s", [str(uuid4())])

    assert db.execute("select outbox_engine.keyed_digest('k')").fetchone() != first
