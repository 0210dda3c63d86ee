"""A text, a sender or a setting that the provider refuses: its messages are held, and everything else goes on."""

import json
from typing import Any

import pytest

from tests.calls import accept, pauses
from tests.engine import column, history, insert, later, number, stand_still, statuses
from tests.refusing import Sending, insert_many, refusal, refusing_text
from tests.stack import Connection


@pytest.fixture(autouse=True)
def _still(db: Connection) -> None:
    stand_still(db)


def held(db: Connection) -> list[dict[str, Any]]:
    """What `outbox status` shows."""
    row = db.execute("select outbox_engine.held_json()").fetchone()
    assert row is not None
    assert isinstance(row[0], list)
    return row[0]


def alarms(db: Connection) -> list[Any]:
    rows = db.execute("select detail ->> 'of' from outbox_engine.alarms where kind = 'content.held' order by id")
    return [of for (of,) in rows]


def allow_all(_dispatch: dict[str, Any]) -> None:
    return None


@pytest.mark.parametrize("most_recipients", [1, 2, 7, 1000])
def test_refused_text_fails_three_and_stops_nothing(db: Connection, most_recipients: int) -> None:
    insert_many(db, 40, body="wrong")
    insert_many(db, 40, body="right")
    sending = Sending(db, refusing_text("wrong"), most_recipients=most_recipients)

    sending.tick()
    requests = len(sending.requests)

    assert statuses(db)["failed"] == 3
    assert statuses(db)["sent"] == 40
    assert pauses(db) == []
    assert [(one["messages"], one["reason"]) for one in held(db)] == [
        (37, "HTTP 400 syntax_constraint_violation: this text is not allowed")
    ]
    assert alarms(db) == ["one text"]
    later(db, "59 seconds")
    sending.tick()
    assert len(sending.requests) == requests

    sending.answering = allow_all
    later(db, "1 second")
    sending.tick()
    assert statuses(db) == {"failed": 3, "sent": 77}
    assert set(sending.accepted.values()) == {1}
    assert held(db) == []


def test_sender_blamed_on_each_number_fails_three(db: Connection) -> None:
    """The provider names a recipient, whichever comes first."""
    insert_many(db, 200)
    sending = Sending(db, lambda _: refusal(403, "illegal_number_type", "Illegal phone number type of MSISDN was used"))

    sending.tick()

    assert statuses(db)["failed"] == 3
    assert [one["messages"] for one in held(db)] == [197]
    assert len(sending.requests) < 10


def test_probes_are_one_message_each_ever_more_seldom(db: Connection) -> None:
    """The next probe is another message, and none of them fails."""
    insert_many(db, 10, body="wrong")
    sending = Sending(db, refusing_text("wrong"))
    sending.tick()
    before = len(sending.requests)

    probes = []
    for minutes in (1, 5, 30, 30):
        later(db, f"{minutes - 0.1} minutes")
        assert sending.claim() == []
        later(db, "0.1 minutes")
        sending.tick()
        probes.append(sending.requests[-1]["recipients"])

    assert len(sending.requests) == before + 4
    assert len({recipient for (recipient,) in probes}) == 4
    assert statuses(db)["failed"] == 3


def test_later_messages_of_a_held_text_wait(db: Connection) -> None:
    insert_many(db, 5, body="wrong")
    sending = Sending(db, refusing_text("wrong"))
    sending.tick()
    before = len(sending.requests)

    (late,) = insert(db, body="wrong", first=90)
    insert(db, body="wrong", first=91, sender="Another")
    sending.tick()

    assert (column(db, "status", late), history(db, late)) == ("scheduled", ["held"])
    assert len(sending.requests) == before + 1
    assert sending.requests[-1]["sender"] == "Another"


def test_next_message_probes_where_none_is_held(db: Connection) -> None:
    insert_many(db, 3, body="wrong")
    sending = Sending(db, refusing_text("wrong"))
    sending.tick()
    later(db, "10 minutes")

    insert_many(db, 4, body="wrong", first=10)
    sending.answering = allow_all
    sending.tick()

    assert statuses(db) == {"failed": 3, "sent": 4}
    assert len(sending.requests[-2]["recipients"]) == 1


