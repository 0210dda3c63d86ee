"""Finding a user's project, reading its configuration, and writing into it."""

from pathlib import Path

import pytest

from scheduler.installing.files import write_all
from scheduler.installing.project import NoProject, find


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "app" / "supabase"
    (folder / "migrations").mkdir(parents=True)
    (folder / "config.toml").write_text('project_id = "app"\n', encoding="utf-8")
    return folder


@pytest.mark.parametrize("start", ["app", "app/supabase", "app/supabase/migrations", "app/src/deep"])
def test_project_is_found_here_or_above(project: Path, tmp_path: Path, start: str) -> None:
    (tmp_path / start).mkdir(parents=True, exist_ok=True)

    assert find(tmp_path / start).folder == project


@pytest.mark.parametrize("given", ["app", "app/supabase"])
def test_named_project_may_be_either_folder(project: Path, tmp_path: Path, given: str) -> None:
    assert find(tmp_path, tmp_path / given).folder in (project, tmp_path / given)


@pytest.mark.parametrize("given", [None, "app/src", "nowhere"])
def test_folder_without_a_project_is_refused(tmp_path: Path, given: str | None) -> None:
    with pytest.raises(NoProject, match=r"config\.toml.*supabase init"):
        find(tmp_path, None if given is None else tmp_path / given)


def test_unreadable_configuration_is_named(project: Path) -> None:
    (project / "config.toml").write_text("project_id = \n", encoding="utf-8")

    with pytest.raises(NoProject, match=r"config\.toml cannot be read"):
        find(project)


@pytest.mark.parametrize(
    ("config", "declares", "pushes"),
    [
        ("\ufeff[db]\nport = 1\r\n", False, True),
        ('[db.migrations]\nschema_paths = ["./schemas/*.sql"]\n', True, True),
        ("[db.migrations]\nenabled = false\nschema_paths = []\n", False, False),
        ('db = "odd"\n', False, True),
    ],
)
def test_configuration_says_how_migrations_are_used(project: Path, config: str, declares: bool, pushes: bool) -> None:
    (project / "config.toml").write_text(config, encoding="utf-8")

    found = find(project)

    assert (found.declares_schema, found.pushes_migrations) == (declares, pushes)


def test_files_in_schemas_declare_the_schema(project: Path) -> None:
    (project / "schemas" / "orders").mkdir(parents=True)
    assert not find(project).declares_schema

    (project / "schemas" / "orders" / "orders.sql").touch()
    assert find(project).declares_schema


def test_versions_come_from_migrations_and_folders(project: Path) -> None:
    for name in ("20260101_a.sql", "0_b.sql", "notes.md", "20400101_notes.txt"):
        (project / "migrations" / name).touch()
    (project / "migrations" / "20260102_folder").mkdir()

    found = find(project)

    assert found.versions() == {"20260101", "0", "20260102"}
    assert [path.name for path in found.migration_files()] == ["0_b.sql", "20260101_a.sql"]


def everything(folder: Path) -> dict[str, str | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_files_are_written_with_lf_in_new_folders(tmp_path: Path) -> None:
    write_all({tmp_path / "a" / "b" / "one.sql": "select 1;\n", tmp_path / "two.sql": "é\n"})

    assert (tmp_path / "a" / "b" / "one.sql").read_bytes() == b"select 1;\n"
    assert everything(tmp_path) == {"a": None, "a/b": None, "a/b/one.sql": "select 1;\n", "two.sql": "é\n"}


def test_existing_file_is_kept_and_nothing_written(tmp_path: Path) -> None:
    (tmp_path / "two.sql").write_text("mine", encoding="utf-8")

    with pytest.raises(FileExistsError):
        write_all({tmp_path / "new" / "one.sql": "1", tmp_path / "two.sql": "2", tmp_path / "three.sql": "3"})

    assert everything(tmp_path) == {"two.sql": "mine"}


@pytest.mark.parametrize(
    ("method", "failing"),
    [("mkdir", 1), ("write_text", 1), ("write_text", 2), ("write_text", 3), ("rename", 1), ("rename", 2), ("replace", 1)],
)
def test_failure_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, failing: int
) -> None:
    replaced, new = tmp_path / "replaced.sql", [tmp_path / "new" / "one.sql", tmp_path / "two.sql"]
    replaced.write_text("before", encoding="utf-8")
    original = getattr(Path, method)
    calls = 0

    def fail(self: Path, *arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, method, fail)
        with pytest.raises(KeyboardInterrupt):
            write_all(dict.fromkeys(new, "1"), replaced={replaced: "after"})

    assert everything(tmp_path) == {"replaced.sql": "before"}
