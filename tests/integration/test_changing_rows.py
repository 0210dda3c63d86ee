"""Messages that wait can be changed by apps: changed or sent, never half."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.calls import accept, claim, claim_all, find_nothing, mark_ambiguous, refuse
from tests.campaigns import campaign, member, template
from tests.changes import USER, change, in_hours, reschedule
from tests.engine import column, history, insert, later, number
from tests.races import overlap
from tests.routes import route
from tests.stack import Connection, as_engine


def test_app_changes_everything_that_waits(db: Connection, app: Connection) -> None:
    (row,) = insert(db, send_at=in_hours(db, 1))
    new = {
        "send_at": in_hours(db, 2),
        "expires_at": in_hours(db, 3),
        "body": "changed",
        "recipient": number(7),
        "priority": 5,
        "metadata": {"order": 7},
        "media_url": "https://example.com/menu.jpg",
    }

    change(app, row, **new)

    assert {name: column(db, name, row) for name in new} == new
    assert column(db, "channel", row) == "mms"
    changed = "body, expires_at, media_url, metadata, priority, recipient, send_at"
    events = db.execute("select source, event, status, detail from public.outbox_events").fetchall()
    assert events == [("app", "changed", "scheduled", changed)]


def test_changed_number_is_read_as_on_insert(db: Connection, app: Connection) -> None:
    (row,) = insert(db)

    change(app, row, recipient="+1 (202) 555-0123", media_url=None)

    assert column(db, "recipient", row) == "+12025550123"


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"recipient": "0151"}, "E.164"),
        ({"body": ""}, "body is empty"),
        ({"body": None}, "body is empty"),
        ({"body": "\u00a0\u200b\u3164\u2800\n"}, "body is empty"),
        ({"body": "x" * 2001}, "2001 characters"),
        ({"expires_at": "2020-01-01"}, "is not after now"),
        ({"send_at": "2300-01-01"}, "is not between 1970 and 2200"),
        ({"send_at": "infinity"}, "is not an instant"),
        ({"send_at": "2100-01-01", "expires_at": "2099-01-01"}, "is not after send_at"),
        ({"parameters": {"name": "Ada"}}, "parameters without a template"),
        ({"media_url": "http://example.com/a.jpg"}, "does not begin with https://"),
    ],
)
def test_changes_are_checked_as_on_insert(db: Connection, app: Connection, columns: dict[str, Any], says: str) -> None:
    (row,) = insert(db)

    with pytest.raises(psycopg.errors.InvalidParameterValue, match=says):
        change(app, row, **columns)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"status": "pending", "queue": "w"}, "queue"),
        ({"status": "delivered"}, "status"),
        ({"status": "cancelled", "body": "x"}, "status"),
        ({"sender": "Bistro"}, "sender"),
        ({"idempotency_key": "k"}, "idempotency_key"),
        ({"owner_id": str(uuid4())}, "owner_id"),
        ({"secret": True}, "secret"),
        ({"attempts": 9, "error": "x"}, "attempts, error"),
    ],
)
def test_other_columns_are_refused_by_name(db: Connection, app: Connection, columns: dict[str, Any], named: str) -> None:
    (row,) = insert(db)

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"may not change {named} of message {row}") as refused:
        change(app, row, **columns)

    assert "send_at, expires_at, body" in str(refused.value.diag.message_hint)


@pytest.mark.parametrize("status", ["sending", "sent", "delivered"])
def test_change_after_the_claim_is_refused(db: Connection, app: Connection, status: str) -> None:
    (row,) = insert(db)
    as_engine(db, "update public.outbox set status = %s, queue = null", [status])

    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"message {row} is {status}: it is too late") as refused:
        change(app, row, body="changed")

    assert "scheduled or pending" in str(refused.value.diag.message_hint)
    assert change(app, row, body="hello") == 1
    assert history(db, row) == []


def test_cancelled_message_does_not_change(db: Connection, app: Connection) -> None:
    (row,) = insert(db)
    change(app, row, status="cancelled")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is cancelled") as refused:
        change(app, row, body="changed")

    assert "outbox_reschedule" in str(refused.value.diag.message_hint)


def test_campaign_message_changes_through_its_member(db: Connection, app: Connection) -> None:
    template(db)
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00", late_limit="100 years")
    member(db)
    db.execute("select public.outbox_expand_campaigns(1000)")
    (row,) = (int(str(found)) for (found,) in db.execute("select id from public.outbox"))

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="belongs to campaign 'c'") as refused:
        change(app, row, priority=5)

    assert "outbox_campaign_members" in str(refused.value.diag.message_hint)
    answer = reschedule(app, id=row, priority=5)
    assert (answer["in_time"], answer["outcome"]) == (False, "campaign")


def test_upsert_changes_a_waiting_message_once(db: Connection, app: Connection) -> None:
    upsert = (
        "insert into public.outbox (recipient, body, idempotency_key) values (%s, %s, 'k') on conflict (idempotency_key)"
        " do update set recipient = excluded.recipient, body = excluded.body, idempotency_key = excluded.idempotency_key"
    )
    for body in ("first", "second", "second"):
        app.execute(upsert, [number(0), body])
    sent = claim(db)
    app.execute(upsert, [number(0), "second"])

    assert sent["body"] == "second"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="too late"):
        app.execute(upsert, [number(0), "third"])


@pytest.mark.parametrize("has_expiry", [True, False])
def test_repeated_upsert_of_a_past_time_changes_nothing(db: Connection, app: Connection, has_expiry: bool) -> None:
    """The insert makes it now, at each repetition: a message would go to the end of its queue, or be too late."""
    names = ["recipient", "body", "idempotency_key", "send_at", *(["expires_at"] if has_expiry else [])]
    statement = (
        f"insert into public.outbox ({', '.join(names)}) values (%s, 'hello', 'k', %s{', null' if has_expiry else ''})"
        f" on conflict (idempotency_key) do update set {', '.join(f'{name} = excluded.{name}' for name in names)} returning id"
    )

    def upsert(hours: float) -> int:
        (found,) = app.execute(statement, [number(0), in_hours(db, hours)]).fetchone() or (None,)
        return int(str(found))

    row = upsert(-1)
    kept = column(db, "(send_at, due_at, expires_at)::text", row)
    later(db, "1 second")
    assert upsert(-2) == row
    accept(db, claim(db), "B")
    later(db, "1 second")
    assert upsert(-1) == row

    assert column(db, "(send_at, due_at, expires_at)::text", row) == kept
    assert history(db, row) == ["accepted"]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="too late") as refused:
        upsert(1)
    assert "ignoreDuplicates" in str(refused.value.diag.message_hint)


def test_upsert_leaves_the_text_of_a_template(db: Connection, app: Connection) -> None:
    """Of rows that are written together, those with a template have null in the column of the others' texts."""
    template(db)
    (row,) = insert(db, body=None, template="hi", parameters=Jsonb({"name": "Ada"}))  # type: ignore[arg-type]
    accept(db, claim(db), "B")

    assert change(app, row, body=None, parameters={"name": "Ada"}) == 1

    assert (column(db, "body", row), history(db, row)) == ("Hello Ada", ["accepted"])


