"""No private data leaves through the log or Sentry."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from jobs.runtime import telemetry
from jobs.runtime.settings import TelemetrySettings
from jobs.runtime.telemetry import mask, mask_url, scrub, scrub_value

NUMBER = "+14155551234"


def configure(**settings: Any) -> None:
    telemetry.configure(TelemetrySettings(_env_file=None, **settings), component="test")


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+14155551234", "+1415•••1234"),
        ("+447700900123", "+4477•••0123"),
        ("14155551234", "141•••34"),
        ("+1234567", "+12•••67"),
    ],
)
def test_masked_number_keeps_its_start_and_end(number: str, masked: str) -> None:
    assert mask(number) == masked


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_mask_hides_at_least_three_digits(number: str) -> None:
    assert sum(map(str.isdigit, mask(number))) <= len(number) - 4
    assert scrub(mask(number)) == mask(number)


@pytest.mark.parametrize(
    "text",
    [
        NUMBER,
        "to +14155551234, +14155551235 and 14155551236",
        '{"recipient":"14155551234"}',
        "GET /batches/01FC/delivery_report/14155551234",
        "?to=%2B14155551234",
        "0014155551234",
        "KeyError: '+14155551234'",
        "tel:+14155551234",
    ],
)
def test_numbers_are_masked_wherever_they_stand(text: str) -> None:
    assert "415555" not in scrub(text)
    assert "•••" in scrub(text)


@given(before=st.text(), after=st.text(alphabet=st.characters(exclude_categories=["Nd"])))
def test_a_number_with_its_plus_never_passes(before: str, after: str) -> None:
    assert NUMBER not in scrub(f"{before}{NUMBER}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T12:00:00.123456Z",
        "6f9619ff-8b86-4011-b42d-123456789012",
        "01JHFFHQ0P99JPPNQPJDV7JTBP",
        "123456789 rows in 1.5 s",
        "HTTP 400",
    ],
)
def test_times_and_ids_stay_readable(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://user:pass@example.com/cb", "pass"),
        ("postgresql://postgres:hunter2@db:5432/postgres", "hunter2"),
        ("Authorization: Bearer abc.def-123", "abc.def"),
        ("authorization: basic c2luY2g6cGFzcw==", "c2luY2g"),
        ("key sb_secret_AbC123_x refused", "AbC123"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZSJ9.c2lnbmF0dXJl", "eyJ"),
    ],
)
def test_secrets_are_masked_wherever_they_stand(text: str, secret: str) -> None:
    assert secret not in scrub(text)


def test_a_url_shows_where_but_not_as_whom() -> None:
    assert mask_url("https://user:p%40ss@example.com/cb?x=1") == "https://•••@example.com/cb?x=1"
    assert mask_url("https://example.com/a@b") == "https://example.com/a@b"


def test_texts_and_secrets_are_dropped_at_any_depth() -> None:
    event = {"batch": {"body": "Your code is 1234", "Authorization": "x", "to": [NUMBER], NUMBER: 1}, "raw": b"\x00", "n": 17}

    assert scrub_value(event) == {"batch": {"to": ["+1415•••1234"], "+1415•••1234": 1}, "n": 17}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_anything_can_be_scrubbed(value: object) -> None:
    scrub_value(value)


def test_an_event_is_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")

    structlog.get_logger().info("dispatch.accepted", recipients=3, recipient=NUMBER, body="Hi")

    captured = capsys.readouterr()
    event = json.loads(captured.err)
    assert captured.out == ""
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "dispatch.accepted", "level": "info", "recipients": 3, "recipient": "+1415•••1234"}


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_scrubbed_too(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format=log_format)
    try:
        raise ValueError(f"no such recipient {NUMBER}")
    except ValueError:
        structlog.get_logger().exception("dispatch.failed")
        logging.getLogger("a.library").exception("it said %s", NUMBER)

    said = capsys.readouterr().err
    assert said.count("ValueError: no such recipient +1415•••1234") == 2
    assert "it said +1415•••1234" in said
    assert NUMBER not in said


def test_log_level_setting_keeps_http_libraries_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_level="debug", log_format="json")

    structlog.get_logger().debug("seen")
    logging.getLogger("httpx").info("HTTP Request: GET https://example.com")
    logging.getLogger("httpcore.http11").debug("send_request_headers Authorization: Bearer x")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["seen"]


class Mailbox(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        if (event := envelope.get_event()) is not None:
            self.events.append(event)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    configure(log_format="json")
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=mailbox, **telemetry.sentry_options())
    yield mailbox
    sentry_sdk.get_global_scope().set_client(None)


def test_alarm_goes_to_sentry_without_private_data(mailbox: Mailbox) -> None:
    structlog.get_logger().warning("callback.unauthenticated")
    structlog.get_logger().error("double.found", recipient=NUMBER, body="Your code is 1234")

    (event,) = mailbox.events
    assert event["message"] == "double.found"
    assert event["contexts"]["log"] == {"recipient": "+1415•••1234"}
    assert "1234567" not in json.dumps(event, default=str)


def test_error_goes_to_sentry_scrubbed_without_variables(mailbox: Mailbox) -> None:
    recipient = NUMBER
    try:
        raise ValueError(f"no such recipient {recipient}")
    except ValueError:
        structlog.get_logger().exception("dispatch.failed")

    (event,) = mailbox.events
    assert event["exception"]["values"][0]["value"] == "no such recipient +1415•••1234"
    assert event["tags"]["event"] == "dispatch.failed"
    assert NUMBER not in json.dumps(event, default=str)
    assert all("vars" not in frame for frame in event["exception"]["values"][0]["stacktrace"]["frames"])


def test_library_error_goes_to_sentry_once(mailbox: Mailbox) -> None:
    logging.getLogger("a.library").error("it failed for %s", NUMBER)

    assert [event["message"] for event in mailbox.events] == ["it failed for +1415•••1234"]
