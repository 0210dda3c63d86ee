"""Callbacks as Sinch documents them, and deviations from that."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.providers.base import CallbackItem, Inbound, Report, Summary, Unusable
from jobs.providers.sinch.callbacks import STATUSES, parse

REPORT = {
    "type": "recipient_delivery_report_sms",
    "at": "2025-01-13T09:22:40.914Z",
    "batch_id": "01JHFFHQ0P99JPPNQPJDV7JTBP",
    "client_reference": "a client reference",
    "code": 0,
    "operator_status_at": "2025-01-13T09:22Z",
    "recipient": "33662162466",
    "status": "Delivered",
}
FULL: dict[str, Any] = {
    "type": "delivery_report_sms",
    "batch_id": "01FC66621XXXXX119Z8PMV1QPQ",
    "client_reference": "ref",
    "total_message_count": "3",
    "statuses": [
        {"code": 0, "status": "Delivered", "count": 2, "recipients": ["44231235674", "44231235675"]},
        {"code": "402", "status": "Aborted", "count": 1, "recipients": ["44231235676"]},
    ],
}
INBOUND = {
    "type": "mo_text",
    "id": "01XXXXX21XXXXX119Z8P1XXXXX",
    "from": "16051234567",
    "to": "13185551234",
    "body": "STOP",
    "received_at": "2024-01-01T10:00:00.000Z",
    "operator_id": "310260",
}
AT = datetime(2025, 1, 13, 9, 22, 40, 914000, tzinfo=UTC)


def read(callback: object) -> list[CallbackItem]:
    return parse(json.dumps(callback).encode())


def one(callback: object) -> CallbackItem:
    (item,) = read(callback)
    return item


@pytest.mark.parametrize("kind", ["recipient_delivery_report_sms", "recipient_delivery_report_mms"])
def test_a_report_on_one_recipient(kind: str) -> None:
    raw = json.dumps(REPORT | {"type": kind})

    assert parse(raw.encode()) == [
        Report(
            batch_id="01JHFFHQ0P99JPPNQPJDV7JTBP",
            recipient="+33662162466",
            status="delivered",
            code=0,
            at=AT,
            reference="a client reference",
            raw=raw,
        )
    ]


@pytest.mark.parametrize(
    ("word", "status"),
    [*STATUSES.items(), ("Queued", "sent"), ("DISPATCHED", "dispatched"), ("Cancelled", "cancelled"), ("Unknown", "unknown")],
)
def test_every_status_has_a_word_of_ours(word: str, status: str) -> None:
    report = one(REPORT | {"status": word})

    assert isinstance(report, Report)
    assert report.status == status


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("code", "401", "code", 401),
        ("code", 7001, "code", 7001),  # a code that a later version may add
        ("code", None, "code", None),
        ("client_reference", None, "reference", None),
        ("number_of_message_parts", {"tomorrow": "another shape"}, "status", "delivered"),
    ],
)
def test_details_may_differ(field: str, value: object, attribute: str, expected: object) -> None:
    assert getattr(one(REPORT | {field: value}), attribute) == expected


@pytest.mark.parametrize("kind", ["delivery_report_sms", "delivery_report_mms"])
def test_a_full_report_is_one_report_a_recipient(kind: str) -> None:
    reports = read(FULL | {"type": kind})

    assert [(r.recipient, r.status, r.code, r.at, r.reference) for r in reports if isinstance(r, Report)] == [
        ("+44231235674", "delivered", 0, None, "ref"),
        ("+44231235675", "delivered", 0, None, "ref"),
        ("+44231235676", "aborted", 402, None, "ref"),
    ]
    assert len(reports) == 3


def test_raw_part_of_full_report_reads_back_equal() -> None:
    for report in read(FULL):
        assert isinstance(report, Report)
        assert parse(report.raw.encode()) == [report]


@pytest.mark.parametrize("recipient", ["?", 7, None, {"msisdn": "44231235675"}])
def test_bad_number_in_full_report_spares_the_others(recipient: object) -> None:
    callback = FULL | {"statuses": [{"code": 0, "status": "Delivered", "recipients": ["44231235674", recipient]}]}

    assert [type(item) for item in read(callback)] == [Report, Unusable]


@pytest.mark.parametrize("line", ["Delivered", {"status": ["Delivered"]}, {"status": "Delivered", "recipients": "44231235674"}])
def test_bad_line_in_full_report_spares_the_others(line: object) -> None:
    items = read(FULL | {"statuses": [line, *FULL["statuses"]]})

    assert [type(item) for item in items] == [Unusable, Report, Report, Report, Summary]
    assert isinstance(items[0], Unusable)
    assert json.loads(items[0].raw)["statuses"] == [line]


def test_a_report_without_recipients_is_a_summary() -> None:
    callback = FULL | {"statuses": [{"code": 0, "status": "Delivered", "count": 3}]}

    assert one(callback) == Summary(batch_id="01FC66621XXXXX119Z8PMV1QPQ", reference="ref", raw=json.dumps(callback))


def test_partly_named_report_gives_reports_and_summary() -> None:
    callback = FULL | {"statuses": [*FULL["statuses"], {"code": 401, "status": "Dispatched", "count": 7}]}

    assert [type(item) for item in read(callback)] == [Report, Report, Report, Summary]


@pytest.mark.parametrize(
    ("changes", "kind", "body"),
    [
        ({}, "text", "STOP"),
        ({"body": ""}, "text", ""),
        ({"type": "mo_binary", "body": "AAEC", "udh": "10010203040506070809000a0b0c0d0e0f"}, "binary", None),
        (
            {"type": "mo_media", "body": {"subject": "Hi", "message": "STOP", "media": [{"status": "Uploaded"}]}},
            "media",
            "STOP",
        ),
        ({"type": "mo_media", "body": {"subject": "STOP", "media": []}}, "media", "STOP"),
        ({"type": "mo_media", "body": {"media": []}}, "media", None),
    ],
)
def test_a_message_from_a_phone(changes: dict[str, object], kind: str, body: str | None) -> None:
    callback = INBOUND | changes

    assert one(callback) == Inbound(
        inbound_id="01XXXXX21XXXXX119Z8P1XXXXX",
        kind=kind,
        sender="+16051234567",
        recipient="+13185551234",
        body=body,
        received_at=datetime(2024, 1, 1, 10, tzinfo=UTC),
        reference=None,
        raw=json.dumps(callback),
        provider="sinch",
    )


@pytest.mark.parametrize(
    "callback",
    [
        [REPORT],
        {"type": "delivery_report_of_tomorrow"},
        {"type": ["recipient_delivery_report_sms"]},
        REPORT | {"type": None},
        REPORT | {"status": None},
        REPORT | {"code": "none"},
        REPORT | {"code": 0.5},
        FULL | {"batch_id": None},
        FULL | {"statuses": {"code": 0}},
        INBOUND | {"body": {"no": "text"}},
        INBOUND | {"type": "mo_media", "body": 7},
    ],
)
def test_unusable_callbacks_are_kept_byte_for_byte(callback: object) -> None:
    raw = json.dumps(callback).encode()
    (item,) = parse(raw)

    assert isinstance(item, Unusable)
    assert item.raw == raw
    assert item.why


def test_long_reference_is_not_copied_for_each_recipient() -> None:
    numbers = [str(14155550000 + n) for n in range(10_000)]
    line = {"code": "0", "status": "Delivered", "recipients": numbers}
    items = read(FULL | {"client_reference": "r" * 65536, "statuses": [line]})

    assert [item.recipient for item in items if isinstance(item, Report)] == [f"+{number}" for number in numbers]
    assert {item.reference for item in items if isinstance(item, Report)} == {"r" * 255}
    assert sum(len(item.raw) for item in items) < 10_000 * 500


@pytest.mark.parametrize("field", ["status", "code"])
def test_unreadable_line_is_kept_once(field: str) -> None:
    line = {"code": 0, "status": "Delivered", "recipients": ["44231235674"] * 100} | {field: "9" * 65536}
    (item,) = read(FULL | {"statuses": [line]})

    assert isinstance(item, Unusable)
    assert json.loads(item.raw)["statuses"] == [line]


@pytest.mark.parametrize(
    "statuses",
    [
        [{"code": 0, "status": "Delivered", "recipients": [1] * 30_000}],
        [7] * 30_000,
        [{"code": 0, "status": "Delivered", "recipients": ["44231235674"] * 100}] * 300,
    ],
    ids=["recipients", "bad lines", "lines"],
)
def test_report_beyond_any_batch_is_kept_whole(statuses: list[object]) -> None:
    callback = FULL | {"statuses": statuses}
    kept, summary = read(callback)

    assert isinstance(kept, Unusable)
    assert kept.raw == json.dumps(callback).encode()
    assert isinstance(summary, Summary)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(field=st.sampled_from(sorted(FULL)), value=JSON)
def test_full_report_with_any_value_yields_items(field: str, value: object) -> None:
    """Each item is read or kept as unusable."""
    assert read(FULL | {field: value})