@pytest.mark.parametrize("columns", [{"idempotency_key": " "}, {"sender": "+4407700900123"}])
def test_older_key_and_sender_stop_no_change(db: Connection, app: Connection, columns: dict[str, str]) -> None:
    """Release 0.1.0 took them, and an app cannot change them."""
    (row,) = insert(db)
    for name, value in columns.items():
        db.execute(f"update public.outbox set {name} = %s where id = %s", [value, row])

    change(app, row, body="changed")
    assert reschedule(app, id=row, send_at=in_hours(db, 2))["outcome"] == "changed"

    assert column(db, "body", row) == "changed"


@pytest.mark.parametrize(
    ("before", "after", "status", "claimed"),
    [(1, 2, "scheduled", 0), (0, 2, "scheduled", 0), (2, -1, "pending", 1), (2, None, "pending", 1)],
)
def test_new_time_queues_the_message_for_it(
    db: Connection, app: Connection, before: float, after: float | None, status: str, claimed: int
) -> None:
    (row,) = insert(db, send_at=in_hours(db, before))

    change(app, row, send_at=None if after is None else in_hours(db, after))

    assert column(db, "status", row) == status
    assert column(db, "expires_at - send_at", row) == timedelta(days=3)
    assert len(claim_all(db)) == claimed


def test_chosen_expiry_stays_where_it_is(db: Connection, app: Connection) -> None:
    chosen = in_hours(db, 4)
    (row,) = insert(db, send_at=in_hours(db, 1), expires_at=chosen)

    change(app, row, send_at=in_hours(db, 2))

    assert column(db, "expires_at", row) == chosen
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is not after send_at"):
        change(app, row, send_at=in_hours(db, 5))
    change(app, row, send_at=in_hours(db, 5), expires_at=None)
    assert column(db, "expires_at - send_at", row) == timedelta(days=3)


def test_moved_code_is_blanked_after_its_new_expiry(db: Connection, app: Connection) -> None:
    (row,) = insert(db, secret=True)

    change(app, row, send_at=in_hours(db, 1))

    assert column(db, "expires_at - send_at", row) == timedelta(minutes=15)
    assert db.execute("select blank_at from outbox_engine.secret_messages").fetchall() == [(column(db, "expires_at", row),)]


