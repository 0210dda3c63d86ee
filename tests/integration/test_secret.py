"""Secret messages: no command shows their texts, which are gone once the message has expired."""

from typing import Any

import pytest

from jobs.gateway.gateway import Gateway
from sandbox.simulator.behaviour import Fault
from tests.calls import accept, claim, claim_lookups, find_nothing, mark_ambiguous, refuse, renew, report
from tests.engine import Rig, column, insert, later, number, stand_still, statuses
from tests.stack import Connection

CODE = "481516"
TEXT = f"Your code is {CODE}."


def secret(db: Connection, *, count: int = 1, **columns: Any) -> list[int]:
    return insert(db, count, body=TEXT, secret=True, **columns)


def upkeep(db: Connection, *, most: int = 100) -> dict[str, Any]:
    (answer,) = db.execute("select public.outbox_upkeep(90, 90, %s)", [most]).fetchone() or ()
    assert isinstance(answer, dict)
    return answer


def expire(db: Connection) -> None:
    later(db, "15 minutes")
    upkeep(db)


def places_of(db: Connection, words: str) -> list[str]:
    """Every column of the outbox's tables in which a row holds these words."""
    columns = db.execute(
        "select format('%I.%I', table_schema, table_name), column_name from information_schema.columns"
        " where (table_schema = 'outbox_engine' or table_name like 'outbox%') and table_schema in ('public', 'outbox_engine')"
        " and data_type in ('text', 'jsonb', 'bytea', 'ARRAY', 'USER-DEFINED')"
    ).fetchall()
    return [
        f"{table}.{name}"
        for table, name in columns
        if db.execute(f"select from {table} where {name}::text like %s limit 1".encode(), [f"%{words}%"]).fetchall()
    ]


def test_secret_message_is_urgent_and_expires_soon(db: Connection) -> None:
    stand_still(db)
    (message,) = secret(db)

    assert column(db, "priority", message) == 0
    assert column(db, "extract(epoch from expires_at - created_at)", message) == 15 * 60


def test_app_may_choose_expiry_and_priority(db: Connection) -> None:
    stand_still(db)
    (message,) = secret(db, priority=50, expires_at="2099-01-01 00:00Z")

    assert column(db, "priority", message) == 50
    assert column(db, "expires_at = '2099-01-01 00:00Z'", message)


@pytest.mark.parametrize(
    "parameters", [{"body": TEXT}, {"template": "code", "parameters": f'{{"code":"{CODE}"}}'}], ids=["text", "template"]
)
def test_text_of_a_delivered_message_goes_everywhere(db: Connection, parameters: dict[str, str]) -> None:
    db.execute("insert into public.outbox_templates (name, body) values ('code', 'Your code is {{code}}.')")
    names = ", ".join(parameters)
    db.execute(
        f"insert into public.outbox (recipient, secret, {names}) values (%s, true{', %s' * len(parameters)})",
        [number(0), *parameters.values()],
    )
    accept(db, claim(db), "b")
    report(db, "b", number(0), "delivered")
    assert places_of(db, CODE) != []

    expire(db)

    assert places_of(db, CODE) == []
    assert statuses(db) == {"delivered": 1}


def test_text_of_an_ambiguous_message_goes_too(db: Connection) -> None:
    secret(db)
    mark_ambiguous(db, claim(db))

    expire(db)

    assert places_of(db, CODE) == []
    assert statuses(db) == {"sending": 1}


def test_other_messages_keep_their_texts(db: Connection) -> None:
    (plain,) = insert(db, body="no secret")
    (lasting,) = secret(db, expires_at="2099-01-01 00:00Z")
    claim(db)

    expire(db)

    assert column(db, "body", plain) == "no secret"
    assert column(db, "body", lasting) == TEXT


def test_text_stays_while_a_process_makes_its_request(db: Connection) -> None:
    (message,) = secret(db)
    dispatch = claim(db)
    later(db, "15 minutes")
    renew(db, dispatch)
    upkeep(db)
    assert column(db, "body", message) == TEXT

    refuse(db, dispatch, "throttled", http_status=429)
    upkeep(db)

    assert statuses(db) == {"expired": 1}
    assert places_of(db, CODE) == []


@pytest.mark.parametrize("outcome", ["found nothing", "refused"])
def test_text_goes_where_no_process_looks(db: Connection, outcome: str) -> None:
    """The process fell silent, and none is configured for its plan any more. Another one may come, or the process itself."""
    secret(db)
    dispatch = claim(db)

    expire(db)

    assert places_of(db, CODE) == []
    assert statuses(db) == {"sending": 1}
    if outcome == "refused":
        refuse(db, dispatch, "throttled", http_status=429)
    else:
        find_nothing(db)
    upkeep(db)
    assert statuses(db) == {"expired": 1}
    assert db.execute("select count(*) from outbox_engine.secret_messages").fetchone() == (0,)


