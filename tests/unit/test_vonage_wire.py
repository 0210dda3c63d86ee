"""The body of a submission, as Vonage documents it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.providers.base import Submission
from jobs.providers.vonage.wire import media_type, submission_body

ANN = "+14155550123"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def body_of(submission: Submission, *, sender: str = "+14155550100", callback_url: str | None = None) -> Any:
    return json.loads(submission_body(submission, sender=sender, callback_url=callback_url, now=NOW))


def test_a_text_is_sent_as_it_is() -> None:
    submission = Submission("ref-1", None, "Your table is ready 🍝", [ANN], NOW + timedelta(hours=2))

    assert body_of(submission, callback_url="https://example.com/webhooks/vonage/status") == {
        "to": "14155550123",
        "from": "14155550100",
        "channel": "sms",
        "message_type": "text",
        "text": "Your table is ready 🍝",
        "client_ref": "ref-1",
        "ttl": 7200,
        "webhook_url": "https://example.com/webhooks/vonage/status",
        "webhook_version": "v1",
    }


def test_unset_fields_are_not_sent() -> None:
    assert body_of(Submission("r", None, "Hi", [ANN])).keys() == {
        "to",
        "from",
        "channel",
        "message_type",
        "text",
        "client_ref",
    }


@pytest.mark.parametrize(("sender", "shown"), [("+14155550101", "14155550101"), ("Pizzeria", "Pizzeria"), ("12345", "12345")])
def test_a_row_may_name_its_own_sender(sender: str, shown: str) -> None:
    assert body_of(Submission("r", sender, "Hi", [ANN]))["from"] == shown


def test_options_of_a_sender_are_sent() -> None:
    options = {"entity_id": "1101", "content_id": "1107", "pool_id": "p"}

    assert body_of(Submission("r", "Acme", "Hi", [ANN], options=options))["sms"] == {"entity_id": "1101", "content_id": "1107"}
    assert "sms" not in body_of(Submission("r", None, "Hi", [ANN], media_url="https://example.com/a.png", options=options))


def test_an_image_is_sent_with_its_caption() -> None:
    body = body_of(Submission("r", None, "Today's menu", [ANN], media_url="https://example.com/menu.PNG?size=2"))

    assert (body["channel"], body["message_type"]) == ("mms", "image")
    assert body["image"] == {"url": "https://example.com/menu.PNG?size=2", "caption": "Today's menu"}
    assert "text" not in body


def test_no_empty_caption_is_sent() -> None:
    body = body_of(Submission("r", None, "", [ANN], media_url="https://example.com/card.vcf"))

    assert body["vcard"] == {"url": "https://example.com/card.vcf"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image"),
        ("a.b.jpeg", "image"),
        ("a.gif", "image"),
        ("a.bmp", "image"),
        ("a.mp3", "audio"),
        ("a.ac3", "audio"),
        ("a.mp4", "video"),
        ("a.3gp", "video"),
        ("a.vcf", "vcard"),
        ("a.pdf", "file"),
        ("png", "file"),
        ("folder.png/a", "file"),
        ("", "file"),
        ("a?name=b.png", "file"),
        ("a.png#b.mp4", "image"),
    ],
)
def test_ending_of_a_file_decides_its_type(name: str, kind: str) -> None:
    assert media_type(f"https://example.com/{name}") == kind


@pytest.mark.parametrize(
    ("media_url", "seconds", "ttl"),
    [
        (None, -5, 20),
        (None, 19.9, 20),
        (None, 90.9, 90),
        (None, 700_000, 604_800),
        ("https://example.com/a.png", 60, 300),
        ("https://example.com/a.png", 600, 600),
        ("https://example.com/a.png", 700_000, 259_200),
    ],
)
def test_ttl_stays_within_what_vonage_takes(media_url: str | None, seconds: float, ttl: int) -> None:
    submission = Submission("r", None, "Hi", [ANN], NOW + timedelta(seconds=seconds), media_url=media_url)

    assert body_of(submission)["ttl"] == ttl
