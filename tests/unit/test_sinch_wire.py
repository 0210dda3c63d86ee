"""The body of a submission, parsed as Sinch would."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.providers.base import Submission
from jobs.providers.fields import Unreadable, instant
from jobs.providers.sinch.wire import LONGEST_BODY, submission_body, timestamp

ANN, BEN = "+14155551234", "+14155551235"


def body_of(submission: Submission, *, sender: str | None = None, callback_url: str | None = None, reports: bool = True) -> Any:
    return json.loads(submission_body(submission, sender=sender, callback_url=callback_url, reports=reports))


def text_for(body: Any, recipient: str) -> str:
    """The texts that arrive, by the provider's page on parameters: ``${key}`` becomes the recipient's value or the default."""

    def value(match: re.Match[str]) -> str:
        values = body.get("parameters", {}).get(match.group(1), {})
        return str(values.get(recipient, values.get("default", "MISSING")))

    return re.sub(r"\$\{([^}]*)\}", value, body["body"])


def test_a_plain_text_is_sent_as_it_is() -> None:
    submission = Submission(
        "ref-1", None, "Your table is ready", [ANN, BEN], datetime(2026, 11, 25, 12, 0, 0, 5000, tzinfo=UTC)
    )

    assert body_of(submission, sender="+14155550000", callback_url="https://example.com/cb") == {
        "type": "mt_text",
        "to": [ANN, BEN],
        "from": "+14155550000",
        "body": "Your table is ready",
        "client_reference": "ref-1",
        "delivery_report": "per_recipient",
        "callback_url": "https://example.com/cb",
        "expire_at": "2026-11-25T12:00:00.005Z",
    }


def test_mms_names_its_file_and_caption() -> None:
    body = body_of(Submission("ref", None, "Costs ${5}", [ANN], media_url="https://example.com/menu.jpg"))

    assert (body["type"], body["body"]) == ("mt_media", {"url": "https://example.com/menu.jpg", "message": "Costs ${d}{5}"})
    assert body.keys() == {"type", "to", "body", "client_reference", "delivery_report", "parameters"}


def test_unset_fields_are_not_sent() -> None:
    assert body_of(Submission("ref", None, "Hi", [ANN])).keys() == {"type", "to", "body", "client_reference", "delivery_report"}


def test_a_row_may_name_its_own_sender() -> None:
    assert body_of(Submission("ref", "Pizzeria", "Hi", [ANN]), sender="+14155550000")["from"] == "Pizzeria"


def test_no_reports_are_requested_without_callbacks() -> None:
    body = body_of(Submission("ref", None, "Hi", [ANN]), callback_url="https://example.com/cb", reports=False)

    assert body["delivery_report"] == "none"
    assert "callback_url" not in body


def test_texts_that_differ_in_names_share_a_request() -> None:
    values = {"first name": {ANN: "Ann", BEN: "Ben"}, "day": {ANN: "Monday", BEN: "Friday"}}
    body = body_of(Submission("ref", None, "Hi {{first name}}, see you {{ day }}!", [ANN, BEN], parameters=values))

    assert text_for(body, ANN) == "Hi Ann, see you Monday!"
    assert text_for(body, BEN) == "Hi Ben, see you Friday!"


def test_any_parameter_name_becomes_a_valid_sinch_key() -> None:
    values = {f"a rather long name with ünicode, number {i}": {ANN: str(i)} for i in range(30)}
    text = "".join(f"{{{{{key}}}}} " for key in values)

    for key in body_of(Submission("ref", None, text, [ANN], parameters=values))["parameters"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,16}", key)


@pytest.mark.parametrize(
    "text", ["${name}", "$${name}", "pay ${", "${}", "$ {x}", "${d}", "${p0}", "}{$", "$$$", "{{name}}", "a${b}c${d}"]
)
def test_placeholder_like_text_arrives_as_typed(text: str) -> None:
    body = body_of(Submission("ref", None, text, [ANN]))

    assert text_for(body, ANN) == text


def test_a_price_in_dollars_may_be_a_parameter() -> None:
    body = body_of(Submission("ref", None, "Pay ${{amount}} or ${amount}", [ANN], parameters={"amount": {ANN: "5"}}))

    assert text_for(body, ANN) == "Pay $5 or ${amount}"


def test_a_placeholder_without_values_stays_as_it_is() -> None:
    body = body_of(Submission("ref", None, "Hi {{name}} {{other}}", [ANN], parameters={"name": {ANN: "Ann"}}))

    assert text_for(body, ANN) == "Hi Ann {{other}}"


@given(st.text(alphabet="${}ab dp01.", max_size=40))
def test_any_text_arrives_as_typed(text: str) -> None:
    body = body_of(Submission("ref", None, text, [ANN]))

    assert text_for(body, ANN) == text


@given(
    pieces=st.lists(st.text(alphabet="$ab dp0.", max_size=5), min_size=1, max_size=6),
    value=st.text(alphabet="${}ab", max_size=8),
)
def test_any_text_around_placeholders_arrives_as_typed(pieces: list[str], value: str) -> None:
    body = body_of(Submission("ref", None, "{{x}}".join(pieces), [ANN], parameters={"x": {ANN: value}}))

    assert text_for(body, ANN) == value.join(pieces)


@pytest.mark.parametrize(
    "text",
    ["${" * 1000, "$" * 1999 + "{", "${name} " * 250, "x" * 1997 + "${a", "\U0001f600${" * 666, "a" * 1000 + "${}" * 333],
    ids=["brackets", "dollars", "placeholders", "at the end", "emoji", "half of it"],
)
def test_text_full_of_placeholders_fits_the_wire(text: str) -> None:
    """It has at most 2000 characters in the table, and has to fit into as many with its escapes."""
    body = body_of(Submission("ref", None, text, [ANN]))

    assert text_for(body, ANN) == text
    assert len(body["body"]) <= LONGEST_BODY
    for key, values in body["parameters"].items():
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,16}", key)
        assert all(len(value.encode("utf-16-le")) <= 320 for value in values.values())


@given(
    pieces=st.lists(st.text(alphabet="$}d", min_size=200, max_size=900), min_size=1, max_size=2),
    value=st.text(alphabet="${}ab", max_size=8),
)
def test_long_text_around_placeholders_fits_the_wire(pieces: list[str], value: str) -> None:
    body = body_of(Submission("ref", None, "{{x}}".join(pieces), [ANN], parameters={"x": {ANN: value}}))

    assert text_for(body, ANN) == value.join(pieces)
    assert len(body["body"]) <= LONGEST_BODY


@given(st.integers(0, 4_000_000_000_000), st.integers(-12, 12))
def test_times_survive_the_way_through_sinch(milliseconds: int, offset: int) -> None:
    at = datetime.fromtimestamp(milliseconds / 1000, timezone(timedelta(hours=offset)))

    assert abs(instant(timestamp(at)) - at) < timedelta(milliseconds=1)


@pytest.mark.parametrize("text", ["", "now", "2025-13-01T00:00:00Z", "0001-01-01T00:00:00+10:00", "1736760161"])
def test_invalid_times_are_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        instant(text)
