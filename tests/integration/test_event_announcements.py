"""What the history of messages announces, and what the events say."""

import json
from collections.abc import Callable
from itertools import count, pairwise

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import accept, cancel, claim_all, expire, find_nothing, mark_ambiguous, refuse, report, suppress
from tests.engine import column, insert, later, number, stand_still
from tests.nightly import examples
from tests.outgoing import add, call, cancelled, deliveries, said, sent, told
from tests.stack import Connection


def retry(db: Connection, row: int) -> None:
    db.execute("select public.outbox_retry(array[%s::bigint], true, null, false)", [row])


def run_out(db: Connection, row: int) -> None:
    expire(db, row)
    call(db, "run_upkeep", "{}", 100)


def opt_out_and_in(db: Connection, row: int) -> None:
    suppress(db, row)
    db.execute("delete from public.outbox_suppressions")


def lose(db: Connection) -> None:
    for dispatch in claim_all(db):
        mark_ambiguous(db, dispatch)
    later(db, "1 minute")
    find_nothing(db)


FAILURES = ["failed", "rejected", "aborted", "expired", "deleted", "unknown"]


@pytest.mark.parametrize("status", ["delivered", *FAILURES])
def test_each_final_report_is_told_once(db: Connection, status: str) -> None:
    add(db)
    sent(db)
    assert said(db) == []

    report(db, "B1", number(0), "dispatched", at="2026-11-23T12:00:00Z")
    assert said(db) == []
    report(db, "B1", number(0), status, 402, at="2026-11-23T12:00:01Z")
    report(db, "B1", number(0), status, 402, at="2026-11-23T12:00:00Z")

    kind = "message.delivered" if status == "delivered" else "message.failed"
    assert said(db) == [(kind, status)]
    # Another report that changes nothing, after the event.
    report(db, "B1", number(0), status, 401, at="2026-11-23T12:00:02Z")
    assert said(db) == []


def test_ends_without_a_report_are_told(db: Connection) -> None:
    add(db)
    ends: dict[str, Callable[[int], None]] = {
        "message.cancelled": lambda row: cancel(db, row),
        "message.failed": lambda row: run_out(db, row),
        "message.suppressed": lambda row: suppress(db, row),
    }
    for n, (kind, end) in enumerate(ends.items()):
        (row,) = insert(db, first=n)
        end(row)
        assert [one for one, _ in told(db)] == [kind]
    insert(db, first=10)
    (dispatch,) = claim_all(db)
    refuse(db, dispatch, error="HTTP 400 no +12025550110 here")
    ((kind, data),) = told(db)
    assert (kind, data["status"]) == ("message.failed", "failed")
    assert "2025550110" not in json.dumps(data)


def test_report_that_may_not_send_again_is_told(db: Connection) -> None:
    """The report says aborted, and the message is what it became: no other row says so."""
    add(db)
    for n, (becomes, hindrance) in enumerate({"expired": "expires_at", "cancelled": "cancel_requested_at"}.items()):
        row = sent(db, f"B{n}", first=n)
        db.execute(f"update public.outbox set {hindrance} = outbox_engine.now() where id = %s".encode(), [row])
        report(db, f"B{n}", number(n), "aborted", 404)
        kind = "message.failed" if becomes == "expired" else "message.cancelled"
        assert said(db) == [(kind, becomes)]


def test_retry_that_a_late_report_ends_is_told(db: Connection) -> None:
    add(db)
    sent(db)
    db.execute("update outbox_engine.report_codes set effect = 'retry_unless_dispatched' where code = 404")
    report(db, "B1", number(0), "aborted", 404)
    assert said(db) == []

    report(db, "B1", number(0), "dispatched")

    assert said(db) == [("message.failed", "aborted")]


def test_correction_tells_both_or_the_last(db: Connection) -> None:
    add(db)
    sent(db, "B1")
    report(db, "B1", number(0), "failed", 1)
    assert said(db) == [("message.failed", "failed")]
    report(db, "B1", number(0), "delivered")
    assert said(db) == [("message.delivered", "delivered")]

    sent(db, "B2", first=1)
    report(db, "B2", number(1), "failed", 1)
    report(db, "B2", number(1), "delivered")
    assert said(db) == [("message.delivered", "delivered")]