def test_cancelled_and_expired_messages_leave_a_hold(db: Connection) -> None:
    insert_many(db, 6, body="wrong")
    sending = Sending(db, refusing_text("wrong"))
    sending.tick()
    one, two, three = (
        int(str(row)) for (row,) in db.execute("select id from public.outbox where queue is not null order by id")
    )
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [one])
    db.execute("insert into public.outbox_suppressions (recipient, reason) select recipient, 'asked' from public.outbox"
               " where id = %s", [two])  # fmt: skip
    later(db, "3 days")
    db.execute("select public.outbox_upkeep(90, null, 1000)")

    sending.tick()

    assert [column(db, "status", row) for row in (one, two, three)] == ["cancelled", "suppressed", "expired"]
    assert column(db, "error", three).endswith("held for: HTTP 400 syntax_constraint_violation: this text is not allowed")
    assert statuses(db)["failed"] == 3


def test_template_with_placeholders_is_one_text(db: Connection) -> None:
    db.execute("insert into public.outbox_templates (name, body) values ('code', 'Your code is {{code}}')")
    for n in range(12):
        db.execute(
            "insert into public.outbox (recipient, template, parameters) values (%s, 'code', %s)",
            [number(n), json.dumps({"code": f"{n}{n}{n}"})],
        )
    sending = Sending(db, lambda _: refusal(text="this text is not allowed"))

    sending.tick()

    assert statuses(db)["failed"] == 3
    assert [one["messages"] for one in held(db)] == [9]


def test_edited_template_goes_out_at_the_next_probe(db: Connection) -> None:
    db.execute("insert into public.outbox_templates (name, body) values ('t', 'wrong')")
    db.execute("insert into public.outbox (recipient, template) select r, 't' from unnest(%s::text[]) r",
               [[number(n) for n in range(9)]])  # fmt: skip
    sending = Sending(db, refusing_text("wrong"))
    sending.tick()

    db.execute("update public.outbox_templates set body = 'right'")
    later(db, "1 minute")
    sending.tick()

    assert statuses(db) == {"failed": 3, "sent": 6}


def test_refused_sender_fails_three_of_its_texts(db: Connection) -> None:
    """Each text is tried once. When the sender works again, all go out."""
    for n in range(9):
        insert(db, first=n, body=f"text {n}", sender="Shop")
        insert(db, first=n, body=f"text {n}", sender="Another")
    sending = Sending(db, lambda dispatch: refusal(403, "unknown_campaign") if dispatch["sender"] == "Shop" else None)

    sending.tick()
    later(db, "1 minute")
    sending.tick()

    assert (statuses(db)["failed"], statuses(db)["sent"]) == (3, 9)
    assert [(one["sender"], one["texts"], one["messages"]) for one in held(db)] == [("Shop", 6, 6)]
    assert alarms(db) == ["different texts"]

    sending.answering = allow_all
    later(db, "5 minutes")
    sending.tick()
    assert statuses(db) == {"failed": 3, "sent": 15}


def test_refused_sender_is_probed_by_one_text(db: Connection) -> None:
    """Each of its texts is tried once. From then on another one is tried each time, however many are held."""
    for n in range(20):
        insert(db, first=n, body=f"text {n}", sender="Shop")
    sending = Sending(db, lambda _: refusal(403, "unknown_campaign"))
    sending.tick()
    first = len(sending.requests)

    for wait in ("1 minute", "5 minutes", "30 minutes"):
        later(db, wait)
        sending.tick()
    db.execute("select public.outbox_resume(null, null, true)")
    sending.tick()

    probed = [dispatch["body"] for dispatch in sending.requests[first:]]
    assert len(probed) == len(set(probed)) == 4


def test_accepted_sender_does_not_excuse_its_texts(db: Connection) -> None:
    """Three messages of a text fail, whatever else of its sender is refused and accepted between them."""
    sending = Sending(db, lambda dispatch: None if dispatch["body"] == "right" else refusal(), most_recipients=1)
    for n, body in enumerate(("wrong", "another", "wrong", "wrong")):
        insert(db, first=n, body=body)
        sending.tick()
    assert alarms(db) == ["different texts"]
    assert statuses(db) == {"failed": 3, "pending": 1}

    insert(db, first=10, body="right")
    sending.tick()
    insert_many(db, 9, body="wrong")
    sending.tick()

    failed = db.execute("select count(*) from public.outbox where status = 'failed' and body = 'wrong'").fetchone()
    assert failed == (3,)
    assert [one["messages"] for one in held(db)] == [9]
    assert alarms(db) == ["different texts", "one text"]


