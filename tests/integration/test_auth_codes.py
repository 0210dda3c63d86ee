"""The Send SMS hook of Supabase Auth as a Postgres function: one-time codes become messages."""

from typing import Any

import psycopg
import pytest

from tests.auth_events import CODE, PHONE, as_auth, event, refusal, seed_templates, send
from tests.calls import claim, claim_answer
from tests.engine import Rig, column, insert, later, stand_still
from tests.stack import Connection


@pytest.fixture(autouse=True)
def templates(db: Connection) -> None:
    seed_templates(db)


def messages(db: Connection) -> list[dict[str, Any]]:
    return [row for (row,) in db.execute("select to_jsonb(o) from public.outbox o order by id")]  # type: ignore[misc]


def bodies(db: Connection) -> list[str]:
    return [row["body"] for row in messages(db)]


def settings(db: Connection, **columns: Any) -> None:
    for name, value in columns.items():
        db.execute(f"update public.outbox_auth_settings set {name} = %s".encode(), [value])


def test_code_becomes_an_urgent_secret_message(db: Connection) -> None:
    stand_still(db)
    given = event()

    assert send(db, given) == {}

    (row,) = messages(db)
    assert (row["recipient"], row["body"]) == (f"+{PHONE}", f"Your code is {CODE}")
    assert (row["priority"], row["secret"], row["owner_id"], row["status"]) == (0, True, None, "pending")
    assert row["idempotency_key"] == f"auth:{given['metadata']['uuid']}"
    assert row["metadata"] == {"auth": {"kind": "otp", "user_id": given["user"]["id"]}}
    assert column(db, "extract(epoch from expires_at - created_at)", row["id"]) == 60
    assert claim(db)["body"] == row["body"]


def test_second_factor_has_its_own_text_and_time(db: Connection) -> None:
    stand_still(db)
    db.execute("update public.outbox_templates set body = 'Confirm with {{code}}' where name = 'auth_otp_mfa'")

    send(db, event(mfa=True))

    (row,) = messages(db)
    assert (row["body"], row["metadata"]["auth"]["kind"]) == (f"Confirm with {CODE}", "mfa")
    assert column(db, "extract(epoch from expires_at - created_at)", row["id"]) == 300


def test_lifetimes_are_settings(db: Connection) -> None:
    stand_still(db)
    settings(db, code_seconds=120, mfa_code_seconds=600)
    send(db, event())
    send(db, event(mfa=True))

    lifetimes = db.execute("select extract(epoch from expires_at - created_at) from public.outbox order by id").fetchall()
    assert [round(float(str(seconds))) for (seconds,) in lifetimes] == [120, 600]


@pytest.mark.parametrize(
    ("locale", "text"),
    [("de", f"Dein Code: {CODE}"), ("DE", f"Your code is {CODE}"), ("%", f"Your code is {CODE}"), (7, f"Your code is {CODE}")],
)
def test_locale_chooses_a_template_by_name(db: Connection, locale: object, text: str) -> None:
    db.execute("insert into public.outbox_templates (name, body) values ('auth_otp.de', 'Dein Code: {{code}}')")

    send(db, event(user={"user_metadata": {"locale": locale}}))

    assert bodies(db) == [text]


def test_user_metadata_never_enters_the_text(db: Connection) -> None:
    db.execute(
        "update public.outbox_templates set body = '{{app}}: {{code}}', defaults = %s where name = 'auth_otp'",
        ['{"app": "Acme"}'],
    )

    send(db, event(user={"user_metadata": {"locale": "en", "app": "Evil", "code": "1"}}))

    assert bodies(db) == [f"Acme: {CODE}"]


@pytest.mark.parametrize("body", ["Welcome!", "{{name}}, your code is {{code}}"])
def test_template_that_locks_users_out_is_refused(db: Connection, body: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="auth_otp"):
        db.execute("update public.outbox_templates set body = %s where name = 'auth_otp'", [body])


def test_server_edits_texts_and_caps(db: Connection, app: Connection) -> None:
    app.execute("update public.outbox_templates set body = 'Code: {{code}}' where name = 'auth_otp'")
    app.execute("insert into public.outbox_templates (name, body) values ('auth_otp.de', 'Dein Code: {{code}}')")
    app.execute("update public.outbox_auth_settings set hourly_by_country = '{\"US\": 1}'")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="does not give the code"):
        app.execute("update public.outbox_templates set body = 'Welcome!' where name = 'auth_otp.de'")

    assert [send(db, event()), refusal(send(db, event()))] == [{}, 429]
    assert bodies(db) == [f"Code: {CODE}"]


