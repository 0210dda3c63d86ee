"""Records of the Reports API, each field as a string, as Vonage documents them."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from jobs.providers.answers import Answer
from jobs.providers.base import Batch, Inbound, ProviderError, Report
from jobs.providers.vonage import records
from jobs.providers.vonage.records import Cursor, read_each

ID = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
REFERENCE = "b6f5c1de-0000-4000-8000-000000000001"
RECORD = {
    "account_id": "abcd1234",
    "message_id": ID,
    "client_ref": REFERENCE,
    "direction": "outbound",
    "from": "14155550100",
    "to": "14155550123",
    "provider": "sms",
    "date_received": "2026-11-24T12:00:00+00:00",
    "date_finalized": "2026-11-24T12:00:05+00:00",
    "status": "delivered",
    "error_code": "",
    "total_price": "0.036",
    "id": "0123",
}
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def answered(**fields: Any) -> Answer:
    return Answer(200, {}, json.dumps({"request_status": "SUCCESS", "items_count": 0, "records": [], **fields}).encode())


def raws(*items: object) -> tuple[msgspec.Raw, ...]:
    return tuple(msgspec.Raw(json.dumps(item).encode()) for item in items)


@pytest.mark.parametrize(
    ("fields", "has_more", "following"),
    [
        ({}, False, None),
        ({"records": None}, False, None),
        ({"cursor": "c1", "iv": "i1"}, True, Cursor("c1", "i1")),
        ({"cursor": "c1"}, True, Cursor("c1", None)),
        ({"cursor": "", "iv": ""}, False, None),
        ({"_links": {"self": {"href": "x"}}}, False, None),
        ({"_links": {"next": {"href": "https://api.nexmo.com/r?cursor=c2%3D&iv=i2"}}}, True, Cursor("c2=", "i2")),
        ({"_links": {"next": {"href": "https://api.nexmo.com/r"}}}, False, None),
        ({"request_status": "TRUNCATED"}, True, None),
        ({"request_status": "TRUNCATED", "cursor": "c1"}, True, Cursor("c1", None)),
    ],
)
def test_a_page_says_where_the_next_begins(fields: dict[str, Any], has_more: bool, following: Cursor | None) -> None:
    page = records.records(answered(**fields), "records")

    assert (page.has_more, page.next) == (has_more, following)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, None),
        Answer(200, {}, b"<html>"),
        Answer(200, {}, b"{}"),
        Answer(200, {}, b"[]"),
        answered(records=None, items_count=3),
        answered(records="none"),
        Answer(204, {}, b""),
        Answer(401, {}, b""),
    ],
)
def test_unreadable_page_is_no_page(answer: Answer) -> None:
    with pytest.raises(ProviderError):
        records.records(answer, "records")


@pytest.mark.parametrize("page", [b'{"records":[%s],"cursor":"c1"}', b'{"cursor":"c1","items_count":2,"records":[%s]}'])
def test_a_record_that_is_no_json_spoils_nothing(page: bytes) -> None:
    raw = json.dumps(RECORD).encode()
    found = records.records(Answer(200, {}, page % (raw + b',{"message_id":no}')), "records")

    assert found.next == Cursor("c1", None)
    items, unusable = read_each(found.raws, records.report)
    assert ([item.batch_id for item in items], [item.raw for item in unusable]) == ([ID], [b'{"message_id":no}'])


@pytest.mark.parametrize("listed", ["x,y , z", ["x", "y", "z"]])
def test_unknown_ids_are_listed(listed: object) -> None:
    page = records.records(answered(ids_not_found=listed, records=None), "records")

    assert page.not_found == ("x", "y", "z")
    assert records.reports(page, ("w", "y")).unknown == ("y",)


@pytest.mark.parametrize("client_ref", [REFERENCE, REFERENCE.upper(), f" {REFERENCE} "])
def test_a_record_with_our_reference_is_found(client_ref: str) -> None:
    found = records.batch_of(json.dumps(RECORD | {"client_ref": client_ref, "to": None}), REFERENCE, "+14155550123")

    assert found == Batch(ID, REFERENCE, ("+14155550123",), AT)


@pytest.mark.parametrize("client_ref", [None, "", 7, "another", REFERENCE[:-1]])
def test_other_messages_to_the_number_are_not(client_ref: object) -> None:
    assert records.batch_of(json.dumps(RECORD | {"client_ref": client_ref}), REFERENCE, "+14155550123") is None


@pytest.mark.parametrize(
    ("status", "error_code", "expected"),
    [
        ("delivered", "", ("delivered", None)),
        ("submitted", None, ("dispatched", None)),
        ("rejected", "1330", ("unknown", 1330)),
        ("rejected", "1020", ("aborted", 1020)),
        ("rejected", 1240, ("rejected", 1240)),
        ("Rejected", "", ("unknown", None)),
        ("rejected", "no number", ("unknown", None)),
        ("rejected", 10**12, ("unknown", None)),
        ("undeliverable", "", ("failed", None)),
    ],
)
def test_status_and_code_decide(status: str, error_code: object, expected: tuple[str, int | None]) -> None:
    found = records.report(json.dumps(RECORD | {"status": status, "error_code": error_code}))

    assert isinstance(found, Report)
    assert (found.status, found.code) == expected
    assert (found.batch_id, found.recipient, found.reference) == (ID, "+14155550123", REFERENCE)
    assert found.at == datetime(2026, 11, 24, 12, 0, 5, tzinfo=UTC)


def test_read_says_nothing_about_a_text() -> None:
    assert records.report(json.dumps(RECORD | {"status": "read"})) is None


def test_one_unreadable_record_does_not_spoil_others() -> None:
    odd = [RECORD | {"status": "teleported"}, RECORD | {"to": "nobody"}, RECORD | {"message_id": None}, 7]
    items, unusable = read_each(raws(RECORD, *odd), records.report)

    assert [item.batch_id for item in items] == [ID]
    assert [json.loads(item.raw) for item in unusable] == odd


@pytest.mark.parametrize(("provider", "kind"), [("sms", "text"), ("mms", "media"), ("SMS", "text")])
def test_a_message_from_a_phone(provider: str, kind: str) -> None:
    record = {**RECORD, "from": "14155550123", "to": "14155550100", "message_body": "STOP", "provider": provider}

    found = records.inbound(json.dumps(record))

    assert isinstance(found, Inbound)
    assert (found.inbound_id, found.kind, found.sender, found.recipient) == (ID, kind, "+14155550123", "+14155550100")
    assert (found.body, found.received_at, found.provider) == ("STOP", AT, "vonage")


def test_messages_of_other_channels_are_left_out() -> None:
    assert records.inbound(json.dumps(RECORD | {"provider": "whatsapp"})) is None
