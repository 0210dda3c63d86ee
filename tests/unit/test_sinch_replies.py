"""Sinch's inbound messages with fields that are missing or odd: a STOP counts whatever stands beside it."""

import json

import pytest

from jobs.providers.base import Inbound, Report
from jobs.providers.sinch.callbacks import parse
from tests.unit.test_sinch_callbacks import INBOUND, REPORT


@pytest.mark.parametrize("received_at", [None, "soon", "2025-01-13T23:59:60Z", 1736760160, {"a": 1}])
def test_reply_with_an_odd_time_has_none(received_at: object) -> None:
    """The database then counts it from its arrival."""
    (item,) = parse(json.dumps(INBOUND | {"received_at": received_at}).encode())

    assert isinstance(item, Inbound)
    assert item.received_at is None


@pytest.mark.parametrize("odd", [None, "", 7.5, ["13185551234"], {"number": "13185551234"}, True, "x" * 300])
def test_reply_counts_without_a_readable_recipient(odd: object) -> None:
    """Nor does an odd value in a field that replies do not have hide one."""
    (item,) = parse(json.dumps(INBOUND | {"to": odd, "client_reference": odd, "batch_id": odd, "status": odd}).encode())

    assert isinstance(item, Inbound)
    assert (item.sender, item.recipient, item.body) == ("+16051234567", "", "STOP")


def test_numbers_may_be_json_numbers() -> None:
    (reply,) = parse(json.dumps(INBOUND | {"from": 16051234567, "to": 13185551234}).encode())
    (report,) = parse(json.dumps(REPORT | {"recipient": 16051234567}).encode())

    assert isinstance(reply, Inbound)
    assert (reply.sender, reply.recipient) == ("+16051234567", "+13185551234")
    assert isinstance(report, Report)
    assert report.recipient == "+16051234567"


def test_invisible_marks_belong_to_no_number() -> None:
    (reply,) = parse(json.dumps(INBOUND | {"from": "\u202a+1 605\u200b1234567\u202c"}).encode())

    assert isinstance(reply, Inbound)
    assert reply.sender == "+16051234567"
