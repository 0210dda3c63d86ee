"""Files of opt-outs and of members: no line is lost without an error."""

import asyncio
import csv
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.gateway.campaigning import Campaigning, Form, Imported, Line, RefusedLine
from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.operating import Operating, Suppression
from jobs.lists import opt_outs
from jobs.lists.csv_rows import NotATable
from scheduler.cli import run_command_line
from scheduler.commands import members
from scheduler.commands.refusals import Refusals
from scheduler.commands.repeated import RepeatedNumbers

FORM = Form(template="hi", placeholders=(), required=(), needs_event=False, zone_needed_by=None)
READERS: list[Callable[[list[str]], object]] = [opt_outs.read, lambda lines: list(members.read(lines, FORM).lines)]
HEADER = "external_id,recipient\n"


@pytest.mark.parametrize("read", READERS, ids=["opt-outs", "members"])
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([HEADER, 'a,"+14155550101\n', "b,+14155550102\n"], r"line 2: a quote is opened and never closed \(.* far as line 3"),
        ([HEADER, "a,+14155550101\n", "\n", 'b,"+14155550102'], "line 4: a quote is opened and never closed$"),
        ([HEADER, 'a,"+14155550101\n', 'b,"+14155550102"\n'], r"line 2: .*expected after.*as far as line 3"),
        ([HEADER, f'a,"{"x" * 200_000}\n'], "line 2: field larger than"),
        (["\n", "external_id;recipient\n", "a;+14155550101\n"], "line 2: its columns are separated by semicolons"),
        (["external_id\trecipient\n", "a\t+14155550101\n"], "line 1: its columns are separated by tabs"),
        (["external_id,recipient\0\n", "a,+14155550101\n"], "line 1: it contains a NUL character"),
    ],
)  # fmt: skip
def test_unreadable_file_is_refused_with_the_line(read: Callable[[list[str]], object], lines: list[str], says: str) -> None:
    with pytest.raises(NotATable, match=says):
        read(lines)


def test_headerless_list_with_semicolons_is_refused() -> None:
    with pytest.raises(NotATable, match="semicolons"):
        opt_outs.read(["+14155550101;moved\n"])


ZERO_44 = "zero that is dialled inside the country only. Leave out the zero after +44"
KEPT_ZERO = "has a zero in brackets. Write the number without brackets, as it is dialled from another country"
ALONE = "in it. Write the number alone, in digits and without an extension"
REFUSED = [
    ("+44 (0)7700 900123", f"'+44 (0)7••• ••0123' has a {ZERO_44}"),
    ("0044 (0)7700 900123", ZERO_44),
    ("+44 07700 900123", ZERO_44),
    ("+4407700900123", f"'+4407•••••0123' has a {ZERO_44}"),
    ("004407700900123", ZERO_44),
    ("+49 (0) 151 23456789", "Leave out the zero after +49"),
    ("+330612345678", "Leave out the zero after +33"),
    ("+39 (06) 1234567", KEPT_ZERO),
    ("+1 (0) 202 555 0175", KEPT_ZERO),
    ("+12025550175 ext 5", f"'+1202••••175 ext 5' has 'e' {ALONE}"),
    ("+12025550175x5", f"has 'x' {ALONE}"),
    ("+12025550175 / +12025550176", f"has '/' {ALONE}"),
    ("+1 202_555_0175", f"has '_' {ALONE}"),
    ("+0044 7700 900123", "has a zero before its country code. Write + and the country code"),
    ("+447700", "has 6 digits. With its country code a number has 7 to 15"),
    ("12025550100", "'1202•••0100' has neither + nor 00 before its country code"),
    ("0151 2345678", "'0151 •••5678' has neither + nor 00 before its country code"),
    ("0151", "'0151' has neither + nor 00"),
    ("", "no number"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "says"), REFUSED)
def test_refused_number_gets_its_own_hint(written: str, says: str) -> None:
    """Read with a zero it would be another number, and its owner would go on getting texts."""
    reading = opt_outs.read(["recipient,reason\n", f"{written},asked by phone\n"])
    (member,) = members.read([HEADER, f"a,{written}\n"], FORM).lines

    assert reading.suppressions == ()
    assert isinstance(member, RefusedLine)
    assert [(one.line, one.why) for one in reading.refused] == [(2, member.problem)]
    assert says in member.problem


