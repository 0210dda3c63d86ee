"""Callbacks that only Vonage has: rejections with a code, files, the older form, several in one body."""

import json
from typing import Any

import pytest

from jobs.providers.base import CallbackItem, Inbound, Report, Unusable
from jobs.providers.vonage.callbacks import MOST_ITEMS, parse
from tests.unit.callback_samples import VONAGE

NUMBER = {"type": "sms", "number": "14155550100"}
OURS = {"type": "sms", "number": "14155550199"}
OLDER: dict[str, Any] = {"message_uuid": "older-1", "timestamp": "2026-11-24T12:00:00.000Z"}


def read(callback: object) -> list[CallbackItem]:
    return parse(json.dumps(callback).encode())


def report(**changes: object) -> Report:
    (item,) = read(VONAGE.report(**changes))
    assert isinstance(item, Report)
    return item


def reply(callback: object) -> Inbound:
    (item,) = read(callback)
    assert isinstance(item, Inbound)
    return item


@pytest.mark.parametrize(
    ("word", "status"),
    [("submitted", "dispatched"), ("delivered", "delivered"), ("undeliverable", "failed"), (" Delivered ", "delivered")],
)
def test_every_status_has_a_word_of_ours(word: str, status: str) -> None:
    assert report(status=word).status == status


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ({"title": "1000", "type": "https://developer.vonage.com/api-errors/messages#1000"}, "aborted", 1000),
        ({"title": 1240}, "rejected", 1240),
        ({"title": " 1360 "}, "expired", 1360),
        ({"title": "1300"}, "failed", 1300),
        ({"title": "1330"}, "unknown", 1330),
        ({"title": "7001"}, "unknown", 7001),  # a code that a later version may add
        ({"title": "Throttled", "code": 1000}, "aborted", 1000),
        ({"code": 1240, "reason": "Illegal Number"}, "rejected", 1240),  # v0.1
        # A code that stands elsewhere is none: an error of another kind may point to any number.
        ({"title": "Invalid", "type": "https://developer.vonage.com/api-errors#1000", "detail": "1000"}, "unknown", None),
        *(
            (odd, "unknown", None)
            for odd in (None, "1000", ["1000"], {}, {"title": True}, {"title": "-1"}, {"title": "9" * 10})
        ),
        *(
            (odd, "unknown", None)
            for odd in ({"title": 1e3}, {"title": 10**30}, {"title": {"code": 1000}}, {"title": "１０００"})
        ),
    ],
)
def test_code_says_what_a_rejection_means(error: object, status: str, code: int | None) -> None:
    read = report(status="rejected", error=error)

    assert (read.status, read.code) == (status, code)


def test_code_beside_another_status_is_kept() -> None:
    """1220 beside `submitted`: the network tries again."""
    read = report(status="submitted", error={"title": "1220"})

    assert (read.status, read.code) == ("dispatched", 1220)


@pytest.mark.parametrize("word", ["read", "buffered"])
def test_status_that_says_nothing_is_passed_over(word: str) -> None:
    assert read(VONAGE.report(status=word)) == []


def test_space_before_an_offset_does_no_harm() -> None:
    assert report(timestamp="2026-11-24 12:00:00 +0000").at == report().at


@pytest.mark.parametrize("word", ["submitted", "delivered", "rejected"])
def test_text_in_a_status_is_no_reply(word: str) -> None:
    """It would be ours."""
    assert report(status=word, text="STOP", message_type="text").recipient == "+14155550100"


@pytest.mark.parametrize(
    ("changes", "kind", "body"),
    [
        ({"text": ""}, "text", ""),
        ({"text": 4711}, "text", "4711"),
        ({"text": ["STOP"]}, "text", None),
        ({"message_type": "image", "image": {"url": "https://example.org/1.jpg", "caption": "STOP"}}, "image", "STOP"),
        ({"message_type": "image", "image": {"url": "https://example.org/1.jpg", "name": "1.jpg"}}, "image", None),
        ({"message_type": "vcard", "vcard": {"url": "https://example.org/1.vcf"}}, "vcard", None),
        ({"message_type": "file", "file": "no object"}, "file", None),
        ({"image": {"url": "https://example.org/1.jpg", "caption": "STOP"}}, "text", "STOP"),
        ({"audio": {"url": "https://example.org/1.mp3"}}, "media", None),
        ({"message_type": "sticker"}, "sticker", None),
        ({"message_type": ["image"], "image": {"caption": "STOP"}}, "text", "STOP"),
        ({"content": [{"type": "image", "caption": "STOP"}, 7, {"type": "file", "caption": "STOP"}]}, "image", "STOP"),
        ({"content": [{"type": "image", "caption": "one"}, {"type": "image", "caption": "two"}]}, "image", "one\ntwo"),
        ({"message_type": "text", "text": "STOP", "content": [{"type": "image", "caption": "my cat"}]}, "text", "STOP"),
        (
            {"content": [{"type": "text", "text": "STOP"}, {"type": "image", "url": "https://example.org/1.jpg"}]},
            "text",
            "STOP",
        ),
        ({"content": {"type": "image", "caption": "STOP"}}, "image", "STOP"),
    ],
)
def test_a_message_from_a_phone(changes: dict[str, object], kind: str, body: str | None) -> None:
    bare = {name: value for name, value in VONAGE.inbound().items() if name not in ("text", "message_type")}

    said = reply(bare | {"channel": "mms"} | changes if "text" not in changes else VONAGE.inbound(**changes))

    assert (said.kind, said.body, said.sender, said.recipient) == (kind, body, "+14155550100", "+14155550199")


def test_older_form_is_read_too() -> None:
    (status,) = read(OLDER | {"to": NUMBER, "from": OURS, "status": "rejected", "error": {"code": 1300, "reason": "no user"}})
    assert isinstance(status, Report)
    assert (status.batch_id, status.recipient, status.status, status.code) == ("older-1", "+14155550100", "failed", 1300)

    said = OLDER | {"to": OURS, "from": NUMBER, "direction": "inbound"}
    text = reply(said | {"message": {"content": {"type": "text", "text": "STOP"}}})
    assert (text.sender, text.recipient, text.kind, text.body) == ("+14155550100", "+14155550199", "text", "STOP")
    image = reply(
        said | {"message": {"content": {"type": "image", "image": {"url": "https://example.org/1", "caption": "STOP"}}}}
    )
    assert (image.kind, image.body) == ("image", "STOP")


def test_several_callbacks_are_read_one_by_one() -> None:
    items = read([VONAGE.report(), {"status": "Teleported"}, VONAGE.inbound(), 7])

    assert [type(item) for item in items] == [Report, Unusable, Inbound, Unusable]
    assert [json.loads(item.raw) for item in items] == [VONAGE.report(), {"status": "Teleported"}, VONAGE.inbound(), 7]


def test_array_of_too_many_is_kept_whole() -> None:
    raw = json.dumps([0] * (MOST_ITEMS + 1)).encode()
    (item,) = parse(raw)

    assert isinstance(item, Unusable)
    assert item.raw == raw


def test_callback_of_neither_kind_is_kept() -> None:
    (item,) = read({"message_uuid": "x", "to": "14155550100", "from": "14155550199", "timestamp": None})

    assert isinstance(item, Unusable)
    assert item.why == "neither a status nor a message"
