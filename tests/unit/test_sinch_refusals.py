"""Answers to a submission: the table that decides between sending again, failing and a lookup."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.providers.answers import Answer, retry_after
from jobs.providers.base import Ambiguous, Refusal, Refused
from jobs.providers.sinch.refusals import Sent, outcome, unanswered

OURS = Sent(default_sender=True, callback_url=True, reports=True)
THEIRS = Sent(default_sender=False, callback_url=False, reports=True)


def problem(code: str, text: str, field: str = "text") -> bytes:
    return json.dumps({"code": code, field: text}).encode()


def refused(status: int, body: bytes | None = b"", sent: Sent = OURS, **headers: str) -> Refused:
    result = outcome(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body), sent)
    assert isinstance(result, Refused)
    return result


@pytest.mark.parametrize("status", [200, 202, 204, 301, 302, 304, 307, 308, 408, 500, 502, 503, 504, 599])
def test_unclear_answers_are_ambiguous(status: int) -> None:
    result = outcome(Answer(status, {"retry-after": "5"}, b'{"id":"01FC","code":"x","text":"y"}'), OURS)

    assert isinstance(result, Ambiguous)
    assert result.http_status == status


SHAPES: dict[str, Callable[[str, str], object]] = {
    "code and text": lambda code, text: {"code": code, "text": text},
    "code and description": lambda code, text: {"code": code, "description": text},
    "numeric code": lambda code, text: {"code": 40003, "status": code, "message": text},
    "envelope": lambda code, text: {"error": {"code": 400, "status": code, "message": text, "details": []}},
    "envelope with details": lambda code, text: {
        "error": {"code": 400, "message": "invalid", "details": [{"reason": code, "fieldViolations": [{"description": text}]}]}
    },
    "nested": lambda code, text: {"requestError": {"serviceException": {"messageId": code, "text": text}}},
    "list": lambda code, text: {"errors": [{"code": code, "message": text}]},
}
"""A body of each shape with this code and text."""
shapes = pytest.mark.parametrize("shape", SHAPES)


def shaped(shape: str, code: str, text: str) -> bytes:
    return json.dumps(SHAPES[shape](code, text)).encode()


@pytest.mark.parametrize("status", [401, 402, 404, 405, 415])
@pytest.mark.parametrize("body", [None, b"", b"<html>no</html>", problem("something_new", "to[0] is no MSISDN")])
def test_the_account_is_meant(status: int, body: bytes | None) -> None:
    assert refused(status, body).why is Refusal.ACCOUNT


@shapes
def test_a_blocked_account_is_meant(shape: str) -> None:
    assert refused(403, shaped(shape, "blocked_account", "Your account is blocked")).why is Refusal.ACCOUNT


@pytest.mark.parametrize("body", [None, b"", b"[]", b'"no"', b"<html>no</html>", problem("something_new", "no")])
def test_an_unknown_403_is_about_the_request(body: bytes | None) -> None:
    assert refused(403, body).why is Refusal.SHARED


@shapes
@pytest.mark.parametrize(
    ("status", "code", "text", "why"),
    [
        (403, "illegal_number_type", "Illegal phone number type of MSISDN for a chosen region was used", Refusal.RECIPIENT),
        (400, "syntax_invalid_parameter_format", "The value of to[3] must be a valid MSISDN", Refusal.RECIPIENT),
        (400, "syntax_invalid_parameter_format", "The value of from must be a valid MSISDN", Refusal.SETTING),
        (400, "syntax_invalid_parameter_format", "The originator must be a valid MSISDN", Refusal.SHARED),
        (400, "syntax_constraint_violation", "Destination number not allowed", Refusal.SHARED),
        (403, "unsupported_number", "not supported", Refusal.SHARED),
        (403, "missing_callback_url", "no URL", Refusal.NO_CALLBACK),
    ],
)
def test_every_shape_of_a_body_is_read(shape: str, status: int, code: str, text: str, why: Refusal) -> None:
    result = refused(status, shaped(shape, code, text))

    assert result.why is why
    assert code in result.error
    assert text in result.error


@pytest.mark.parametrize(
    "text",
    ["The value of to[0] must be a valid MSISDN or group id", "to[17] is not a valid MSISDN", "Invalid: to [3]"],
)
def test_a_number_is_meant(text: str) -> None:
    result = refused(400, problem("syntax_invalid_parameter_format", text))

    assert result.why is Refusal.RECIPIENT
    assert result.code == "syntax_invalid_parameter_format"
    assert result.error == f"HTTP 400 syntax_invalid_parameter_format: {text}"


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (400, "syntax_invalid_json", "Unexpected character"),
        (400, "syntax_constraint_violation", "body must have at most 2000 characters"),
        (400, "syntax_constraint_violation", "to must hold at most 1000 recipients"),
        (400, "syntax_constraint_violation", "A value from outside the alphabet"),
        (400, "syntax_constraint_violation", "expire_at must differ from send_at"),
        (403, "unknown_group", "no such group"),
        (403, "unknown_campaign", "no such campaign"),
        (403, "conflict_group_name", "taken"),
        (409, "", ""),
        (413, "", ""),
        (422, "", ""),
    ],
)
def test_errors_of_shared_fields_are_shared_refusals(status: int, code: str, text: str) -> None:
    assert refused(status, problem(code, text)).why is Refusal.SHARED


def test_400_with_incomplete_body_is_a_refusal() -> None:
    result = refused(400, None)

    assert result.why is Refusal.SHARED
    assert result.error == "HTTP 400"


SENDER_TEXTS = [
    "The value of from must be a number",
    "from is not a valid originator",
    "from: invalid",
    "Invalid 'from'",
    "The field from cannot be empty",
]


@pytest.mark.parametrize("text", SENDER_TEXTS)
@pytest.mark.parametrize("field", ["text", "description"])
def test_the_sender_of_our_setting_is_our_setting(text: str, field: str) -> None:
    assert refused(400, problem("syntax_invalid_parameter_format", text, field)).why is Refusal.SETTING


@pytest.mark.parametrize("text", SENDER_TEXTS)
def test_the_sender_of_a_row_is_the_rows(text: str) -> None:
    assert refused(400, problem("syntax_invalid_parameter_format", text), THEIRS).why is Refusal.SHARED


def test_the_callback_url_is_our_setting() -> None:
    body = problem("syntax_invalid_parameter_format", "The value of callback_url must be a URL")

    assert refused(400, body).why is Refusal.SETTING


def test_missing_callback_matters_only_with_reports() -> None:
    body = problem("missing_callback_url", "no callback URL")
    without_reports = Sent(default_sender=True, callback_url=False, reports=False)

    assert refused(403, body).why is Refusal.NO_CALLBACK
    assert refused(403, body, without_reports).why is Refusal.SETTING


def test_throttling_says_how_long() -> None:
    result = refused(429, retry_after="7")

    assert result.why is Refusal.THROTTLED
    assert result.retry_after == 7.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 30 "}, 30.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "999999999"}, 3600.0),
        ({"retry-after": "9" * 5000}, None),
        ({"retry-after": "Mon, 13 Jan 2025 09:22:50 GMT", "date": "Mon, 13 Jan 2025 09:22:40 GMT"}, 10.0),
        ({"retry-after": "Mon, 13 Jan 2025 09:22:30 GMT", "date": "Mon, 13 Jan 2025 09:22:40 GMT"}, 0.0),
        ({"retry-after": "Mon, 13 Jan 2025 09:22:30 GMT"}, 0.0),  # long past by our own clock
        ({"retry-after": "Fri, 13 Jan 2125 09:22:30 GMT", "date": "rubbish"}, 3600.0),
        ({"retry-after": "Mon, 99 Jan 2025 09:22:30 GMT"}, None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@given(st.text())
def test_retry_after_is_within_bounds_or_none(value: str) -> None:
    seconds = retry_after({"retry-after": value})

    assert seconds is None or 0 <= seconds <= 3600


@given(code=st.text(), text=st.text(max_size=2000))
def test_an_error_is_one_short_printable_line(code: str, text: str) -> None:
    result = refused(400, problem(code, text))

    assert len(result.error) < 700
    assert result.error.isprintable()


@given(status=st.integers(100, 599), body=st.none() | st.binary())
def test_every_other_answer_is_refused_or_ambiguous(status: int, body: bytes | None) -> None:
    result = outcome(Answer(status, {}, body), OURS)

    assert isinstance(result, Refused) == (400 <= status < 500 and status != 408)


@pytest.mark.parametrize(
    ("status", "why", "wait"),
    [
        (429, Refusal.THROTTLED, 4.0),
        (401, Refusal.ACCOUNT, None),
        (403, None, None),
        (503, None, 4.0),
        (500, None, None),
    ],
)
def test_an_unanswered_question_says_why(status: int, why: Refusal | None, wait: float | None) -> None:
    error = unanswered(Answer(status, {"retry-after": "4"}, b"<html>"), "batches")

    assert (error.why, error.http_status, error.retry_after) == (why, status, wait)
    assert error.error == f"HTTP {status}, when asked for the list of batches"


def test_password_echoed_by_provider_is_not_kept() -> None:
    said = problem("syntax_constraint_violation", "callback_url https://user:s3cret@sms.example.com/x is not reachable")

    assert "s3cret" not in refused(400, said).error
    assert "s3cret" not in str(unanswered(Answer(400, {}, said), "batches"))
