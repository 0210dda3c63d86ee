"""Answers to a submission: the table that decides between sending again, failing and a lookup."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.providers.answers import Answer
from jobs.providers.base import Accepted, Ambiguous, Refusal, Refused
from jobs.providers.vonage.acceptance import Acceptances
from jobs.providers.vonage.refusals import Sent, outcome, unanswered

OURS = Sent(default_sender=True, callback_url=True)
THEIRS = Sent(default_sender=False, callback_url=False)
ID = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"


def problem(title: str, *names: str, number: int = 1150) -> bytes:
    """A refusal as Vonage's examples show it."""
    body: dict[str, Any] = {
        "type": f"https://developer.vonage.com/api-errors/messages#{number}",
        "title": title,
        "detail": "more about it",
        "instance": "bf0ca0bf927b3b52e3cb03217e1a1ddf",
    }
    if names:
        body["invalid_parameters"] = [{"name": name, "reason": "expected another value"} for name in names]
    return json.dumps(body).encode()


def refused(status: int, body: bytes | None = b"", sent: Sent = OURS, headers: Mapping[str, str] | None = None) -> Refused:
    result = outcome(Answer(status, headers or {}, body), sent)
    assert isinstance(result, Refused)
    return result


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 304, 307, 308, 408, 500, 502, 503, 504, 599])
def test_unclear_answers_are_ambiguous(status: int) -> None:
    result = outcome(Answer(status, {"retry-after": "5"}, problem("Invalid recipient", "to")), OURS)

    assert isinstance(result, Ambiguous)
    assert result.http_status == status


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 415])
@pytest.mark.parametrize("body", [None, b"", b"<html>no</html>", problem("Invalid recipient", "to")])
def test_the_account_is_meant(status: int, body: bytes | None) -> None:
    assert refused(status, body).why is Refusal.ACCOUNT


@pytest.mark.parametrize(("headers", "seconds"), [({}, None), ({"retry-after": "7"}, 7.0), ({"retry-after": "soon"}, None)])
def test_throttling_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    result = refused(429, problem("Rate Limit Hit"), headers=headers)

    assert (result.why, result.retry_after) == (Refusal.THROTTLED, seconds)


# The numbers in Vonage's examples contradict those of its list: 1120 and 1420 stand for an invalid sender.
@pytest.mark.parametrize("number", [1100, 1110, 1120, 1400, 1410, 1420, 1430])
@pytest.mark.parametrize(
    ("body", "sent", "why"),
    [
        (("Invalid recipient", "to"), OURS, Refusal.RECIPIENT),
        (("Invalid recipient",), THEIRS, Refusal.RECIPIENT),
        (("Invalid params", "to"), OURS, Refusal.RECIPIENT),
        (("Invalid params", "$.to"), OURS, Refusal.RECIPIENT),
        (("Invalid params", "from", "to"), OURS, Refusal.RECIPIENT),
        (("Invalid sender", "from"), OURS, Refusal.SETTING),
        (("Invalid sender", "from"), THEIRS, Refusal.SHARED),
        (("Invalid params", "from"), OURS, Refusal.SETTING),
        (("Invalid params", "from"), THEIRS, Refusal.SHARED),
        (("Invalid params", "webhook_url"), OURS, Refusal.SETTING),
        (("Invalid params", "webhook_url"), THEIRS, Refusal.SHARED),
        (("Invalid params", "text"), OURS, Refusal.SHARED),
        (("Invalid params", "image.to"), OURS, Refusal.SHARED),
        (("Invalid channel parameters", "ttl"), OURS, Refusal.SHARED),
        (("Unsupported channel",), OURS, Refusal.SHARED),
        (("Invalid message type",), OURS, Refusal.SHARED),
        (("Invalid client reference",), OURS, Refusal.SHARED),
        (("A title that is new",), OURS, Refusal.SHARED),
    ],
)
def test_title_and_parameters_decide_never_the_number(body: tuple[str, ...], sent: Sent, why: Refusal, number: int) -> None:
    result = refused(422, problem(*body, number=number), sent)

    assert result.why is why
    assert result.code == body[0]
    assert result.error.startswith(f"HTTP 422 {body[0]}: more about it")
    assert "bf0ca0bf" not in result.error


@pytest.mark.parametrize("status", [400, 409, 410, 413, 414, 422, 451, 499])
@pytest.mark.parametrize("body", [None, b"", b"[]", b'"no"', b"<html>no</html>", b'{"title": 7}', b'{"invalid_parameters": 7}'])
def test_an_unknown_refusal_is_about_the_request(status: int, body: bytes | None) -> None:
    assert refused(status, body).why is Refusal.SHARED


@given(st.integers(100, 599), st.binary(max_size=40), st.booleans(), st.booleans())
def test_every_answer_has_an_outcome(status: int, body: bytes, default_sender: bool, callback_url: bool) -> None:
    result = outcome(Answer(status, {}, body), Sent(default_sender=default_sender, callback_url=callback_url))

    assert not isinstance(result, Accepted)
    assert isinstance(result, Refused) == (400 <= status < 500 and status != 408)
    assert "\0" not in result.error


@pytest.mark.parametrize("status", [401, 403, 404, 422, 429, 500, 302])
def test_unanswered_question_never_stops_the_plan(status: int) -> None:
    """Reports have a credential and a limit of their own."""
    error = unanswered(Answer(status, {"retry-after": "3"}, problem("You did not provide correct credentials.")), "records")

    assert (error.why, error.http_status) == (None, status)
    assert error.retry_after == (3.0 if status == 429 else None)
    assert "correct credentials" in error.error


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"message_uuid": null}',
        b'{"message_uuid": 7}',
        b'{"message_uuid": ""}',
        b'{"message_uuid": "two, ids"}',
        json.dumps({"message_uuid": "x" * 256}).encode(),
        json.dumps({"workflow_id": ID}).encode(),
    ],
)
def test_unreadable_202_is_ambiguous(body: bytes | None) -> None:
    result = Acceptances().outcome(Answer(202, {}, body))

    assert isinstance(result, Ambiguous)
    assert result.http_status == 202


def test_an_id_is_accepted_once() -> None:
    """Nothing else in a 202 tells whose answer it is."""
    acceptances = Acceptances()
    answer = Answer(202, {}, json.dumps({"message_uuid": ID}).encode())

    assert acceptances.outcome(answer) == Accepted(ID)
    assert isinstance(acceptances.outcome(answer), Ambiguous)
