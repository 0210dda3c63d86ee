"""What operators' commands check before they call the database: usage, settings, times, files."""

import asyncio
import csv
import io
import json
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from jobs.gateway.errors import GatewayError, GatewayFault, GatewayRefused, GatewayUnavailable
from jobs.gateway.operating import Operating, Suppression
from jobs.lists import opt_outs
from jobs.lists.opt_outs import NotAList
from jobs.runtime.phone import has_trunk_zero
from scheduler.cli import run_command_line
from scheduler.commands import times
from scheduler.commands.operator import agreed

COMMANDS = [["status"], ["held"], ["retry", "1"], ["cancel", "1"], ["pause", "--plan", "p"], ["resume"], ["trace", "1"]]


@pytest.mark.parametrize("command", [*COMMANDS, ["suppressions", "export"]], ids=" ".join)
def test_missing_setting_exits_2_with_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "")

    code = run_command_line(command)

    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "SUPABASE_SECRET_KEY" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("status --json", 2, "SUPABASE_SECRET_KEY is not set"),
        ("retry one --json", 2, "'one' is not the id of a message"),
        ("nonsense --json", 2, "No such command"),
        ("schema status --json", 2, "SUPABASE_SECRET_KEY is not set"),
    ],
)
def test_error_beside_json_is_one_object(
    command: str, code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "")

    assert run_command_line(command.split()) == code

    said = capsys.readouterr()
    assert said.out == ""
    error = json.loads(said.err)
    assert (error["exit_code"], error["errors"]) == (code, [error["error"]])
    assert says in error["error"]


@pytest.mark.parametrize(
    "error",
    [
        GatewayRefused("f: recipient '+12025550100' is not an E.164 number", code="22000"),
        GatewayFault("f: 23505 Key (recipient)=(+12025550100) already exists"),
        GatewayUnavailable("f: ConnectError https://user:s3cret-word@host +12025550100"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_database_are_masked(
    error: GatewayError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_x")
    monkeypatch.setattr(Operating, "list_held", fail)

    assert run_command_line(["held"]) == 1
    said = capsys.readouterr()
    assert "+1202•••0100" in said.err
    assert "s3cret-word" not in said.err


def test_ctrl_c_ends_a_question_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop would hold the signal until the question is answered."""

    def ask(*_: object, **__: object) -> bool:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the question stands")

    async def work() -> None:
        agreed("Really?", yes=False)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", ask)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(work())


@pytest.mark.parametrize("file", [".", "/", "no such folder/list.csv"])
def test_unwritable_export_fails_before_any_request(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command_line(["suppressions", "export", file])

    assert code == 2
    assert f"{file}: no file can be written there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "retry",
        "retry 1 --status failed",
        "retry --status sent",
        "retry 1 --campaign spring",
        "retry --status failed --since yesterday",
        "retry 1 --expires-in soon",
        "retry 1 --expires-in 0s",
        "retry one",
        "cancel",
        "cancel 1 --campaign spring",
        "pause --for 1h --until 2030-01-01T00:00Z",
        "pause --until 2030-01-01T00:00",
        "trace",
        "suppressions import no-such-file.csv",
    ],
)
def test_wrong_usage_exits_2_with_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command_line(command.split())

    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("retry order-7", "'order-7' is not the id of a message, such as 4711"),
        ("cancel 5 99999999999999999999", "'99999999999999999999' is not the id of a message, such as 4711"),
        ("status --days x", "'--days': it is not a whole number"),
        ("status --watch x", "'--watch': it is not a number"),
        ("status --days -1", "'--days': it has to be greater than or equal to 0"),
    ],
)
def test_wrong_value_is_named_in_plain_words(command: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(command.split()) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("group", ["", "suppressions", "replies", "routes", "senders", "person", "campaign", "schema", "local"])
def test_help_cuts_no_command_short(group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    run_command_line([*group.split(), "--help"])

    _usage, *others = capsys.readouterr().out.splitlines()
    assert [line for line in others if line.endswith("...")] == []


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), (" 1m ", 60)])
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert times.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-1h", "0m", "1w", "1h30m", "99999d", "١h" * 9])
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration"):
        times.seconds(text)


def test_time_requires_an_offset_and_keeps_it() -> None:
    assert times.moment("2027-01-31T09:00+01:00") == datetime(2027, 1, 31, 8, tzinfo=UTC)
    with pytest.raises(typer.BadParameter, match="offset"):
        times.moment("2027-01-31T09:00")


def test_past_time_may_be_a_duration() -> None:
    assert abs(times.past("2h") - (datetime.now(UTC) - timedelta(hours=2))) < timedelta(minutes=1)


# Opt-out lists


def test_list_header_is_optional_in_any_order() -> None:
    plain = opt_outs.read(["+14155550100", "+14155550101,moved"])
    headed = opt_outs.read(
        ["source,Phone,reason", "reply,+1 (415) 555-0100,", "operator,0014155550101,moved"], reason="from the CRM"
    )

    assert plain.suppressions == (
        Suppression("+14155550100", "", replied=False),
        Suppression("+14155550101", "moved", replied=False),
    )
    assert headed.suppressions == (
        Suppression("+14155550100", "from the CRM", replied=True),
        Suppression("+14155550101", "moved", replied=False),
    )


def test_refused_lines_have_number_and_reason() -> None:
    lines = [
        "recipient,reason,source",
        "+14155550100",
        "",
        "4155550100",
        ",x",
        "+1415",
        "+14155550102,,twitter",
        f"+14155550103,{'x' * 201}",
    ]

    reading = opt_outs.read(lines)

    assert [one.line for one in reading.refused] == [4, 5, 6, 7, 8]
    assert all(one.why for one in reading.refused)
    assert len(reading.suppressions) == 1


def test_a_number_that_is_repeated_counts_once() -> None:
    reading = opt_outs.read(["+14155550100,first", "+1 415 555 0100,second"])

    assert (reading.repeated, [one.reason for one in reading.suppressions]) == (1, ["first"])


def test_a_header_without_numbers_is_no_list() -> None:
    with pytest.raises(NotAList, match="name, mail"):
        opt_outs.read(["name,mail", "a,b"])


@given(
    st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z").filter(lambda number: not has_trunk_zero(number)),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=200).map(str.strip),
    st.booleans(),
)
def test_written_suppressions_are_read_back(recipient: str, reason: str, replied: bool) -> None:
    one = Suppression(recipient, reason, replied=replied)

    reading = opt_outs.read(_csv([opt_outs.COLUMNS, opt_outs.line_of(one)]))

    assert (reading.suppressions, reading.refused) == ((one,), ())


def _csv(rows: Sequence[Sequence[str]]) -> list[str]:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().splitlines(keepends=True)


@pytest.mark.parametrize("command", ["", "campaign", "suppressions"])
def test_missing_command_error_points_to_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command_line(command.split())

    said = capsys.readouterr().err
    assert code == 2
    assert said == f"outbox: a command is missing: {' '.join(['outbox', *command.split()])} --help lists them\n"