@pytest.mark.parametrize("written", ["0044 7700 900205", "+44 7700 900205", "+44 (7700) 900-205", "+447700900205"])
def test_both_files_read_a_written_number(written: str) -> None:
    (suppression,) = opt_outs.read([f"{written}\n"]).suppressions
    (member,) = members.read([HEADER, f"a,{written}\n"], FORM).lines

    assert isinstance(member, Line)
    assert {suppression.recipient, member.recipient} == {"+447700900205"}


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["told us,reply", "asked by phone,operator"], ("asked by phone", False)),
        (["asked by phone,operator", "told us,reply"], ("asked by phone", False)),
        (["told us,reply", ",operator"], ("told us", False)),
        (["first,reply", "second,reply"], ("first", True)),
        (["first,operator", "second,operator", "third,reply"], ("first", False)),
    ],
)
def test_operators_line_wins_over_a_reply(lines: list[str], kept: tuple[str, bool]) -> None:
    """A START lifts a reply, and no decision of an operator."""
    reading = opt_outs.read(["recipient,reason,source\n", *(f"+447700900205,{line}\n" for line in lines)])

    assert [(one.reason, one.replied) for one in reading.suppressions] == [kept]
    assert reading.repeated == len(lines) - 1


def test_nul_in_a_list_is_reported_with_line() -> None:
    reading = opt_outs.read(["recipient,reason\n", "+14155550101,a\0b\n", "+14155550102,\n"])

    assert [(one.line, one.why) for one in reading.refused] == [(2, "it contains a NUL character")]
    assert [one.recipient for one in reading.suppressions] == ["+14155550102"]


@given(st.text("'=+-@\uff1d x", min_size=1, max_size=8).map(str.strip))
@example('=HYPERLINK("http://example.com")')
@example("'=1")
@example("''-")
def test_exported_reasons_are_no_formulas_and_read_back(reason: str) -> None:
    """A spreadsheet would execute a formula."""
    one = Suppression("+14155550101", reason, replied=False)

    written = opt_outs.line_of(one)

    assert written[0] == "+14155550101"
    assert not written[1].lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
    out = io.StringIO()
    csv.writer(out).writerows([opt_outs.COLUMNS, written])
    assert opt_outs.read(out.getvalue().splitlines(keepends=True)).suppressions == (one,)


# Headers

REMINDERS = Form(
    template="visit",
    placeholders=("day", "Name", "phone"),
    required=("Name", "phone"),
    needs_event=True,
    zone_needed_by="its window",
)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            "external_id,recipient,timezone,event_at,Name,phone,dya",
            ["column 'dya' is no placeholder of template 'visit'; the closest is {{day}}"],
        ),
        (
            "external_id,recipient,timezone,event_at,Name,phone,mobile",
            ["column 'mobile' is no placeholder of template 'visit', which has {{day}}, {{Name}}, {{phone}}"],
        ),
        (
            "external_id,msisdn,nmae",
            [
                "column 'nmae' is no placeholder of template 'visit'; the closest is {{Name}}",
                "no column for {{Name}} of template 'visit', which has no default for it",
                "no column for {{phone}} of template 'visit', which has no default for it",
                "no column event_at, which reminders are sent around",
                "no column timezone, and the campaign has none either; its window needs one",
            ],
        ),
        ("external_id,name", ["the first line must name the columns; recipient not found in: external_id, name"]),
        (
            "external_id,number,msisdn",
            ["the first line must name the columns; recipient not found in: external_id, number, msisdn"],
        ),
        ("external_id,recipient,name,Name", ["column Name is there twice"]),
    ],
)
def test_header_is_checked_once_before_any_line(header: str, says: list[str]) -> None:
    """The campaign's template decides which columns are needed."""
    with pytest.raises(members.NotMembers) as refused:
        members.read([header + "\n", "x\n"], REMINDERS)

    assert list(refused.value.problems) == says


def test_column_without_a_placeholder_is_refused() -> None:
    with pytest.raises(members.NotMembers, match="column 'name' is no placeholder of template 'hi', which has none"):
        members.read(["external_id,recipient,name\n"], FORM)


@pytest.mark.parametrize(
    "header", ["External_ID,Recipient,TimeZone,Event_At,name,PHONE", "external_id,msisdn,timezone,event_at,NAME,phone"]
)
def test_columns_are_known_in_letters_of_any_case(header: str) -> None:
    columns = members.read([header + "\n"], REMINDERS).columns

    assert columns == ["external_id", "recipient", "timezone", "event_at", "Name", "phone"]


def test_column_aliases_and_placeholder_case_are_accepted() -> None:
    """A parameter takes the spelling of the template. A column "Phone" holds the recipients."""
    form = replace(FORM, placeholders=("name", "Name"), required=("name",))

    (line,) = members.read(["External_Id,Phone,name\n", "a,+14155550101,Ada\n"], form).lines

    assert line == Line(2, "a", "+14155550101", "", "", {"name": "Ada"})


# Refused lines