def test_deleted_template_stops_no_sign_in(db: Connection) -> None:
    db.execute("delete from public.outbox_templates where name like 'auth_otp%'")
    db.execute("select outbox_engine.seed()")

    assert send(db, event()) == {}

    assert bodies(db) == [f"Your code is {CODE}"]
    assert db.execute("select from public.outbox_templates").fetchall() == []


def test_number_of_the_user_is_not_used(db: Connection) -> None:
    send(db, event(user={"phone": "12025550177", "new_phone": "12025550178"}))

    assert [row["recipient"] for row in messages(db)] == [f"+{PHONE}"]


@pytest.mark.parametrize("phone", ["4407700900123", "123", "+12025550123", "1202555O123", "0012025550123"])
def test_what_is_no_number_is_refused(db: Connection, phone: str) -> None:
    assert refusal(send(db, event(phone))) == 422
    assert messages(db) == []


@pytest.mark.parametrize("given", [event(None), event(""), {}, [], "text", {"sms": None}, {"sms": {"phone": None}}])
def test_older_auth_is_told_its_version(db: Connection, given: object) -> None:
    assert "2.180" in send(db, given)["error"]["message"]


def test_missing_code_is_a_fault_of_the_setup(db: Connection) -> None:
    assert refusal(send(db, event(sms={"phone": PHONE}))) == 500


def test_repeated_event_is_sent_once(db: Connection) -> None:
    settings(db, hourly_per_number=1)
    with_id, without_id = event(), event("12025550124", metadata={"name": "send-sms"})

    assert [send(db, given) for given in (with_id, with_id, without_id, without_id)] == [{}, {}, {}, {}]
    assert [row["recipient"] for row in messages(db)] == [f"+{PHONE}", "+12025550124"]


def test_key_of_an_event_gives_no_digest_away(db: Connection) -> None:
    """A million tries would tell the code from a plain digest of the event."""
    given = event(metadata={})
    send(db, given)
    (row,) = messages(db)

    db.execute("delete from public.outbox")
    db.execute("update outbox_engine.installation set digest_key = 'another'")
    send(db, given)

    assert messages(db)[0]["idempotency_key"] != row["idempotency_key"]
    assert len(row["idempotency_key"]) == len("auth:") + 64


def test_opt_out_and_country_are_refused_alike(db: Connection) -> None:
    db.execute("insert into public.outbox_suppressions (recipient) values ('+12025550123')")
    claim_answer(db, countries=["US"])

    answers = [send(db, event(phone)) for phone in (PHONE, "447700900123", "12025550124")]

    assert refusal(answers[0]) == 422
    assert answers == [answers[0], answers[0], {}]


def test_allowed_by_one_plan_is_enough(db: Connection) -> None:
    claim_answer(db, plan="p", countries=["US"])
    claim_answer(db, plan="q", countries=["GB"])

    assert send(db, event("447700900123")) == {}
    assert refusal(send(db, event("33199000123"))) == 422


def test_number_gets_a_few_codes_an_hour(db: Connection) -> None:
    stand_still(db)
    settings(db, hourly_per_number=2)

    answers = [send(db, event()) for _ in range(3)]
    assert answers[:2] == [{}, {}]
    assert refusal(answers[2]) == 429
    assert send(db, event("12025550124")) == {}

    later(db, "1 hour")
    assert send(db, event()) == {}


def test_country_gets_its_codes_an_hour(db: Connection) -> None:
    settings(db, hourly_per_country=1, hourly_by_country='{"US": 2}')

    american = [send(db, event(f"1202555010{n}")) for n in range(3)]
    british = [send(db, event(f"44770090010{n}")) for n in range(2)]

    assert american[:2] == [{}, {}]
    assert british[0] == {}
    assert [refusal(american[2]), refusal(british[1])] == [429, 429]


def test_cap_of_zero_sends_no_code(db: Connection) -> None:
    settings(db, hourly_by_country='{"GB": 0, "unknown": 0}')

    assert refusal(send(db, event("447700900123"))) == 429
    assert refusal(send(db, event("21055501000"))) == 429
    assert send(db, event()) == {}


