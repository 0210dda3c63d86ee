"""Lists of opt-outs and of members as files: none of their lines goes missing without a word."""

import asyncio
import csv
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs import members, opt_outs
from jobs.csv_rows import NotATable
from jobs.gateway.campaigning import Campaigning
from jobs.gateway.operating import Operating, Suppression
from scheduler.cli import run_command_line

READERS: list[Callable[[list[str]], object]] = [opt_outs.read, lambda lines: list(members.read(lines))]
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
def test_a_file_that_cannot_be_read_to_its_end_is_refused_by_the_line(
    read: Callable[[list[str]], object], lines: list[str], says: str
) -> None:
    with pytest.raises(NotATable, match=says):
        read(lines)


def test_a_list_without_a_header_is_told_of_its_semicolons_too() -> None:
    with pytest.raises(NotATable, match="semicolons"):
        opt_outs.read(["+14155550101;moved\n"])


def test_a_nul_in_a_list_is_told_with_its_line() -> None:
    reading = opt_outs.read(["recipient,reason\n", "+14155550101,a\0b\n", "+14155550102,\n"])

    assert [(one.line, one.why) for one in reading.refused] == [(2, "it contains a NUL character")]
    assert [one.recipient for one in reading.suppressions] == ["+14155550102"]


@given(st.text("'=+-@\uff1d x", min_size=1, max_size=8).map(str.strip))
@example('=HYPERLINK("http://example.com")')
@example("'=1")
@example("''-")
def test_no_reason_is_a_formula_to_a_spreadsheet_and_each_is_read_back(reason: str) -> None:
    one = Suppression("+14155550101", reason, replied=False)

    written = opt_outs.line_of(one)

    assert written[0] == "+14155550101"
    assert not written[1].lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
    out = io.StringIO()
    csv.writer(out).writerows([opt_outs.COLUMNS, written])
    assert opt_outs.read(out.getvalue().splitlines(keepends=True)).suppressions == (one,)


# Ctrl-C


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is never asked: what would ask is replaced."""
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_x")


class Database:
    """Takes so many calls, and at the next one the operator has had enough."""

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
        (0, "perhaps the first 5000 of 12000 numbers were imported"),
        (2, "the first 10000 and perhaps the next 2000 of 12000 numbers were imported"),
    ],
)
@pytest.mark.usefixtures("project")
def test_who_stops_the_import_of_a_list_is_told_how_far_it_came(
    calls: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("".join(f"+1415{n:07d}\n" for n in range(5550000, 5562000)), encoding="utf-8")
    monkeypatch.setattr(Operating, "import_suppressions", Database(5000, calls=calls))

    assert run_command_line(["suppressions", "import", str(file)]) == 130
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"outbox: stopped; {says}; the same file may be imported again\n")


@pytest.mark.parametrize(
    ("calls", "says"), [(1, "nothing was imported"), (2, "all lines were being imported, and nobody knows whether they were")]
)
@pytest.mark.usefixtures("project")
def test_who_stops_the_import_of_members_is_told_whether_any_came_in(
    calls: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "members.csv"
    file.write_text(HEADER + "a,+14155550101\n", encoding="utf-8")
    database = Database((), calls=calls)
    for name in ("stage", "commit_import"):
        monkeypatch.setattr(Campaigning, name, database)
    monkeypatch.setattr(Campaigning, "discard_import", Database(None, calls=1))

    assert run_command_line(["campaign", "import", "spring", str(file)]) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"outbox: stopped; {says}")
    assert len(said.err.splitlines()) == 1