@pytest.mark.parametrize("seen_between", [True, False])
def test_message_that_fails_again_is_told_again(db: Connection, seen_between: bool) -> None:
    add(db)
    row = sent(db, "B1")
    report(db, "B1", number(0), "failed", 1)
    first = said(db) if seen_between else []
    retry(db, row)
    (dispatch,) = claim_all(db)
    accept(db, dispatch, "B2")
    report(db, "B2", number(0), "failed", 1)

    assert first + said(db) == [("message.failed", "failed")] * 2


def test_types_choose_and_sent_is_on_request(db: Connection) -> None:
    add(db, "all")
    add(db, "sent", p_event_types=["message.sent", "message.cancelled"])
    sent(db)
    (event,) = deliveries(db)
    assert (event["endpoint"], event["type"]) == ("sent", "message.sent")
    report(db, "B1", number(0), "delivered")
    cancelled(db, first=1)

    found = [(one["endpoint"], one["type"], one["event_id"]) for one in deliveries(db)]

    assert [one[:2] for one in found] == [
        ("all", "message.delivered"),
        *[(name, "message.cancelled") for name in ("all", "sent")],
    ]
    # The same event has the same id at each endpoint.
    assert len({one[2] for one in found}) == 2


def test_event_has_no_text_and_masks_the_number(db: Connection) -> None:
    stand_still(db)
    add(db, "masked")
    add(db, "whole", p_include_recipient=True)
    row = sent(db, body="a text to keep", idempotency_key="order-7", metadata=json.dumps({"order": 7}))
    report(db, "B1", number(0), "delivered", at="2026-11-23T12:00:00.250Z")

    masked, whole = (json.loads(one["payload"]) for one in deliveries(db))

    assert list(masked) == ["type", "timestamp", "data"]
    assert (masked["type"], masked["timestamp"]) == ("message.delivered", "2026-11-23T12:00:00.250Z")
    assert masked["data"] == {
        "id": row, "idempotency_key": "order-7", "metadata": {"order": 7}, "metadata_omitted": False,
        "campaign": None, "attempt": 1, "status": "delivered", "status_code": 0, "error": None, "batch_id": "B1",
        "recipient": "+1200•••0100", "channel": "sms", "provider": "sinch",
    }  # fmt: skip
    assert whole["data"] == {**masked["data"], "recipient": "+12005550100"}


def test_secret_message_tells_its_status_only(db: Connection) -> None:
    add(db, p_include_recipient=True)
    row = sent(db, secret=True, idempotency_key="code", metadata=json.dumps({"user": 7}))
    report(db, "B1", number(0), "failed", 1)

    assert told(db) == [("message.failed", {"id": row, "kind": "secret", "status": "failed"})]


def test_large_metadata_is_left_out(db: Connection) -> None:
    add(db)
    row = cancelled(db, metadata=json.dumps({"note": "é" * 10000}))

    (event,) = deliveries(db)

    data = json.loads(event["payload"])["data"]
    assert (data["id"], data["metadata"], data["metadata_omitted"]) == (row, None, True)
    assert len(event["payload"].encode()) < 20000


def test_endpoint_begins_with_what_happens_from_now_on(db: Connection) -> None:
    cancelled(db)
    add(db)
    first = cancelled(db, first=1)
    add(db, "later")
    second = cancelled(db, first=2)

    found = [(one["endpoint"], json.loads(one["payload"])["data"]["id"]) for one in deliveries(db)]
    assert found == [("app", first), ("app", second), ("later", second)]
    # While none is enabled, nobody follows; what happened then is not sent.
    for name in ("app", "later"):
        call(db, "set_event_endpoint", name, p_enabled=False)
    cancelled(db, first=3)
    assert call(db, "claim_events", "w", 8, 60, False)["endpoints"] == 0
    call(db, "set_event_endpoint", "later", p_enabled=True)
    third = cancelled(db, first=4)
    assert [data["id"] for _, data in told(db)] == [third]


STEPS = st.one_of(
    st.sampled_from(["send", "send", "follow", "cancel", "expire", "retry", "suppress", "lose", "refuse", "wait"]),
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["dispatched", "unknown", "expired", "aborted", "rejected", "failed", "delivered"]),
        st.sampled_from([0, 402, 404]),
    ),
)


