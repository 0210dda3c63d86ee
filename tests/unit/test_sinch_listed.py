"""Batches in Sinch's list: the texts that their recipients got."""

import json
from typing import Any

import pytest

from jobs.providers.base import Submission
from jobs.providers.sinch import listed
from jobs.providers.sinch.wire import submission_body

NUMBERS = ("+12025550100", "+12025550101")


def item(**fields: Any) -> bytes:
    return json.dumps(
        {"id": "b", "created_at": "2027-01-15T09:00:00Z", "to": ["12025550100", "12025550101"], **fields}
    ).encode()


def test_caption_is_the_text_of_an_mms() -> None:
    caption = "Only $5 ${today}"
    mms = Submission("r", None, caption, NUMBERS, media_url="https://example.com/a.jpg")
    sent = json.loads(submission_body(mms, sender=None, callback_url=None, reports=True))

    assert listed.batch(item(body=sent["body"], parameters=sent["parameters"])).texts == (caption, caption)
    assert listed.batch(item(body={"url": "https://example.com/a.jpg"})).texts == (None, None)


@pytest.mark.parametrize("text", ["plain", "Cost: ${amount} or $5 {no} ${}", "$${p0}", "{{0}}"])
def test_sent_texts_come_back_as_typed(text: str) -> None:
    values = {"0": {NUMBERS[0]: "Ada ${p0}", NUMBERS[1]: "Bo"}}
    plain = json.loads(submission_body(Submission("r", None, text, NUMBERS), sender=None, callback_url=None, reports=True))
    typed = json.loads(
        submission_body(
            Submission("r", None, "Hi {{0}}, $", NUMBERS, parameters=values), sender=None, callback_url=None, reports=True
        )
    )

    assert listed.batch(item(**{k: plain[k] for k in ("body", "parameters") if k in plain})).texts == (text, text)
    assert listed.batch(item(body=typed["body"], parameters=typed["parameters"])).texts == ("Hi Ada ${p0}, $", "Hi Bo, $")


def test_unknown_text_is_none_for_its_recipient() -> None:
    batch = listed.batch(item(body="Hi ${name}", parameters={"name": {"12025550100": "Ada"}}))

    assert batch.texts == ("Hi Ada", None)


@pytest.mark.parametrize(
    ("to", "recipients"),
    [
        (["12025550100", "group-id"], (NUMBERS[0], "")),
        (["group-id", 7, "12025550101"], (NUMBERS[1], "", "")),
        ([], ("",)),
        (None, ("",)),
        ("12025550100", ("",)),
        (["12025550100", "+1 202 555 0100"], (NUMBERS[0], "")),
    ],
)
def test_unreadable_recipients_are_empty(to: Any, recipients: tuple[str, ...]) -> None:
    found = listed.batch(item(to=to, body="x ${d}{}", parameters={"d": {"default": "$"}}))

    assert (found.recipients, set(found.texts)) == (recipients, {"x ${}"})
    assert listed.reference(item(to=to, client_reference="r")).reference == "r"


def test_unreadable_recipient_may_have_any_value() -> None:
    values = {"name": {"12025550100": "Ada", "default": "you"}}

    assert listed.batch(item(to=["12025550100", "?"], body="Hi ${name}", parameters=values)).texts == ("Hi Ada", None)


@pytest.mark.parametrize(
    "odd", [{"client_reference": 7}, {"client_reference": "order 7", "created_at": "soon"}, {"created_at": None}]
)
def test_odd_batch_of_another_application_is_read(odd: dict[str, Any]) -> None:
    assert listed.batch(item(body="x", **odd)).reference in (None, "order 7")
    assert listed.reference(item(**odd)).reference in (None, "order 7")


def test_own_batch_without_a_time_is_unreadable() -> None:
    with pytest.raises(ValueError, match="not a time"):
        listed.batch(item(client_reference="0a1b2c3d-0000-8000-8000-000000000001", created_at="soon"))