def test_message_that_waits_ends_before_its_text_goes(db: Connection) -> None:
    (message,) = secret(db)

    expire(db)

    assert (column(db, "status", message), column(db, "body", message)) == ("expired", None)


def test_earlier_expiry_removes_the_text_earlier(db: Connection) -> None:
    (message,) = secret(db)
    db.execute("update public.outbox set expires_at = expires_at - interval '10 minutes'")
    accept(db, claim(db), "b")

    later(db, "5 minutes")
    upkeep(db)

    assert column(db, "body", message) is None


def test_lookup_recognizes_a_text_that_is_gone(db: Connection) -> None:
    secret(db)
    dispatch = claim(db)
    mark_ambiguous(db, dispatch)
    known = "select array_agg(letters) from outbox_engine.dispatches d, outbox_engine.unexplained_reports(d)"
    report(db, "a batch without a reference", number(0), "delivered")
    before = db.execute(known).fetchone()

    expire(db)

    assert before is not None
    assert before[0] is not None
    assert db.execute(known).fetchone() == before


def test_digest_goes_once_the_outcome_is_known(db: Connection) -> None:
    secret(db)
    dispatch = claim(db)
    mark_ambiguous(db, dispatch)
    expire(db)
    assert db.execute("select count(*) from outbox_engine.secret_messages where letters is not null").fetchone() == (1,)

    find_nothing(db)
    upkeep(db)

    assert statuses(db) == {"expired": 1}
    assert db.execute("select count(*) from outbox_engine.secret_messages").fetchone() == (0,)
    assert claim_lookups(db) == []


@pytest.mark.parametrize("force", [False, True])
def test_secret_message_is_never_sent_again(db: Connection, force: bool) -> None:
    (message,) = secret(db, expires_at="2099-01-01 00:00Z")
    refuse(db, claim(db), "recipient")

    (answer,) = db.execute("select public.outbox_retry(array[%s::bigint], %s, 60, false)", [message, force]).fetchone() or ()

    assert isinstance(answer, list)
    assert answer[0]["outcome"] == "secret"
    assert statuses(db) == {"failed": 1}


def test_secret_message_has_one_attempt(db: Connection) -> None:
    """Another message is sent again after this code."""
    secret(db, expires_at="2099-01-01 00:00Z")
    insert(db, first=1)
    accept(db, claim(db), "a")
    accept(db, claim(db), "b")

    report(db, "a", number(0), "aborted", code=404)
    report(db, "b", number(1), "aborted", code=404)

    assert statuses(db) == {"aborted": 1, "pending": 1}


async def test_trace_never_shows_the_text(gateway: Gateway, db: Connection) -> None:
    (message,) = secret(db)
    (answer,) = db.execute("select public.outbox_trace(%s, true)", [message]).fetchone() or ()

    assert CODE not in str(answer)
    assert isinstance(answer, dict)
    assert answer["message"]["secret"] is True


async def test_log_never_shows_the_text(rig: Rig, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    secret(db, count=3)

    await rig.tick("dispatch", "upkeep")

    assert statuses(db) == {"sent": 3}
    assert CODE not in "".join(capsys.readouterr())


@pytest.mark.parametrize("quoted", [TEXT, CODE, f'"body": "{TEXT}"', f"code is {CODE}. It"])
async def test_quoting_refusal_never_shows_the_text(
    quoted: str, rig: Rig, db: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """A provider may repeat the text that it refuses."""
    secret(db)
    rig.simulator.add(Fault(effect="answer", status=400, code="syntax_invalid", text=f"Not allowed: {quoted}", times=9))

    for _ in range(4):
        await rig.tick("dispatch", "upkeep")

    assert "Not allowed:" in str(db.execute("select array_agg(error) from outbox_engine.dispatches").fetchone())
    assert [
        place for place in places_of(db, CODE) if place not in ("public.outbox.body", "outbox_engine.dispatches.body")
    ] == []
    assert CODE not in "".join(capsys.readouterr())


@pytest.mark.parametrize("removal", ["delete from public.outbox", "truncate public.outbox"])
def test_nothing_stays_of_a_removed_message(db: Connection, removal: str) -> None:
    secret(db)

    db.execute(removal.encode())

    assert db.execute("select count(*) from outbox_engine.secret_messages").fetchone() == (0,)
    assert places_of(db, CODE) == []


def test_upkeep_goes_on_while_texts_are_due(db: Connection) -> None:
    secret(db, count=3)
    accept(db, claim(db), "b")
    later(db, "15 minutes")

    assert upkeep(db, most=2)["more"]
    upkeep(db, most=2)

    assert places_of(db, CODE) == []