def test_parameters_are_checked_and_make_a_new_text(db: Connection, app: Connection) -> None:
    template(db)
    (row,) = insert(db, body=None, template="hi", parameters=Jsonb({"name": "Ada"}))  # type: ignore[arg-type]
    refuse(db, claim(db), "throttled")
    later(db, "10 minutes")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="name}} of template 'hi' has no value"):
        change(app, row, parameters={"nam": "Grace"})
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="which makes its text"):
        change(app, row, body="Hello Grace")
    change(app, row, parameters={"name": "Grace"})

    assert claim(db)["body"] == "Hello Grace"


def test_new_number_and_priority_match_the_route_anew(db: Connection, app: Connection) -> None:
    urgent = route(db, "urgent", priority_below=50)
    (row,) = insert(db)
    db.execute("select outbox_engine.advance_queue_bounds(500)")
    later(db, "1 second")
    db.execute("select outbox_engine.advance_queue_bounds(500)")
    assert column(db, "route", row) == 0

    change(app, row, priority=5)

    assert column(db, "route", row) == urgent
    assert column(db, "due_at >= outbox_engine.queue_time()", row)
    assert claim(db)["body"] == "hello"


@pytest.mark.parametrize("app_first", [True, False])
def test_change_during_a_claim_is_whole_or_refused(db: Connection, app: Connection, app_first: bool) -> None:
    (row,) = insert(db)

    def edit() -> str:
        try:
            change(app, row, body="changed", recipient=number(9))
        except psycopg.errors.InvalidParameterValue as refused:
            return str(refused)
        return "changed"

    if app_first:
        _, during = overlap(app, edit, lambda: claim_all(db))
        assert during == []
        sent = claim(db)
        assert (sent["body"], sent["recipients"]) == ("changed", [number(9)])
    else:
        sent, told = overlap(db, lambda: claim(db), edit)
        assert "too late" in told
        assert (sent["body"], column(db, "body", row), column(db, "recipient", row)) == ("hello", "hello", number(0))


def test_content_stays_while_an_earlier_request_is_unproven(db: Connection, app: Connection) -> None:
    """The provider may have the earlier text: the message would be recorded as sent with the new one."""
    (row,) = insert(db)
    mark_ambiguous(db, claim(db))
    find_nothing(db)
    assert column(db, "status", row) == "pending"

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="was never answered"):
        change(app, row, body="changed")
    change(app, row, priority=5)

    assert column(db, "priority", row) == 5


def test_new_text_ends_the_hold_of_the_old(db: Connection, app: Connection) -> None:
    (row,) = insert(db)
    db.execute("insert into outbox_engine.held_messages values (%s, 'sinch', 'p', %s)", [row, uuid4()])
    as_engine(db, "update public.outbox set status = 'scheduled', queue = 'w', due_at = expires_at")

    change(app, row, body="changed")

    assert claim(db)["body"] == "changed"
    assert db.execute("select from outbox_engine.held_messages").fetchall() == []


def test_user_may_only_cancel_own_messages(db: Connection, user: Connection) -> None:
    (mine,), (elses,) = insert(db, owner_id=USER), insert(db)

    for columns in ({"body": "x"}, {"send_at": in_hours(db, 1)}, {"status": "pending", "priority": 1}):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may only cancel") as refused:
            change(user, mine, **columns)
        assert "from your server" in str(refused.value.diag.message_hint)
    assert change(user, elses, status="cancelled") == 0
    assert change(user, mine, status="cancelled") == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reschedule(user, id=mine)

    assert (column(db, "status", mine), column(db, "status", elses)) == ("cancelled", "pending")
    assert history(db, mine) == ["cancelled"]


def test_history_comes_with_the_callers_own_messages(db: Connection, user: Connection) -> None:
    (mine,), (elses,) = insert(db, owner_id=USER), insert(db)
    change(user, mine, status="cancelled")
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [elses])
    embedded = "select o.id, array(select e.event from public.outbox_events(o) e) from public.outbox o order by o.id"

    assert user.execute(embedded).fetchall() == [(mine, ["cancelled"])]
    assert len(db.execute(embedded).fetchall()) == 2


def test_delete_by_a_server_says_what_to_do(db: Connection, app: Connection, user: Connection) -> None:
    insert(db, owner_id=USER)

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may not delete messages") as refused:
        app.execute("delete from public.outbox")
    assert "Set status to cancelled" in str(refused.value.diag.message_hint)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        user.execute("delete from public.outbox")
    assert db.execute("delete from public.outbox").rowcount == 1


def test_server_names_the_owner_of_a_message(db: Connection, app: Connection) -> None:
    owner = uuid4()

    (row,) = insert(app, owner_id=owner)

    assert column(db, "owner_id", row) == owner
