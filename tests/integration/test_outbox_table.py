"""What an app may do to the outbox through the API, and the errors it gets for the rest."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import psycopg
import pytest
from postgrest.exceptions import APIError
from supabase import Client, create_client
from supabase.lib.client_options import SyncClientOptions

from sandbox.local.stack import LocalStack
from tests.calls import claim_all
from tests.stack import Connection, as_engine

NUMBER = "+14155550123"


Connect = Callable[..., Client]
SignIn = Callable[[UUID], Client]


@pytest.fixture
def connect(stack: LocalStack) -> Iterator[Connect]:
    with ExitStack() as open_clients:

        def make(key: str, **headers: str) -> Client:
            # The library warns about its own default client, so the test passes one.
            options = SyncClientOptions(headers=headers, httpx_client=open_clients.enter_context(httpx.Client()))
            return create_client(stack.url, key, options)

        yield make


@pytest.fixture
def server_app(stack: LocalStack, connect: Connect) -> Client:
    """An app's server, with the project's secret key."""
    return connect(stack.secret_key)


@pytest.fixture
def anonymous(stack: LocalStack, connect: Connect) -> Client:
    return connect(stack.publishable_key)


@pytest.fixture
def sign_in(stack: LocalStack, connect: Connect) -> SignIn:
    return lambda user: connect(stack.publishable_key, Authorization=f"Bearer {stack.sign_user_token(user)}")


def insert(client: Client, **columns: Any) -> dict[str, Any]:
    row: Any = client.table("outbox").insert({"recipient": NUMBER, "body": "Your table is ready", **columns}).execute().data[0]
    return dict(row)


def refusal(client: Client, **columns: Any) -> APIError:
    with pytest.raises(APIError) as refused:
        insert(client, **columns)
    return refused.value


def test_new_row_is_due_now_for_three_days(server_app: Client) -> None:
    row = insert(server_app)

    assert row["status"] == "pending"
    assert row["priority"] == 100
    assert row["owner_id"] is None
    assert instant(row["expires_at"]) - instant(row["send_at"]) == timedelta(days=3)


def test_null_means_the_default_in_every_app_column(server_app: Client) -> None:
    names = ["template", "parameters", "sender", "send_at", "expires_at", "priority", "idempotency_key", "metadata"]

    row = insert(server_app, **dict.fromkeys(names))

    assert (row["status"], row["priority"]) == ("pending", 100)


def test_a_row_for_later_is_scheduled(server_app: Client) -> None:
    send_at = datetime.now(UTC) + timedelta(hours=2)

    row = insert(server_app, send_at=send_at.isoformat())

    assert row["status"] == "scheduled"
    assert instant(row["expires_at"]) == send_at + timedelta(days=3)


def test_a_send_time_in_the_past_means_now(server_app: Client) -> None:
    row = insert(server_app, send_at="2020-01-01T00:00:00Z")

    assert row["status"] == "pending"
    assert instant(row["send_at"]) == instant(row["created_at"])


@pytest.mark.parametrize(
    "recipient", ["14155550123", "+0155501234", "+141555", "+1 415 555 012x", "", "phone", None, "+123456789012345678"]
)
def test_invalid_number_is_refused_and_quoted(server_app: Client, recipient: str | None) -> None:
    refused = refusal(server_app, recipient=recipient)

    assert refused.code == "22023"
    assert refused.message is not None
    assert "E.164" in refused.message
    assert str(recipient or ("''" if recipient == "" else "null")) in refused.message


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"body": ""}, "body is empty"),
        ({"body": " \n\t"}, "body is empty"),
        ({"body": None}, "body is empty"),
        ({"body": "x" * 2001}, "2001 characters"),
        ({"sender": "TwelveLetter"}, "is not a sender"),
        ({"sender": "Caf\u00e9"}, "is not a sender"),
        ({"sender": "12"}, "is not a sender"),
        ({"idempotency_key": "ö" * 256}, f"idempotency_key '{'ö' * 20}…' has 256 characters, 255 are allowed"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"send_at": "20000-01-01T00:00:00Z"}, "send_at 20000-01-01 00:00:00+00 is not between 1970 and 2200"),
        ({"send_at": "294276-12-31T23:59:59Z"}, "send_at 294276-12-31 23:59:59+00 is not between 1970 and 2200"),
        ({"send_at": "1969-12-31T23:59:59Z"}, "send_at 1969-12-31 23:59:59+00 is not between 1970 and 2200"),
        ({"expires_at": "2200-01-01T00:00:00Z"}, "expires_at 2200-01-01 00:00:00+00 is not between 1970 and 2200"),
        ({"expires_at": "infinity"}, "expires_at infinity is not an instant"),
        ({"expires_at": "-infinity"}, "expires_at -infinity is not an instant"),
        ({"send_at": "infinity"}, "send_at infinity is not an instant"),
        ({"send_at": "-infinity"}, "send_at -infinity is not an instant"),
        ({"send_at": "infinity", "expires_at": "infinity"}, "send_at infinity is not an instant"),
        ({"template": "greeting"}, "body and template"),
        ({"body": None, "template": "nowhere"}, "template 'nowhere' does not exist"),
        ({"parameters": {"name": "Ada"}}, "parameters without a template"),
    ],
)
def test_bad_input_is_refused_with_a_reason(server_app: Client, columns: dict[str, Any], says: str) -> None:
    refused = refusal(server_app, **columns)

    assert refused.code == "22023"
    assert refused.message is not None
    assert says in refused.message


@pytest.mark.parametrize("body", ["x", "x" * 2000, "\N{SNOWMAN}" * 2000])
def test_text_of_up_to_2000_characters_is_unchanged(server_app: Client, body: str) -> None:
    assert insert(server_app, body=body)["body"] == body


@pytest.mark.parametrize("sender", ["+12025550100", "12025550100", "74111", "Bistro 7", "Elevenchars", "A"])
def test_sender_may_be_number_short_code_or_name(server_app: Client, sender: str) -> None:
    assert insert(server_app, sender=sender)["sender"] == sender


def test_repeated_idempotency_key_is_a_conflict(server_app: Client) -> None:
    insert(server_app, idempotency_key="order-7")

    assert refusal(server_app, idempotency_key="order-7").code in ("23505", "409")


def test_idempotency_key_fits_the_index_in_any_script(server_app: Client, db: Connection) -> None:
    key = "".join(chr(0x10000 + n * 97) for n in range(255))
    insert(server_app, idempotency_key=key)

    assert refusal(server_app, idempotency_key=key).code in ("23505", "409")
    check = "alter table public.outbox disable trigger user; update public.outbox set idempotency_key = idempotency_key || 'x'"
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction():
        db.execute(check)


def test_an_upsert_that_ignores_duplicates_is_one_message(server_app: Client, db: Connection) -> None:
    for _ in range(2):
        server_app.table("outbox").upsert(
            {"recipient": NUMBER, "body": "Order 7 is on its way", "idempotency_key": "order-7"},
            on_conflict="idempotency_key",
            ignore_duplicates=True,
        ).execute()

    assert db.execute("select count(*) from public.outbox").fetchone() == (1,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "sent"),
        ("status", "pending"),
        ("attempts", 0),
        ("batch_id", "01"),
        ("campaign", "spring"),
        ("created_at", "2020-01-01T00:00:00Z"),
        ("finalized_at", "2020-01-01T00:00:00Z"),
        ("queue", "r"),
        ("dispatch_id", "0b2e4a5c-0000-4000-8000-000000000002"),
    ],
)
def test_app_cannot_insert_an_engine_column(server_app: Client, name: str, value: Any) -> None:
    refused = refusal(server_app, **{name: value})

    assert (refused.code, str(refused.message).endswith(f"was given a value: {name}")) == ("42501", True)


@pytest.mark.parametrize("change", [{"status": "delivered"}, {"attempts": 9}, {"status": "cancelled", "error": "x"}])
def test_app_cannot_change_an_engine_column(server_app: Client, change: dict[str, Any]) -> None:
    row = insert(server_app)

    with pytest.raises(APIError) as refused:
        server_app.table("outbox").update(change).eq("id", row["id"]).execute()

    assert refused.value.code == "42501"


def test_app_can_cancel_a_waiting_message(server_app: Client) -> None:
    row = insert(server_app)

    server_app.table("outbox").update({"status": "cancelled"}).eq("id", row["id"]).execute()

    after: Any = server_app.table("outbox").select("status, finalized_at").eq("id", row["id"]).single().execute().data
    assert after["status"] == "cancelled"
    assert after["finalized_at"] is not None


@pytest.mark.parametrize(
    ("status", "event"),
    [("pending", "cancelled"), ("sending", "cancel_requested"), ("sent", "cancel_too_late"), ("failed", "cancel_too_late")],
)
def test_history_records_the_result_of_an_apps_cancel(server_app: Client, db: Connection, status: str, event: str) -> None:
    row = insert(server_app)
    bring_to(db, status)

    server_app.table("outbox").update({"status": "cancelled"}).eq("id", row["id"]).execute()

    assert db.execute("select source, event from public.outbox_events").fetchall() == [("app", event)]
    (left,) = db.execute("select status, cancel_requested_at is not null from public.outbox").fetchall()
    assert left == ("cancelled" if event == "cancelled" else status, event != "cancel_too_late")


def bring_to(db: Connection, status: str) -> None:
    """As the engine would."""
    queue = {"pending": "r", "scheduled": "w"}.get(status)
    as_engine(
        db,
        "update public.outbox set status = %s, queue = %s,"
        " finalized_at = case when %s in ('failed', 'delivered') then outbox_engine.now() end",
        [status, queue, status],
    )


@pytest.mark.parametrize("how", ["typed", "by a function of the app's"])
@pytest.mark.parametrize(
    ("status", "event", "left"),
    [
        ("pending", "cancelled", ("cancelled", None, True)),
        ("sending", "cancel_requested", ("sending", None, False)),
        ("delivered", "cancel_too_late", ("delivered", None, True)),
    ],
)
def test_table_owner_cancels_as_an_app_does(
    stack: LocalStack, db: Connection, how: str, status: str, event: str, left: object
) -> None:
    """In an SQL editor or a table browser, which use the engine's role."""
    cancel = "update public.outbox set status = 'cancelled'"
    with psycopg.connect(stack.db_url, autocommit=True) as owner:
        owner.execute("insert into public.outbox (recipient, body) values (%s, 'hello')", [NUMBER])
        bring_to(db, status)
        if how == "typed":
            owner.execute(cancel)
        else:
            owner.execute(f"create function public.cancel_all() returns void language sql security definer as $$ {cancel} $$")
            try:
                owner.execute("set role service_role")
                owner.execute("select public.cancel_all()")
            finally:
                owner.execute("reset role")
                owner.execute("drop function public.cancel_all()")

    assert db.execute("select source, event from public.outbox_events").fetchall() == [("app", event)]
    assert db.execute("select status, queue, finalized_at is not null from public.outbox").fetchall() == [left]


