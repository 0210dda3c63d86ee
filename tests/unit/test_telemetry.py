"""No private data leaves through the log or Sentry."""

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import sentry_sdk
import structlog
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from jobs.runtime import telemetry
from jobs.runtime.settings import TelemetrySettings

NUMBER = "+14155551234"


def configure(**settings: Any) -> None:
    telemetry.configure(TelemetrySettings(_env_file=None, **settings), component="test")


def test_an_event_is_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")

    structlog.get_logger().info("dispatch.accepted", recipients=3, recipient=NUMBER, body="Hi")

    captured = capsys.readouterr()
    event = json.loads(captured.err)
    assert captured.out == ""
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "dispatch.accepted", "level": "info", "recipients": 3, "recipient": "+1415•••1234"}


def test_a_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that share stderr, as workers do, would otherwise write into each other's lines."""

    class Written(StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    pieces: list[str] = []
    monkeypatch.setattr("sys.stderr", Written())
    configure(log_format="json")
    structlog.get_logger().info("seen")
    logging.getLogger("library").warning("heard")

    assert [json.loads(piece)["event"] for piece in pieces] == ["seen", "heard"]
    assert all(piece.endswith("\n") for piece in pieces)


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