@pytest.mark.parametrize("said", ["The value of from must be a number", "callback_url must be a URL"])
def test_refused_setting_fails_nothing(db: Connection, said: str) -> None:
    insert_many(db, 40, body="one")
    insert_many(db, 40, body="another")
    sending = Sending(db, lambda _: refusal(400, "syntax_invalid_parameter_format", said))

    sending.tick()
    later(db, "1 minute")
    sending.tick()

    assert "failed" not in statuses(db)
    assert len(sending.requests) == 3
    assert alarms(db) == ["different texts"]
    sending.answering = allow_all
    later(db, "5 minutes")
    sending.tick()
    assert statuses(db) == {"sent": 80}


def test_acceptance_between_refusals_holds_nothing(db: Connection) -> None:
    for n in range(6):
        insert(db, first=n, body="hello")
    refused = {number(n) for n in (0, 1, 3, 4)}
    sending = Sending(db, lambda dispatch: refusal() if refused & {*dispatch["recipients"]} else None, most_recipients=1)

    sending.tick()

    assert statuses(db) == {"failed": 4, "sent": 2}
    assert held(db) == []


def test_acceptance_of_an_older_request_ends_no_hold(db: Connection) -> None:
    insert(db, body="wrong", first=80)
    sending = Sending(db, refusing_text("wrong"))
    (older,) = sending.claim()
    later(db, "1 second")
    insert_many(db, 9, body="wrong")
    sending.tick()

    accept(db, older, "B1")

    assert [one["messages"] for one in held(db)] == [6]


def test_requests_in_flight_join_the_hold(db: Connection) -> None:
    insert_many(db, 8, body="wrong")
    sending = Sending(db, refusing_text("wrong"), most_recipients=1)

    sending.send(sending.claim())

    assert statuses(db) == {"failed": 3, "pending": 5}
    assert [one["messages"] for one in held(db)] == [5]


def test_setting_pause_of_release_1_stops_nothing(db: Connection) -> None:
    db.execute(
        "insert into outbox_engine.plan_pauses (provider, plan, kind, reason, since, until) values"
        " ('sinch', 'p', 'setting', 'HTTP 400', outbox_engine.now(), outbox_engine.now() + interval '1 hour')"
    )
    insert(db)

    Sending(db, allow_all).tick()

    assert statuses(db) == {"sent": 1}
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    assert pauses(db) == []


def test_forced_resume_probes_at_once(db: Connection) -> None:
    insert_many(db, 6, body="wrong")
    sending = Sending(db, refusing_text("wrong"))
    sending.tick()
    (waiting,) = db.execute("select min(id) from public.outbox where queue = 'w'").fetchone() or (0,)
    trace = db.execute("select public.outbox_trace(%s, false) -> 'message' ->> 'tried_again_at'", [waiting]).fetchone()
    assert trace is not None
    assert str(trace[0])[:10] == held(db)[0]["probe_at"][:10]
    waits: Any = db.execute("select public.outbox_trace(%s, false) -> 'waiting'", [waiting]).fetchone()
    assert (waits[0]["is_held"], waits[0]["until"][:10]) == (True, held(db)[0]["probe_at"][:10])

    sending.answering = allow_all
    db.execute("select public.outbox_resume(null, null, true)")
    sending.tick()

    assert statuses(db) == {"failed": 3, "sent": 3}


@pytest.mark.parametrize("back", ["2 minutes", "3 hours"])
def test_hold_ends_although_the_clock_went_back(db: Connection, back: str) -> None:
    """The probe comes no later than without the step, and its acceptance counts although its time is before the refusals."""
    insert_many(db, 10, body="wrong")
    sending = Sending(db, refusing_text("wrong"))
    sending.tick()
    later(db, f"-{back}")
    sending.tick()

    sending.answering = allow_all
    later(db, "1 minute")
    sending.tick()

    assert statuses(db) == {"failed": 3, "sent": 7}
    assert held(db) == []


def test_upkeep_makes_the_probe_due(db: Connection, other: Connection) -> None:
    """Claims of 0.1.0 know no held texts. A plan that another transaction holds keeps for the next time."""
    insert_many(db, 10, body="wrong")
    Sending(db, refusing_text("wrong")).tick()
    later(db, "1 minute")
    due = "select count(*) from public.outbox where queue = 'w' and due_at <= outbox_engine.now()"

    with other.transaction():
        other.execute("select from outbox_engine.plans for update")
        db.execute("select public.outbox_upkeep(90, 90, 100)")
        assert db.execute(due).fetchone() == (0,)
    db.execute("select public.outbox_upkeep(90, 90, 100)")

    assert db.execute(due).fetchone() == (1,)