@pytest.mark.parametrize("looked_on", [True, False])
def test_terminal_gets_first_refusals_and_file_gets_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, looked_on: bool
) -> None:
    """The terminal shows the first lines of each reason."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: looked_on)
    refusals = Refusals()
    for line in range(2, 5003):
        refusals.say(line, f"recipient '0151 {line}' is not an E.164 number")
    refusals.say(6000, "no event_at")
    refusals.say_rest()

    said = capsys.readouterr().err.splitlines()
    assert refusals.count == 5002
    assert said[0] == "line 2: recipient '0151 2' is not an E.164 number"
    if looked_on:
        assert said[19:] == [
            "line 21: recipient '0151 21' is not an E.164 number",
            "line 6000: no event_at",
            "and 4,981 more, such as: recipient '0151 5002' is not an E.164 number",
            "(write stderr to a file to see all of them: 2> refused.txt)",
        ]
    else:
        assert len(said) == 5002


# Ctrl-C


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is never called, because the test replaces its caller."""
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_x")


class Database:
    """Accepts this many calls; at the next one the operator presses Ctrl-C."""

    def __init__(self, answer: object, *, calls: int) -> None:
        self._answer = answer
        self._calls = calls

    async def __call__(self, *_: Any, **__: Any) -> Any:
        self._calls -= 1
        if self._calls < 0:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        return self._answer


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        (0, "perhaps the first 5000 of 12,000 numbers were imported"),
        (2, "the first 10000 and perhaps the next 2000 of 12,000 numbers were imported"),
    ],
)
@pytest.mark.usefixtures("project")
def test_interrupted_list_import_reports_its_progress(
    calls: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("".join(f"+1415{n:07d}\n" for n in range(5550000, 5562000)), encoding="utf-8")
    monkeypatch.setattr(Operating, "import_suppressions", Database(5000, calls=calls))

    assert run_command_line(["suppressions", "import", str(file)]) == 130
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"outbox: stopped; {says}; the same file may be imported again\n")


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        (0, "nothing was imported"),
        (1, "0 of 1 line was imported, and perhaps more; the same file may be imported again"),
    ],
)
@pytest.mark.usefixtures("project")
def test_interrupted_member_import_reports_whether_any_were_imported(
    calls: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "members.csv"
    file.write_text(HEADER + "a,+14155550101\n", encoding="utf-8")
    database = Database((), calls=calls)
    monkeypatch.setattr(Campaigning, "member_form", Database(FORM, calls=1))
    for name in ("stage_members", "write_members"):
        monkeypatch.setattr(Campaigning, name, database)
    monkeypatch.setattr(Campaigning, "discard_import", Database(None, calls=1))

    assert run_command_line(["campaign", "import", "spring", str(file)]) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"outbox: stopped; {says}")
    assert len(said.err.splitlines()) == 1


@pytest.mark.usefixtures("project")
def test_failed_member_import_reports_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "members.csv"
    file.write_text(HEADER + "a,+14155550101\nb,+14155550102\n", encoding="utf-8")
    answers = iter([(Imported(added=1, changed=0, unchanged=0), True)])

    async def write(*_: Any, **__: Any) -> tuple[Imported, bool]:
        try:
            return next(answers)
        except StopIteration:
            raise GatewayUnavailable("it went away") from None

    monkeypatch.setattr(Campaigning, "member_form", Database(FORM, calls=1))
    monkeypatch.setattr(Campaigning, "stage_members", Database((), calls=1))
    monkeypatch.setattr(Campaigning, "write_members", write)
    monkeypatch.setattr(Campaigning, "discard_import", Database(None, calls=1))

    assert run_command_line(["campaign", "import", "spring", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "outbox: 1 of 2 lines were imported, and perhaps more; the same file may be imported again"
    assert len(said) == 2


@pytest.mark.parametrize("twins", [("+525550123456", "+5215550123456"), ("+551161234567", "+5511961234567")])
def test_both_forms_under_two_ids_are_warned_of(twins: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    repeated = RepeatedNumbers()

    repeated.warn(
        [Line(number, external_id, twin, "", "", {}) for number, external_id, twin in zip((2, 3), "ab", twins, strict=True)]
    )

    assert "has another external_id in line 2" in capsys.readouterr().err


def test_number_under_two_ids_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    text = [HEADER, "a,+14155550101\n", "b,+1 415 555 0101\n", "a,+14155550101\n", "c,+14155550102\n"]
    repeated = RepeatedNumbers()

    repeated.warn([line for line in members.read(text, FORM).lines if isinstance(line, Line)])

    words = "warning: +1415•••0101 has another external_id in line 2, so it gets each message twice"
    assert capsys.readouterr().err == f"line 3: {words}\n"
