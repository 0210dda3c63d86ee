"""What operators' commands print: lines that fit the terminal or the pipe."""

import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.text import Text

from jobs.gateway import waiting_words
from jobs.gateway.alarms import setting_of
from jobs.gateway.campaigning import Listed
from jobs.gateway.errors import FunctionMissing, GatewayError, GatewayFault, GatewayUnavailable
from jobs.gateway.eventing import ListedDelivery
from jobs.gateway.history import Trace, Waiting
from jobs.gateway.status import Heartbeat, Held, PlanLimits, RaisedAlarm, Worker
from jobs.gateway.values import alarm_detail
from scheduler.commands import events_view, status_view, trace
from scheduler.commands.campaign import listing
from scheduler.commands.operator import failure, say_json
from scheduler.commands.terminal import console, replace_what_streams_lack

Captured = pytest.CaptureFixture[str]
SPRING = Listed(
    name="spring-appointments-of-all-clinics",
    status="paused",
    schedule="reminder",
    template="visit-reminder",
    members=1_200_000,
    waiting=1500,
    spent_parts=987_654,
    next_at=datetime(2027, 1, 15, 9, 0, 4, tzinfo=UTC),
)


def traced(**event: Any) -> Trace:
    usual = {
        "at": "2026-11-30T03:26:04.885414+00:00", "source": "webhook", "event": "report", "status": None, "status_code": None,
        "batch_id": None, "dispatch_id": None, "occurred_at": None, "detail": None, "report": None,
    }  # fmt: skip
    message = dict.fromkeys(trace.COLUMNS) | {"id": 7, "recipient": "+14155550123"}
    return Trace.parse(
        {
            "message": message | {"status": "sent", "created_at": "2026-11-30T03:26:04.885414+00:00"},
            "timeline": [usual | event],
            "dispatches": [],
            "duplicate_sends": [],
            "suppressed": None,
        }
    )


def lines_of(found: Trace, capsys: Captured) -> list[str]:
    console().print(trace.screen(found))
    return capsys.readouterr().out.splitlines()


def test_list_of_campaigns_fits_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    console().print(listing.screen([SPRING]))

    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for whole in ("paused", "reminder", "2027-01-15 09:00:04Z", "1,200,000", "1,500", "987,654"):
        assert whole in printed
    assert "…" not in printed


def test_piped_lines_have_no_trailing_spaces(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)

    lines = lines_of(traced(), capsys)

    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_console_without_emoji_prints_question_marks(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON escapes what the console lacks, so it stays readable."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    monkeypatch.setenv("FORCE_COLOR", "1")
    replace_what_streams_lack()

    console().print(Text("Ana 🎂 +1202•••0100", style="red"))
    say_json({"name": "Ana 🎂"})

    line, as_json = written.getvalue().decode(encoding).splitlines()
    assert line.replace("•", "?") == "Ana ? +1202???0100"
    assert json.loads(as_json) == {"name": "Ana 🎂"}


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("", 100_000), ("0", 100_000), ("wide", 100_000)])
def test_columns_set_the_width_of_pipes(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)

    assert console().width == width


def test_trace_writes_all_times_alike(capsys: Captured) -> None:
    lines = lines_of(traced(), capsys)

    assert [line.split() for line in lines if "03:26:04" in line] == [
        ["created_at", "2026-11-30", "03:26:04Z"],
        ["2026-11-30", "03:26:04Z", "webhook", "report"],
    ]


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (None, "for a scheduler: none has claimed yet, start `outbox run`"),
        ("alerts", "for a plan of route alerts: it has none, see `outbox routes`"),
    ],
)
def test_trace_says_what_is_missing_before_a_claim(route: str | None, words: str) -> None:
    assert waiting_words.waits(Waiting(None, False, ()), route) == words


def test_trace_calls_the_code_a_code(capsys: Captured) -> None:
    assert "report: dispatched, code 401" in lines_of(traced(status="dispatched", status_code=401), capsys)[-1]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("aborted after 1 attempts: why", "aborted after 1 attempt: why"),
        ("failed after 11 attempts", "failed after 11 attempts"),
        ("to go out at 2026-11-30 03:55:28.748243+00", "to go out at 2026-11-30 03:55:28Z"),
        ("from 2026-11-30 09:25:28+05:30 on", "from 2026-11-30 03:55:28Z on"),
        ("no time: 2026-13-30 09:25:28+00", "no time: 2026-13-30 09:25:28+00"),
    ],
)
def test_trace_puts_details_into_words(stored: str, shown: str, capsys: Captured) -> None:
    assert lines_of(traced(detail=stored), capsys)[-1].strip() == shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatewayUnavailable("outbox_status: ConnectError"), "does not answer: outbox_status: ConnectError"),
        (GatewayFault("outbox_status: 57014 timeout"), "answers with an error: outbox_status: 57014 timeout"),
        (FunctionMissing("outbox_status is not in the database"), "answers, but outbox_status is not in the database"),
    ],
)
def test_failure_says_whether_supabase_answered(error: GatewayError, words: str) -> None:
    assert failure(error) == words


@pytest.mark.parametrize(
    ("waiting", "raised", "words"),
    [(0, 0, "none in 30 days"), (0, 1, "all logged by `outbox run`"), (2, 2, "2 waiting to be logged by `outbox run`")],
)
def test_status_says_who_logs_alarms(waiting: int, raised: int, words: str) -> None:
    alarm = RaisedAlarm(at=datetime(2027, 1, 15, tzinfo=UTC), kind="plan.paused", detail={}, acknowledged=not waiting)

    assert status_view.alarms(waiting, [alarm] * raised).plain.splitlines()[0] == words


