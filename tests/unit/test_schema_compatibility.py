"""Whether a process may work with the schema that a database has."""

from collections.abc import Container
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from jobs.schema.admission import Admission, SchemaUnfit
from jobs.schema.compatibility import Fit, judge
from jobs.schema.installed import AppliedVersion, InstalledSchema
from jobs.schema.releases import Releases
from tests.small_releases import FIRST, SECOND, THIRD, small_releases


@pytest.fixture
def known(tmp_path: Path) -> Releases:
    """A package with versions 1 and 2."""
    return small_releases(tmp_path / "package", FIRST, SECOND)


def database(*numbers: int, breaking: Container[int] = ()) -> InstalledSchema:
    """A database with these versions. Release 0.N.0 brought version N."""
    return InstalledSchema(tuple(AppliedVersion(number, number in breaking, f"0.{number}.0", None) for number in numbers))


def test_same_versions_fit(known: Releases) -> None:
    verdict = judge(known, database(1, 2))

    assert (verdict.fit, verdict.message, verdict.allows_work) == (Fit.SAME, "", True)


def test_breaking_version_that_is_known_fits(known: Releases) -> None:
    assert judge(known, database(1, 2, breaking={2})).fit is Fit.SAME


def test_empty_database_names_files_and_commands(known: Releases) -> None:
    verdict = judge(known, None)

    assert not verdict.allows_work
    assert verdict.message == (
        "the outbox schema is not in the database: outbox_0001_initial.sql, outbox_0002_pre_routes.sql, "
        "outbox_0002_pre_routes_index.sql are missing; run outbox install and supabase db push"
    )


@pytest.mark.parametrize(
    "installed",
    [database(), InstalledSchema(database(1).versions, seeded=False), InstalledSchema(database(1, 2).versions, seeded=False)],
    ids=["no version", "an older version", "the same version"],
)
def test_squashed_schema_names_the_seeds(known: Releases, installed: InstalledSchema) -> None:
    verdict = judge(known, installed)

    assert (verdict.fit, verdict.allows_work) == (Fit.UNSEEDED, False)
    assert verdict.message == (
        "the outbox schema is in the database without the rows that it needs, as after supabase migration squash: "
        "run `select outbox_engine.seed();` in the SQL editor"
    )


def test_older_database_names_the_missing_pre_files(known: Releases) -> None:
    verdict = judge(known, database(1))

    assert not verdict.allows_work
    assert verdict.message == (
        "the database has schema version 1, this version of supabase-outbox needs 2: outbox_0002_pre_routes.sql, "
        "outbox_0002_pre_routes_index.sql are missing; run outbox install and supabase db push"
    )


def test_newer_harmless_version_allows_work(known: Releases) -> None:
    verdict = judge(known, database(1, 2, 3))

    assert (verdict.fit, verdict.allows_work) == (Fit.NEWER, True)
    assert "schema version 3 (release 0.3.0)" in verdict.message


@pytest.mark.parametrize("numbers", [(1, 2, 3), (1, 2, 3, 4), (3,)])
def test_unknown_breaking_version_forbids_work(known: Releases, numbers: tuple[int, ...]) -> None:
    verdict = judge(known, database(*numbers, breaking={3}))

    assert (verdict.fit, verdict.allows_work) == (Fit.TOO_NEW, False)
    assert "update it to 0.3.0 or newer" in verdict.message


def test_newest_unknown_breaking_version_is_named(known: Releases) -> None:
    verdict = judge(known, database(1, 2, 3, 4, 5, breaking={3, 4}))

    assert "update it to 0.4.0 or newer" in verdict.message


def test_squashed_history_counts_by_its_newest_version(known: Releases) -> None:
    assert judge(known, database(2)).fit is Fit.SAME


def test_package_without_releases_requires_nothing(tmp_path: Path) -> None:
    assert judge(small_releases(tmp_path / "package"), None).fit is Fit.SAME


def test_answer_of_the_database_is_read() -> None:
    answer = {
        "versions": [
            {"version": 2, "breaking": True, "release": "0.2.0", "applied_at": "2027-01-01T00:00:00+00:00", "later": 1},
            {"version": 1, "breaking": False, "release": "0.1.0", "applied_at": None},
        ],
        "processes": 3,
        "old_process_seconds_ago": 7,
        "seeded": False,
        "later": {},
    }

    read = InstalledSchema.parse(answer)

    assert [(one.number, one.breaking, one.release) for one in read.versions] == [(1, False, "0.1.0"), (2, True, "0.2.0")]
    assert (read.newest, read.seeded, read.old_processes, read.old_process_seconds_ago) == (2, False, 3, 7)
    assert InstalledSchema.parse({"versions": []}) == InstalledSchema(())


async def test_newer_version_is_warned_of_once(known: Releases) -> None:
    async def ask() -> InstalledSchema:
        return database(1, 2, 3)

    admission = Admission(ask, known)
    with capture_logs() as logs:
        await admission.require()
        await admission.require()

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("schema.newer", "warning")]


async def test_unfit_database_is_reported_in_one_line(known: Releases, tmp_path: Path) -> None:
    async def ask() -> InstalledSchema:
        return database(1)

    with pytest.raises(SchemaUnfit, match=r"^the database has schema version 1.*missing.*$"):
        await Admission(ask, known).require()
    await Admission(ask, small_releases(tmp_path / "newer", FIRST)).require()


async def test_database_that_is_away_is_no_verdict(known: Releases) -> None:
    async def ask() -> InstalledSchema:
        raise GatewayUnavailable("gone")

    with pytest.raises(GatewayUnavailable):
        await Admission(ask, known).require()


def test_third_version_is_missing_after_two(tmp_path: Path) -> None:
    verdict = judge(small_releases(tmp_path / "package", FIRST, SECOND, THIRD), database(1, 2))

    assert "outbox_0003_pre_events.sql is missing" in verdict.message
