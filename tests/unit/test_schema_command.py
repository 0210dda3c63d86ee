"""`outbox schema`: the SQL that it prints, and what it refuses."""

from pathlib import Path

import pytest

from jobs.schema import releases
from scheduler.cli import run_command_line
from scheduler.installing.script import script
from tests.small_releases import FIRST, SECOND, THIRD, package_with, small_releases

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_with(monkeypatch, tmp_path / "package", FIRST, SECOND, THIRD)


def printed(capsys: Captured, *options: str) -> list[str]:
    """The files that `outbox schema sql` prints."""
    assert run_command_line(["schema", "sql", *options]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return [line.removeprefix("-- ") for line in said.out.splitlines() if line.startswith("-- outbox")]


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ("", ["0001_initial", "0002_pre_routes", "0002_pre_routes_index", "0003_pre_events"]),
        ("--post", ["0001_initial", "0002_pre_routes", "0002_pre_routes_index", "0002_post_routes", "0003_pre_events"]),
        ("--from 1", ["0002_pre_routes", "0002_pre_routes_index", "0003_pre_events"]),
        ("--from 1 --to 2", ["0002_pre_routes", "0002_pre_routes_index"]),
        ("--from 1 --to 2 --post", ["0002_post_routes"]),
        ("--to 1", ["0001_initial"]),
        ("--from 3", []),
    ],
)
def test_sql_leads_from_one_version_to_another(capsys: Captured, options: str, files: list[str]) -> None:
    assert printed(capsys, *options.split()) == [f"outbox_{name}.sql" for name in files]


def test_nothing_to_apply_is_one_comment(capsys: Captured) -> None:
    assert run_command_line(["schema", "sql", "--from", "3"]) == 0

    assert capsys.readouterr().out == "-- nothing to apply: the database has version 3 already\n"


@pytest.mark.parametrize("options", ["--to 4", "--from 4", "--from 2 --to 1", "--to 0", "--from x"])
def test_version_that_does_not_exist_is_refused(capsys: Captured, options: str) -> None:
    code = run_command_line(["schema", "sql", *options.split()])

    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1


def test_types_are_printed_for_both_languages(capsys: Captured, tmp_path: Path) -> None:
    folder = tmp_path / "package" / "types"
    folder.mkdir()
    for name in ("outbox.types.ts", "outbox_types.py"):
        (folder / name).write_text(f"{name}\n")

    assert run_command_line(["schema", "types"]) == 0
    assert run_command_line(["schema", "types", "python"]) == 0
    assert capsys.readouterr().out == "outbox.types.ts\noutbox_types.py\n"
    assert run_command_line(["schema", "types", "ruby"]) == 2
    (folder / "outbox_types.py").unlink()
    assert run_command_line(["schema", "types", "python"]) == 1
    assert "install it again" in capsys.readouterr().err


def test_each_file_is_a_transaction_of_its_own(tmp_path: Path) -> None:
    assert script(small_releases(tmp_path / "small", FIRST, SECOND).files) == (
        "-- outbox_0001_initial.sql\n\nbegin;\n\n"
        "create schema outbox_engine;\ncreate table public.outbox (id bigint);\n\ncommit;\n\n"
        "-- outbox_0002_pre_routes.sql\n\nbegin;\n\nalter table public.outbox add column route text;\n\ncommit;\n\n"
        "-- outbox_0002_pre_routes_index.sql\n\ncreate index concurrently if not exists routes on outbox (route);\n\n"
        "-- outbox_0002_post_routes.sql\n\nbegin;\n\ndrop function if exists public.outbox_old();\n\ncommit;\n"
    )


def test_drop_prints_the_script_and_removes_nothing(capsys: Captured) -> None:
    assert run_command_line(["schema", "drop"]) == 0

    said = capsys.readouterr()
    assert said.out == releases.uninstall_script()
    assert said.err.startswith("outbox: nothing was removed")


def test_drop_without_a_connection_names_the_setting(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("OUTBOX_DB_URL", "")

    assert run_command_line(["schema", "drop", "--yes"]) == 2

    said = capsys.readouterr()
    assert said.out == releases.uninstall_script()
    assert said.err.startswith("outbox: OUTBOX_DB_URL is not set")


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("postgresql://user:hidden@127.0.0.1:9/postgres", 1, "nothing was removed"),
        ("not a url, password=hidden", 2, "OUTBOX_DB_URL: is not a PostgreSQL connection string"),
        ("postgresql://user:a@hidden@127.0.0.1:9/postgres", 2, "OUTBOX_DB_URL: its password has an @ in it"),
    ],
)
def test_drop_that_cannot_connect_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, url: str, code: int, says: str
) -> None:
    monkeypatch.setenv("OUTBOX_DB_URL", url)

    assert run_command_line(["schema", "drop", "--yes"]) == code

    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert "hidden" not in said.err
    assert len(said.err.splitlines()) == 1


def test_damaged_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(releases, "folder", lambda: tmp_path / "nowhere")

    (tmp_path / "config.toml").touch()
    assert [run_command_line(["schema", *words]) for words in (["sql"], ["drop"])] == [1, 1]
    assert run_command_line(["install", "--supabase", str(tmp_path)]) == 1
    assert [line.endswith("install it again") for line in capsys.readouterr().err.splitlines()] == [True] * 3
