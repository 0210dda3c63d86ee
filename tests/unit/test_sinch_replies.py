"""Sinch's inbound messages with fields that are missing or odd: a STOP counts whatever stands beside it."""

import json

import pytest

from jobs.providers.base import Inbound
from jobs.providers.sinch.callbacks import parse
from tests.unit.test_sinch_callbacks import INBOUND


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
