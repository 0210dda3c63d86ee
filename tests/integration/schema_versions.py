"""A database whose versions a test chooses, beside an installation that carries versions 1 and 2."""

from pathlib import Path

import pytest

from tests.small_releases import FIRST, SECOND, package_with
from tests.stack import Connection

SEED = "run `select outbox_engine.seed();` in the SQL editor"


class Versions:
    """The versions that the database has."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def apply(self, *numbers: int, breaking: int = 0) -> None:
        """These versions and no others. Release 0.N.0 brought version N."""
        with self._db.transaction():
            self._db.execute("delete from outbox_engine.schema_versions")
            for number in numbers:
                self._db.execute(
                    "insert into outbox_engine.schema_versions values (%s, %s, %s, '2027-01-01T00:00:00Z')",
                    [number, number == breaking, f"0.{number}.0"],
                )


@pytest.fixture
def versions(db: Connection) -> Versions:
    """Each test begins with the versions of the baseline again."""
    return Versions(db)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This installation carries versions 1 and 2."""
    package_with(monkeypatch, tmp_path / "package", FIRST, SECOND)