def test_alarm_names_the_default_sender() -> None:
    assert alarm_detail({"sender": None, "plan": "p", "reason": None}) == {"sender": "default", "plan": "p"}
    assert alarm_detail({"sender": "Shop"}) == {"sender": "Shop"}
    assert alarm_detail({"count": 0}) == {"count": 0}


@pytest.mark.parametrize(
    ("kind", "detail", "setting"),
    [
        ("plan.paused", {"provider": "sinch", "reason": "HTTP 401 no"}, "SINCH_API_TOKEN and SINCH_SERVICE_PLAN_ID"),
        ("plan.paused", {"provider": "vonage", "reason": "HTTP 401 no"}, "VONAGE_PRIVATE_KEY and VONAGE_APPLICATION_ID"),
        ("plan.paused", {"provider": "sinch", "reason": "HTTP 402 no money"}, None),
        ("plan.paused", {"provider": "other", "reason": "HTTP 401"}, None),
        (
            "content.held",
            {"provider": "sinch", "sender": "default", "of": "different texts", "reason": "x"},
            "SINCH_FROM_NUMBER",
        ),
        ("content.held", {"provider": "sinch", "sender": "default", "of": "one text", "reason": "x"}, None),
        ("content.held", {"provider": "sinch", "sender": "Shop", "of": "different texts", "reason": "x"}, None),
        ("daily_cap.near", {"day": "2027-01-15"}, "MAX_MESSAGES_PER_DAY"),
    ],
)
def test_alarm_names_the_setting_to_change(kind: str, detail: dict[str, str], setting: str | None) -> None:
    assert setting_of(kind, detail) == setting
    shown = status_view.alarms(0, [RaisedAlarm(datetime(2027, 1, 15, tzinfo=UTC), kind, detail, acknowledged=True)]).plain
    assert (f", check {setting}" in shown) is (setting is not None)


def test_held_texts_are_shown_without_numbers(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    since, probe_at = datetime(2027, 1, 15, 9, tzinfo=UTC), datetime(2027, 1, 15, 9, 1, tzinfo=UTC)
    text = Held("sinch", "p", None, False, 1, 37, 4, since, probe_at, "HTTP 400 not allowed for +12025550100")
    sender = Held("sinch", "p", "Shop", True, 2, 2, None, since, probe_at, "HTTP 403 no such sender")

    console().print(status_view._held([text, sender]))

    one, other = capsys.readouterr().out.splitlines()
    assert one.startswith("sinch p, one text of the default sender: HTTP 400 not allowed for ")
    assert "2025550100" not in one
    assert one.endswith("37 messages such as 4 held since 2027-01-15 09:00:00Z, next try at 2027-01-15 09:01:00Z")
    assert other.startswith("sinch p, 2 texts of sender Shop: HTTP 403 no such sender, 2 messages held")


@pytest.mark.parametrize(
    ("today", "cap", "words"),
    [
        (1, None, "1 message today (UTC), no daily cap"),
        (812, 1000, "812 of 1,000 messages today (UTC)"),
        (1000, 1000, "1,000 of 1,000 messages today (UTC): nothing goes until 00:00, or until MAX_MESSAGES_PER_DAY is raised"),
    ],
)
def test_status_counts_messages_of_all_plans(today: int, cap: int | None, words: str) -> None:
    plans = [PlanLimits("sinch", "a", None, 600, 571, cap, today), PlanLimits("sinch", "b", 30.0, 600, 0, cap, 0)]
    plans.append(PlanLimits("vonage", "c", 30.0, 1_000_000, 999_992, cap, 0))

    assert status_view._limits(plans).plain.splitlines() == [
        "sinch a: 571 of 600 requests left this minute",
        "sinch b: 0 of 600 requests left this minute, 30 messages a second",
        "vonage c: 30 messages a second",
        words,
    ]


def test_waiting_process_is_not_called_absent() -> None:
    """With a wrong token or address of the provider, `outbox run` is up and has claimed nothing."""
    turned = Heartbeat("dispatch", "sinch", "p", datetime(2027, 1, 15, tzinfo=UTC), 9.0)

    assert status_view._processes((), [replace(turned, seconds_ago=61.0)]).plain.startswith("none claims: is `outbox run` up?")
    assert status_view._processes((), [turned]).plain.startswith("one runs and may not claim yet")


def test_process_with_long_names_fits_80_columns() -> None:
    since = datetime(2027, 1, 15, tzinfo=UTC)
    process = Worker("web-1:123456:5b1c0d2e", "sinch", 32 * "f", since, 4.0)

    lines = status_view._process(process).plain.splitlines()

    assert lines[1] == "  claimed 4 s ago, up since 2027-01-15 00:00:00Z"
    assert max(map(len, lines)) <= 80 - len("processes    ")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "\nDoes the server have this endpoint's secret? A new one: outbox events rotate orders"),
        (404, "\nIs the URL right? Another one: outbox events set orders --url URL"),
        (500, ""),
    ],
)
def test_refused_event_names_the_likely_mistake(status: int, words: str) -> None:
    at = datetime(2027, 1, 15, 9, tzinfo=UTC)
    found = ListedDelivery(1, "orders", "evt_n2", "webhook.test", None, "pending", 1, at, status, None, at, None)

    said = events_view.tested("orders", "evt_n2", found, waited=20)

    assert str(said) == f"evt_n2 was not delivered to orders: HTTP {status}; next attempt at 2027-01-15 09:00:00Z{words}"
