"""A 201 is believed only if it answers the request that was made."""

import json
from typing import Any

import pytest

from jobs.providers.answers import Answer
from jobs.providers.base import Accepted, Ambiguous, Submission
from jobs.providers.sinch.acceptance import outcome

SENT = Submission("0a1b2c3d-0000-4000-8000-000000000001", None, "Hi", ["+14155551234", "+14155551235"])
OURS: dict[str, Any] = {
    "id": "01FC66621XXXXX119Z8PMV1QPQ",
    "to": ["14155551234", "14155551235"],
    "client_reference": SENT.reference,
    "new": 1,
}


def read(body: object) -> Accepted | Ambiguous:
    result = outcome(Answer(201, {}, body if isinstance(body, bytes) else json.dumps(body).encode()), SENT)
    assert isinstance(result, (Accepted, Ambiguous))
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"to": ["14155551235", "14155551234"]},
        {"to": ["+1 (415) 555-1234", "0014155551235"]},
        {"to": None},
        {"client_reference": SENT.reference.upper()},
    ],
)
def test_201_that_shows_its_request_is_accepted(changes: dict[str, Any]) -> None:
    assert read(OURS | changes) == Accepted("01FC66621XXXXX119Z8PMV1QPQ")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_reference": "0a1b2c3d-0000-4000-8000-000000000002"},
        {"client_reference": None},
        {"client_reference": ""},
        {"to": ["14155551234"]},
        {"to": ["14155551234", "14155551236"]},
        {"to": ["14155551234", "14155551235", "14155551235"]},
        {"to": []},
        {"to": "14155551234"},
        {"id": None},
        {"id": ""},
        {"id": 7},
        {"id": "x" * 256},
    ],
)
def test_201_of_another_request_is_ambiguous(changes: dict[str, Any]) -> None:
    result = read(OURS | changes)

    assert isinstance(result, Ambiguous)
    assert result.http_status == 201
    assert "201" in result.error


@pytest.mark.parametrize("body", [b"", b"{", b"<html>OK</html>", b"[]", b"{}", None])
def test_unreadable_201_is_ambiguous(body: bytes | None) -> None:
    assert outcome(Answer(201, {}, body), SENT) == Ambiguous("a 201 that could not be read", 201)