@examples(30)
@given(steps=st.lists(STEPS, min_size=3, max_size=14))
def test_last_event_of_any_history_is_the_end(db: Connection, steps: list[object]) -> None:
    db.execute("truncate public.outbox, outbox_engine.dispatches, public.outbox_suppressions, outbox_engine.consents")
    db.execute("truncate outbox_engine.plan_pauses, outbox_engine.refused_contents, outbox_engine.plan_requests")
    db.execute("truncate public.outbox_event_endpoints")
    add(db)
    stand_still(db)
    (row,) = insert(db)
    batches: list[str] = []
    names = (f"{row}-{n}" for n in count())
    heard: list[tuple[str, str | None]] = []

    def send() -> None:
        for dispatch in claim_all(db):
            batches.append(next(names))
            accept(db, dispatch, batches[-1])

    acts: dict[object, Callable[[], object]] = {
        "send": send,
        "follow": lambda: heard.extend(said(db)),
        "cancel": lambda: cancel(db, row),
        "expire": lambda: run_out(db, row),
        "retry": lambda: retry(db, row),
        "suppress": lambda: opt_out_and_in(db, row),
        "lose": lambda: lose(db),
        "refuse": lambda: [refuse(db, one) for one in claim_all(db)],
        "wait": lambda: later(db, "30 minutes"),
    }
    for step in steps:
        if not isinstance(step, tuple):
            acts[step]()
        elif step[0] < len(batches):
            report(db, batches[step[0]], number(0), step[1], step[2])
    heard += said(db)

    status = column(db, "status", row)
    if column(db, "finalized_at", row):
        assert heard[-1][1] == status
    # The same again only where it went on in between, which its history shows.
    again = sum(one == next_one for one, next_one in pairwise(heard))
    went_on = "event <> 'report' and status in ('scheduled', 'pending', 'sending', 'sent', 'dispatched')"
    (goings,) = db.execute(f"select count(*) from public.outbox_events where {went_on}".encode()).fetchone() or (0,)
    assert again <= int(str(goings))


def test_replies_and_opt_outs_are_told_without_text(db: Connection) -> None:
    add(db)
    add(db, "whole", p_include_recipient=True)
    for n, text in enumerate(["STOP", "what is this?", "START"]):
        db.execute(
            "select public.outbox_record_inbounds('webhook', array['sinch'], array[%s], array['sms'], array['+12025550177'],"
            " array['+12025550100'], array[%s], array[%s], array[''], array['{}'])",
            [f"in-{n}", text, f"2026-11-23T12:00:0{n}Z"],
        )
    # An import of old opt-outs is no news, and neither is an operator's decision.
    call(db, "import_suppressions", ["+12025550178"], ["x"], ["reply"])
    db.execute("insert into public.outbox_suppressions (recipient) values ('+12025550179')")

    found = [(one["endpoint"], one["type"], one["payload"]) for one in deliveries(db)]

    assert [kind for name, kind, _ in found if name == "app"] == [
        "reply.received",
        "recipient.opted_out",
        "reply.received",
        "reply.received",
        "recipient.opted_in",
    ]
    assert not any("2025550177" in payload or "what is" in payload for name, _, payload in found if name == "app")
    assert all("+12025550177" in payload for name, _, payload in found if name == "whole")
    replies = [json.loads(payload)["data"] for name, kind, payload in found if (name, kind) == ("app", "reply.received")]
    assert replies[0] == {"id": "in-0", "effect": "stop", "unclear": False, "recipient": "+1202•••0177"}


def test_pauses_and_alarms_are_told(db: Connection) -> None:
    add(db)
    call(db, "pause", "sinch", "p", None, 3600, "for +12025550123")
    call(db, "resume", "sinch", "p", False)
    db.execute("select outbox_engine.pause_plan('sinch', 'p', 'throttled', '', 'HTTP 429')")
    detail = {"words": "call 12025550123", "ids": [12025550123], "n": {"to": "+12025550123"}}
    db.execute("select outbox_engine.alarm('x.y', %s)", [json.dumps(detail)])

    found = told(db)

    assert [kind for kind, _ in found] == ["plan.paused", "plan.resumed", "alarm.raised"]
    assert (found[0][1]["kind"], found[0][1]["reason"]) == ("operator", "for •••")
    assert found[2][1]["detail"] == {"words": "call •••", "ids": [12025550123], "n": {"to": "•••"}}


def test_nothing_is_noted_without_an_endpoint(db: Connection) -> None:
    add(db)
    call(db, "set_event_endpoint", "app", p_enabled=False)
    db.execute("select outbox_engine.alarm('x.y', '{}')")

    assert db.execute("select from outbox_engine.notices").fetchone() is None
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="disabled"):
        call(db, "test_event", "app")