@pytest.mark.parametrize("status", ["pending", "sent", "delivered", "failed"])
def test_table_owner_cannot_set_another_status(stack: LocalStack, db: Connection, status: str) -> None:
    with psycopg.connect(stack.db_url, autocommit=True) as owner:
        owner.execute("insert into public.outbox (recipient, body) values (%s, 'hello')", [NUMBER])
        bring_to(db, "sending")

        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is written by the engine"):
            owner.execute("update public.outbox set status = %s", [status])


@pytest.mark.parametrize(("inserted", "moved", "left"), [("1 day", "0", ("sending",)), ("0", "1 day", ("scheduled",))])
def test_owner_moves_a_waiting_message(db: Connection, inserted: str, moved: str, left: tuple[str]) -> None:
    """By its `send_at`, as in a table editor."""
    db.execute(
        "insert into public.outbox (recipient, body, send_at) values (%s, 'a', now() + %s::interval)", [NUMBER, inserted]
    )

    db.execute("update public.outbox set send_at = now() + %s::interval", [moved])
    claim_all(db)

    assert db.execute("select status from public.outbox").fetchall() == [left]


def test_an_app_cannot_delete(server_app: Client) -> None:
    row = insert(server_app)

    with pytest.raises(APIError):
        server_app.table("outbox").delete().eq("id", row["id"]).execute()


