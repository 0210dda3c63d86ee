"""`outbox install` in a user's project."""

import re
import sys
from pathlib import Path

import pytest
import typer

from jobs.schema import releases
from scheduler.cli import run_command_line
from tests.small_releases import FIRST, SECOND, THIRD, package_with
from tests.unit.install_project import Captured, answer, migrations, project, updated

__all__ = ["project", "updated"]

(INITIAL,) = FIRST.values()


def test_first_install_writes_the_first_version(project: Path, capsys: Captured) -> None:
    code = run_command_line(["install", "--yes"])

    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    (path,) = (project / "migrations").iterdir()
    assert re.fullmatch(r"20\d{12}_outbox_0001_initial\.sql", path.name)
    assert path.read_text(encoding="utf-8") == INITIAL
    steps = (
        "1. Apply the migrations",
        "supabase start",
        "supabase db push",
        "2. Write the settings",
        "outbox run",
        "outbox doctor",
    )
    assert [said.out.index(step) for step in steps] == sorted(said.out.index(step) for step in steps)
    assert "Old processes" not in said.out


def test_new_project_gets_post_files_at_once(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    package_with(monkeypatch, tmp_path / "later package", FIRST, SECOND)

    run_command_line(["install", "--yes"])

    assert migrations(project) == [
        "outbox_0001_initial.sql",
        "outbox_0002_pre_routes.sql",
        "outbox_0002_pre_routes_index.sql",
        "outbox_0002_post_routes.sql",
    ]
    said = capsys.readouterr().out
    assert said.index("supabase db push") < said.index("outbox run")
    assert "post" not in said.replace("outbox_0002_post_routes.sql", "")
    assert answer(capsys)["pending_post"] == []


def test_second_run_writes_nothing(project: Path, capsys: Captured) -> None:
    run_command_line(["install", "--yes"])

    assert answer(capsys)["written"] == []
    assert run_command_line(["install"]) == 0
    assert "No migration is missing." in capsys.readouterr().out
    assert migrations(project) == ["outbox_0001_initial.sql"]


def test_new_file_sorts_after_younger_user_files(project: Path) -> None:
    (project / "migrations").mkdir()
    (project / "migrations" / "20990101000000_orders.sql").touch()

    run_command_line(["install", "--yes"])

    assert sorted(path.name for path in (project / "migrations").iterdir())[1] == "20990101000001_outbox_0001_initial.sql"


def test_update_writes_pre_files_and_mentions_post(updated: Path, capsys: Captured) -> None:
    code = run_command_line(["install", "--yes"])

    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert migrations(updated)[1:] == ["outbox_0002_pre_routes.sql", "outbox_0002_pre_routes_index.sql"]
    assert "later    outbox_0002_post_routes.sql" in said.out
    assert said.out.index("Old processes may go on") < said.out.index("restart") < said.out.index("outbox install --post")


def test_half_of_a_version_is_completed(updated: Path) -> None:
    run_command_line(["install", "--yes"])
    next((updated / "migrations").glob("*_outbox_0002_pre_routes.sql")).unlink()

    run_command_line(["install", "--yes"])

    assert sorted(migrations(updated)) == [
        "outbox_0001_initial.sql",
        "outbox_0002_pre_routes.sql",
        "outbox_0002_pre_routes_index.sql",
    ]


def test_post_files_are_installed_on_request(updated: Path, capsys: Captured) -> None:
    run_command_line(["install", "--yes"])
    capsys.readouterr()

    assert run_command_line(["install", "--yes", "--post"]) == 0

    said = capsys.readouterr().out
    assert migrations(updated)[-1] == "outbox_0002_post_routes.sql"
    assert said.index("outbox schema status") < said.index("supabase db push") < said.index("need no restart")
    assert answer(capsys)["pending_post"] == []


def test_breaking_version_stops_processes_before_the_push(
    updated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    package_with(monkeypatch, tmp_path / "breaking package", FIRST, SECOND, breaking=2)
    capsys.readouterr()

    run_command_line(["install", "--yes"])

    said = capsys.readouterr().out
    assert (
        said.index("Stop outbox run and outbox webhook") < said.index("supabase db push") < said.index("Start the new release")
    )


def test_skipped_release_is_caught_up_on(updated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_with(monkeypatch, tmp_path / "third package", FIRST, SECOND, THIRD)

    run_command_line(["install", "--yes"])
    run_command_line(["install", "--yes", "--post"])

    assert migrations(updated)[1:] == [
        "outbox_0002_pre_routes.sql",
        "outbox_0002_pre_routes_index.sql",
        "outbox_0003_pre_events.sql",
        "outbox_0002_post_routes.sql",
    ]


@pytest.mark.parametrize("options", [["--yes"], ["--dry-run"], ["--check"]])
def test_post_is_refused_while_files_are_missing(updated: Path, capsys: Captured, options: list[str]) -> None:
    capsys.readouterr()

    assert run_command_line(["install", "--post", *options]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "outbox: --post: outbox_0002_pre_routes.sql, outbox_0002_pre_routes_index.sql are not in the project yet: run outbox "
        "install and supabase db push, restart the processes, then run this again\n"
    )
    assert migrations(updated) == ["outbox_0001_initial.sql"]


def test_post_waits_for_the_next_pre_file(
    updated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    run_command_line(["install", "--yes"])
    package_with(monkeypatch, tmp_path / "third package", FIRST, SECOND, THIRD)

    assert run_command_line(["install", "--yes", "--post"]) == 1
    assert "outbox_0003_pre_events.sql is not in the project yet" in capsys.readouterr().err


def test_post_is_refused_in_a_new_project(project: Path, capsys: Captured) -> None:
    assert run_command_line(["install", "--yes", "--post"]) == 1
    assert "outbox_0001_initial.sql is not in the project yet" in capsys.readouterr().err
    assert not (project / "migrations").exists()


def test_crlf_checkout_counts_as_equal(project: Path, capsys: Captured) -> None:
    run_command_line(["install", "--yes"])
    (path,) = (project / "migrations").iterdir()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    said = answer(capsys)

    assert (said["edited"], said["warnings"], said["missing"]) == ([], [], [])


def test_edited_file_is_named_and_left_alone(project: Path, capsys: Captured) -> None:
    run_command_line(["install", "--yes"])
    (path,) = (project / "migrations").iterdir()
    path.write_text("select 1;\n", encoding="utf-8")
    capsys.readouterr()

    code = run_command_line(["install", "--yes"])

    said = capsys.readouterr()
    assert code == 0
    assert said.err.startswith(f"warning: {path.name} differs from the released file.")
    assert path.read_text(encoding="utf-8") == "select 1;\n"
    assert migrations(project) == ["outbox_0001_initial.sql"]


def test_renamed_file_counts_as_installed(project: Path, capsys: Captured) -> None:
    (project / "migrations").mkdir()
    (project / "migrations" / "20260101_my_outbox_0001_texts.sql").write_text(INITIAL, encoding="utf-8")

    said = answer(capsys, "--check")

    assert (said["there"], said["edited"]) == (["20260101_my_outbox_0001_texts.sql"], [])


def test_second_copy_is_named_and_fails_the_check(project: Path, capsys: Captured) -> None:
    """Two people ran the command on two branches."""
    run_command_line(["install", "--yes"])
    (project / "migrations" / "20990101000000_outbox_0001_initial.sql").write_text(INITIAL, encoding="utf-8")

    said = answer(capsys, "--check", code=1)

    assert said["missing"] == []
    assert any("is a second copy" in warning for warning in said["warnings"])
    ends = {words: run_command_line(["install", *words.split()]) for words in ("--check", "--yes")}
    out = " ".join(capsys.readouterr().out.split())
    assert ends == {"--check": 1, "--yes": 0}
    assert "Not complete: delete 20990101000000_outbox_0001_initial.sql." in out
    assert "one is there twice: delete 20990101000000_outbox_0001_initial.sql." in out


def test_second_copy_stands_for_no_other_file(updated: Path) -> None:
    run_command_line(["install", "--yes"])
    next((updated / "migrations").glob("*_index.sql")).unlink()
    (copied,) = (updated / "migrations").glob("*_routes.sql")
    (updated / "migrations" / "20990101000000_outbox_0002_pre_routes.sql").write_bytes(copied.read_bytes())

    run_command_line(["install", "--yes"])

    assert migrations(updated)[-1] == "outbox_0002_pre_routes_index.sql"


def test_check_names_missing_files_and_changes_nothing(project: Path, capsys: Captured) -> None:
    code = run_command_line(["install", "--check"])

    assert code == 1
    assert re.search(r"missing  20\d{12}_outbox_0001_initial\.sql", capsys.readouterr().out)
    assert not (project / "migrations").exists()


def test_check_passes_where_only_post_is_pending(updated: Path) -> None:
    assert run_command_line(["install", "--check"]) == 1
    run_command_line(["install", "--yes"])

    assert run_command_line(["install", "--check"]) == 0
    assert run_command_line(["install", "--check", "--post"]) == 1


def test_dry_run_shows_the_steps_and_writes_nothing(project: Path, capsys: Captured) -> None:
    code = run_command_line(["install", "--dry-run"])

    said = capsys.readouterr().out
    assert code == 0
    assert "outbox_0001_initial.sql" in said
    assert "supabase db push" in said
    assert not (project / "migrations").exists()


def test_question_without_a_terminal_names_yes(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)

    code = run_command_line(["install"])

    assert code == 2
    assert "--yes" in capsys.readouterr().err
    assert not (project / "migrations").exists()


@pytest.mark.parametrize("agrees", [True, False])
def test_files_are_written_once_the_user_agrees(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, agrees: bool
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return agrees

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", confirm)

    code = run_command_line(["install"])

    assert asked == [f"Write 1 file into {Path('supabase') / 'migrations'}?"]
    assert code == (0 if agrees else 1)
    assert (project / "migrations").exists() == agrees


def test_failure_to_write_is_one_line(project: Path, capsys: Captured) -> None:
    (project / "migrations").write_text("a file, no folder", encoding="utf-8")

    code = run_command_line(["install", "--yes"])

    said = capsys.readouterr().err
    assert code == 1
    assert said.startswith("outbox: nothing was written: ")
    assert len(said.splitlines()) == 1


def test_folder_without_a_project_ends_with_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    package_with(monkeypatch, tmp_path / "package", FIRST)
    monkeypatch.chdir(tmp_path)

    assert run_command_line(["install"]) == 2
    assert run_command_line(["install", "--supabase", "app"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_repository_of_the_outbox_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(releases.folder())

    assert run_command_line(["install", "--yes"]) == 2
    assert "repository of the outbox" in capsys.readouterr().err


def test_build_without_a_release_installs_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    package_with(monkeypatch, tmp_path / "empty package")

    assert run_command_line(["install", "--check"]) == 1
    assert "carries no released schema version" in capsys.readouterr().err


# Other histories


def test_older_package_writes_nothing_into_a_newer_project(
    updated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    run_command_line(["install", "--yes"])
    package_with(monkeypatch, tmp_path / "older package", FIRST)

    said = answer(capsys, "--yes")

    assert (said["written"], said["missing"]) == ([], [])
    assert sum("comes from a newer release" in warning for warning in said["warnings"]) == 2


def test_migrations_that_are_not_pushed_are_warned_of(project: Path, capsys: Captured) -> None:
    (project / "config.toml").write_text("[db.migrations]\nenabled = false\n", encoding="utf-8")

    assert any("supabase db push skips migrations" in warning for warning in answer(capsys, "--dry-run")["warnings"])


def test_version_that_older_clis_sort_late_is_named(project: Path, capsys: Captured) -> None:
    (project / "migrations").mkdir()
    (project / "migrations" / "2_orders.sql").touch()

    assert any("puts 2 after the new files" in warning for warning in answer(capsys, "--dry-run")["warnings"])


# Words


@pytest.mark.parametrize("options", [["--dry-run"], ["--check"], ["--yes"], ["--yes", "--post"]])
def test_lines_fit_a_terminal_of_80_columns(updated: Path, capsys: Captured, options: list[str]) -> None:
    (updated / "migrations" / "2_orders.sql").touch()
    (updated / "schemas").mkdir()
    (updated / "schemas" / "orders.sql").touch()
    if "--post" in options:
        run_command_line(["install", "--yes"])
    capsys.readouterr()

    run_command_line(["install", *options])

    said = capsys.readouterr()
    assert [line for line in (said.out + said.err).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("folder", ["", "migrations"])
def test_project_is_named_from_inside_it(updated: Path, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """A path such as ".." does not say which project was found."""
    monkeypatch.chdir(updated / folder)
    capsys.readouterr()

    run_command_line(["install", "--check"])

    assert capsys.readouterr().out.split()[:2] == ["Project:", str(updated.resolve())]


def test_help_names_every_option(capsys: Captured) -> None:
    assert run_command_line(["install", "--help"]) == 0

    said = capsys.readouterr().out
    for option in ("--supabase", "--yes", "--dry-run", "--check", "--post", "--from", "--json"):
        assert option in said
