"""Sinch's inbound messages with fields that are missing or odd: a STOP counts whatever stands beside it."""

import json

import pytest

from jobs.providers.base import Inbound, Report
from jobs.providers.sinch.callbacks import parse
from tests.unit.test_sinch_callbacks import FULL, INBOUND, REPORT


@pytest.mark.parametrize("received_at", [None, "soon", "2025-01-13T23:59:60Z", 1736760160, {"a": 1}])
def test_reply_with_an_odd_time_has_none(received_at: object) -> None:
    """The database then counts it from its arrival."""
    (item,) = parse(json.dumps(INBOUND | {"received_at": received_at}).encode())

    assert isinstance(item, Inbound)
    assert item.received_at is None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 7},
        {"from": 1.6051234567e10},
        {"statuses": 5},
        {"statuses": {"a": 1}, "code": [], "at": 7, "recipient": {}},
        {"type": "mo_media", "body": "STOP"},
        {"type": "mo_media", "body": {"message": "STOP", "subject": 7}},
        {"type": "mo_media", "body": {"message": " ", "subject": "STOP"}},
        {"body": {"message": "STOP"}},
    ],
)
def test_no_odd_field_hides_a_stop(changes: dict[str, object]) -> None:
    (item,) = parse(json.dumps(INBOUND | changes).encode())

    assert isinstance(item, Inbound)
    assert (item.sender, item.body) == ("+16051234567", "STOP")
    assert item.inbound_id == str(changes.get("id", INBOUND["id"]))


@pytest.mark.parametrize("missing", [None, ""])
def test_reply_without_an_id_counts_once(missing: object) -> None:
    """A repetition has the same bytes, and so the same id."""
    first, again, other = (
        item
        for body in ("STOP", "STOP", "START")
        for item in parse(json.dumps(INBOUND | {"id": missing, "body": body}).encode())
    )

    assert isinstance(first, Inbound)
    assert isinstance(other, Inbound)
    assert first == again
    assert len({first.inbound_id, other.inbound_id}) == 2


@pytest.mark.parametrize("odd", [None, "", 7.5, ["13185551234"], {"number": "13185551234"}, True, "x" * 300])
def test_reply_counts_without_a_readable_recipient(odd: object) -> None:
    """Nor does an odd value in a field that replies do not have hide one."""
    (item,) = parse(json.dumps(INBOUND | {"to": odd, "client_reference": odd, "batch_id": odd, "status": odd}).encode())

    assert isinstance(item, Inbound)
    assert (item.sender, item.recipient, item.body) == ("+16051234567", "", "STOP")


def test_numbers_may_be_json_numbers() -> None:
    (reply,) = parse(json.dumps(INBOUND | {"from": 16051234567, "to": 13185551234}).encode())
    (report,) = parse(json.dumps(REPORT | {"recipient": 16051234567}).encode())
    line = {"code": 0, "status": "Delivered", "recipients": [16051234567]}
    (full,) = parse(json.dumps(FULL | {"statuses": [line]}).encode())

    assert isinstance(reply, Inbound)
    assert (reply.sender, reply.recipient) == ("+16051234567", "+13185551234")
    for item in (report, full):
        assert isinstance(item, Report)
        assert item.recipient == "+16051234567"


def test_invisible_marks_belong_to_no_number() -> None:
    (reply,) = parse(json.dumps(INBOUND | {"from": "\u202a+1 605\u200b1234567\u202c"}).encode())

    assert isinstance(reply, Inbound)
    assert reply.sender == "+16051234567"
