"""Released schema files: read from a folder, included in the wheel, and never changed."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from jobs.schema import releases
from jobs.schema.releases import MANIFEST, MIGRATIONS, TYPES, UNINSTALL, BrokenPackage, Kind, Releases, digest
from tests.small_releases import FIRST, SECOND, make_releases, small_releases

ROOT = Path(__file__).parents[2]
CHECK = ROOT / ".ci" / "releases.py"
IN_WHEEL = "jobs/schema/released/"


def test_files_come_in_the_order_they_run(tmp_path: Path) -> None:
    read = small_releases(tmp_path / "package", FIRST, dict(reversed(SECOND.items())))

    assert [(file.number, file.kind, file.name) for file in read.files] == [
        (1, Kind.MAIN, "outbox_0001_initial.sql"),
        (2, Kind.PRE, "outbox_0002_pre_routes.sql"),
        (2, Kind.PRE, "outbox_0002_pre_routes_index.sql"),
        (2, Kind.POST, "outbox_0002_post_routes.sql"),
    ]
    assert read.newest == 2
    assert read.version(2).release == "0.2.0"


def test_text_and_digest_ignore_line_endings(tmp_path: Path) -> None:
    folder = make_releases(tmp_path / "package", FIRST)
    (name,) = FIRST
    path = folder / MIGRATIONS / name
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    (file,) = Releases.read(folder).files

    assert file.text == FIRST[name]
    assert file.sha256 == digest(FIRST[name].encode()) == digest(path.read_bytes())


@pytest.mark.parametrize("broken", ["", "{}", '{"versions": [{}]}', '{"versions": [{"version": 1, "files": ["x.sql"]}]}'])
def test_broken_package_says_to_install_again(tmp_path: Path, broken: str) -> None:
    (tmp_path / MANIFEST).write_text(broken, encoding="utf-8")

    with pytest.raises(BrokenPackage, match="install it again"):
        Releases.read(tmp_path)


def test_package_without_files_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BrokenPackage):
        Releases.read(tmp_path)


def test_this_checkout_can_be_read() -> None:
    assert releases.folder() == ROOT / "supabase"
    assert releases.packaged().newest == len(releases.packaged().versions)
    assert releases.uninstall_script()


def released_files() -> dict[str, bytes]:
    folder = ROOT / "supabase"
    paths = [folder / MANIFEST, folder / UNINSTALL]
    paths += [path for part in (MIGRATIONS, TYPES, "examples") for path in (folder / part).iterdir()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def in_wheel(project: Path, folder: Path) -> dict[str, bytes]:
    """The released files in the wheel of a project, by their paths."""
    (wheel,) = WheelBuilder(str(project)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert [name for name in names if name.startswith("supabase/")] == []
        return {name.removeprefix(IN_WHEEL): archive.read(name) for name in names if name.startswith(IN_WHEEL)}


def test_wheel_carries_the_files_of_the_checkout(tmp_path: Path) -> None:
    assert in_wheel(ROOT, tmp_path) == released_files()


def test_wheel_of_the_source_archive_carries_them(tmp_path: Path) -> None:
    (archive,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(tmp_path / "source", filter="data")
    (project,) = (tmp_path / "source").iterdir()

    assert in_wheel(project, tmp_path) == released_files()


def test_files_of_a_wheel_are_read_from_it(tmp_path: Path) -> None:
    for name, content in in_wheel(ROOT, tmp_path).items():
        path = tmp_path / "released" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    assert Releases.read(tmp_path / "released") == releases.packaged()


# The check that `make check` runs


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    make_releases(tmp_path / "supabase", FIRST, SECOND)
    return tmp_path


def checked(repository: Path, *arguments: str) -> list[str]:
    run = subprocess.run([sys.executable, CHECK, *arguments], cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == bool(run.stdout)
    assert run.stderr == ""
    return run.stdout.splitlines()


def change(repository: Path, name: str) -> None:
    path = repository / "supabase" / MIGRATIONS / name
    path.write_text(path.read_text(encoding="utf-8") + "-- changed\n", encoding="utf-8")


def freeze(repository: Path, *versions: int) -> None:
    manifest = repository / "supabase" / MANIFEST
    entries = json.loads(manifest.read_text(encoding="utf-8"))
    for entry in entries["versions"]:
        entry["frozen"] = entry["version"] in versions
    manifest.write_text(json.dumps(entries), encoding="utf-8")


def test_unchanged_files_are_fine(repository: Path) -> None:
    freeze(repository, 1)

    assert checked(repository) == []


def test_changed_file_of_a_frozen_version_is_refused(repository: Path) -> None:
    freeze(repository, 1)
    (name,) = FIRST
    change(repository, name)

    for arguments in ([], ["renew"]):
        (complaint,) = checked(repository, *arguments)
        assert f"{name}: was changed after its release 0.1.0; restore it" in complaint


def test_changed_file_of_an_open_version_is_renewed(repository: Path) -> None:
    freeze(repository, 1)
    name = next(iter(SECOND))
    change(repository, name)
    new = repository / "supabase" / MIGRATIONS / "20261201100009_outbox_0002_pre_more.sql"
    new.write_text("select 1;\n", encoding="utf-8")

    changed, unlisted = checked(repository)
    assert f"{name}: was changed; python .ci/releases.py renew" in changed
    assert f"{new.name}: is not in releases.json" in unlisted

    assert checked(repository, "renew") == []
    assert checked(repository) == []


def test_missing_file_of_a_frozen_version_is_refused(repository: Path) -> None:
    freeze(repository, 1, 2)
    (repository / "supabase" / MIGRATIONS / next(iter(SECOND))).unlink()

    (complaint,) = checked(repository, "renew")

    assert complaint.endswith("is missing")


def test_frozen_version_after_an_open_one_is_refused(repository: Path) -> None:
    freeze(repository, 2)

    (complaint,) = checked(repository)

    assert "version 2 is frozen, version 1 before it is not" in complaint


def test_manifest_that_is_missing_is_refused(tmp_path: Path) -> None:
    (complaint,) = checked(tmp_path)

    assert "releases.json cannot be read" in complaint