@pytest.mark.parametrize("caps", ['{"us": 5}', '{"UK": 5}', '{"US": -1}', '{"US": "many"}', '{"US": null}', "[]"])
def test_cap_that_is_none_is_refused(db: Connection, caps: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="hourly_by_country"):
        settings(db, hourly_by_country=caps)


def test_cap_counts_committed_codes_also_deleted_ones(db: Connection) -> None:
    settings(db, hourly_per_number=1)
    refusal(send(db, event("123")))
    with db.transaction(force_rollback=True):
        send(db, event())
    assert send(db, event()) == {}

    db.execute("delete from public.outbox")

    assert refusal(send(db, event())) == 429


def test_full_country_raises_one_alarm_an_hour(db: Connection) -> None:
    settings(db, hourly_per_country=2)
    for n in range(2):
        send(db, event(f"1202555010{n}"))
    for _ in range(2):
        db.execute("select public.outbox_upkeep(90, 90, 100)")

    alarms = db.execute("select kind, detail from outbox_engine.alarms").fetchall()
    assert alarms == [("auth_codes.country_cap_reached", {"country": "US", "codes": 2, "cap": 2})]


def test_counted_codes_are_forgotten_after_an_hour(db: Connection) -> None:
    send(db, event())
    later(db, "61 minutes")
    send(db, event())
    db.execute("select public.outbox_upkeep(90, 90, 100)")

    assert db.execute("select count(*) from outbox_engine.auth_codes").fetchone() == (1,)


def test_missing_settings_come_back(db: Connection) -> None:
    db.execute("delete from public.outbox_auth_settings")

    assert send(db, event()) == {}
    assert db.execute("select hourly_per_number from public.outbox_auth_settings").fetchone() == (10,)


def test_codes_are_not_sent_again(db: Connection) -> None:
    send(db, event())
    (row,) = messages(db)
    later(db, "2 minutes")
    db.execute("select public.outbox_upkeep(90, 90, 100)")

    (answer,) = db.execute("select public.outbox_retry(%s, true, 600, false)", [[row["id"]]]).fetchone() or ()

    assert [item["outcome"] for item in answer] == ["secret"]  # type: ignore[attr-defined]
    assert bodies(db) == [None]


def test_auth_may_call_its_hook_and_nothing_else(db: Connection) -> None:
    with as_auth(db):
        assert send(db, event()) == {}
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute("select from public.outbox")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute("select public.outbox_send_sms_over_http('{}', '')")

    assert messages(db) == []
    assert db.execute("select from outbox_engine.auth_codes").fetchall() == []


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_roles_of_the_api_cannot_send_codes(db: Connection, role: str) -> None:
    with db.transaction(force_rollback=True):
        db.execute(f"set local role {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("select public.outbox_send_sms('{}')")


def test_hook_waits_for_no_claim(db: Connection, other: Connection) -> None:
    """The claim of a campaign is open, and so is an edit of the template, an opt-out and a code to the same number."""
    insert(db, 1000, priority=200)
    db.execute("insert into public.outbox_suppressions (recipient) values ('+12025550124')")
    with other.transaction():
        claim(other, rows=1000)
        other.execute("update public.outbox_templates set body = 'New: {{code}}' where name = 'auth_otp'")
        other.execute("update public.outbox_auth_settings set hourly_per_number = 99")
        other.execute("delete from public.outbox_suppressions")
        send(other, event())
        send(other, event(mfa=True))

        with db.transaction(force_rollback=True):
            # Any wait fails at once.
            db.execute("alter function outbox_engine.send_auth_code(jsonb, text) set lock_timeout = 1")
            assert send(db, event()) == {}


def test_locked_table_ends_before_auth_does(db: Connection, other: Connection) -> None:
    with other.transaction():
        other.execute("lock table public.outbox in access exclusive mode")
        with as_auth(db):
            answer = send(db, event())

    assert refusal(answer) == 503


async def test_code_reaches_the_phone(rig: Rig, db: Connection) -> None:
    send(db, event())

    await rig.tick("dispatch")

    assert [(text.recipient.lstrip("+"), text.body) for text in rig.simulator.accepted()] == [(PHONE, f"Your code is {CODE}")]