RELATIONS = """
    select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f') order by 1
"""


def test_anon_gets_nothing_anywhere(anonymous: Client, server_app: Client, db: Connection) -> None:
    insert(server_app)
    relations = [str(name) for (name,) in db.execute(RELATIONS)]
    assert {"outbox", "outbox_events", "outbox_opt_out_words", "outbox_figures"} <= set(relations)

    for relation in relations:
        with pytest.raises(APIError):
            anonymous.table(relation).select("*").execute()


def test_anon_and_users_cannot_call_the_engine(anonymous: Client, sign_in: SignIn) -> None:
    for client in (anonymous, sign_in(uuid4())):
        with pytest.raises(APIError):
            client.rpc("outbox_take_alarms", {"p_limit": 1}).execute()


def test_user_cannot_insert_without_a_grant(sign_in: SignIn) -> None:
    assert refusal(sign_in(uuid4())).code == "42501"


def test_user_with_a_grant_sees_only_own_rows(sign_in: SignIn, db: Connection, server_app: Client) -> None:
    ada, grace = uuid4(), uuid4()
    insert(server_app)
    db.execute("grant insert (recipient, body) on public.outbox to authenticated")
    try:
        own = insert(sign_in(ada))
        insert(sign_in(grace))
    finally:
        db.execute("revoke insert (recipient, body) on public.outbox from authenticated")

    seen: Any = sign_in(ada).table("outbox").select("id, owner_id").execute().data

    assert seen == [{"id": own["id"], "owner_id": str(ada)}]


def test_user_sees_only_the_history_of_own_rows(sign_in: SignIn, db: Connection) -> None:
    ada, grace = uuid4(), uuid4()
    for owner in (ada, grace):
        db.execute("insert into public.outbox (recipient, body, owner_id) values (%s, 'hello', %s)", [NUMBER, owner])
    db.execute(
        "insert into public.outbox_events (outbox_id, at, source, event) "
        "select id, now(), 'engine', 'accepted' from public.outbox"
    )

    seen: Any = sign_in(grace).table("outbox_events").select("outbox_id").execute().data

    assert seen == [{"outbox_id": 2}]


@pytest.mark.parametrize("sub", ["user_2abc", "", "0b2e4a5c-0000-4000-8000-00000000000", 7])
def test_users_of_other_providers_own_nothing(stack: LocalStack, connect: Connect, db: Connection, sub: object) -> None:
    """Their ids are no UUIDs."""
    db.execute("insert into public.outbox (recipient, body, owner_id) values (%s, 'hello', %s)", [NUMBER, uuid4()])
    token = jwt.encode({"sub": sub, "role": "authenticated"}, stack.jwt_secret, "HS256")
    user = connect(stack.publishable_key, Authorization=f"Bearer {token}")

    assert user.table("outbox").select("id").execute().data == []
    assert user.table("outbox_events").select("id").execute().data == []


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
