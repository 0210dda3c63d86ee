"""`make bench ARGS=upgrade`: what it reports of an upgrade whose locks are known."""

from pathlib import Path

import pytest

from benchmarks import upgrade
from benchmarks.result import Options
from jobs.schema import releases
from jobs.schema.releases import MIGRATIONS
from tests.small_releases import package_with

ROWS = 300
INDEX = "create index concurrently if not exists outbox_sender on public.outbox (sender);\n"
PRE = """
-- A column, and a trigger.
alter table public.outbox add column route text;
update public.outbox set route = 'a' where id < 10;
create trigger outbox_events_nothing before update on public.outbox_events
for each row execute function suppress_redundant_updates_trigger();
create table public.outbox_routes (id bigint);
"""
NEW = {
    "20990101000000_outbox_0002_pre_routes.sql": PRE,
    "20990101000001_outbox_0002_pre_routes_concurrently.sql": INDEX,
    "20990101000002_outbox_0002_post_routes.sql": "drop table public.outbox_opt_out_words;\n",
}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This installation's first version, and a second one."""
    folder = releases.folder() / MIGRATIONS
    first = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*_outbox_0001_*.sql")}
    package_with(monkeypatch, tmp_path / "package", first, NEW)


def test_statements_are_reported_with_their_strongest_locks() -> None:
    result = upgrade.run(Options(rows=ROWS))

    timed = [figure.case.partition(":")[0] for figure in result.figures if figure.name == "time"]
    locked = [figure.case.rpartition(": ")[2] for figure in result.figures if figure.name == "held"]
    assert timed == [
        "outbox_0002_pre_routes.sql 1",
        "outbox_0002_pre_routes.sql 2",
        "outbox_0002_pre_routes.sql 3",
        "outbox_0002_pre_routes.sql 4",
        "outbox_0002_pre_routes_concurrently.sql 1",
        "outbox_0002_post_routes.sql 1",
    ]
    assert locked == [
        "AccessExclusiveLock on public.outbox",
        "ShareRowExclusiveLock on public.outbox_events",
        "AccessExclusiveLock on public.outbox_opt_out_words",
    ]
    assert result.figures[0].case == "outbox_0002_pre_routes.sql 1: alter table public.outbox add column route text"
    altered, held, updated, *_ = result.figures
    assert held.median >= altered.median + updated.median, "the lock is held until the commit"
    assert "Version 2, on 300 finished messages" in result.notes[0]


@pytest.mark.parametrize("version", [1, 3])
def test_version_without_an_upgrade_is_refused(version: int) -> None:
    with pytest.raises(SystemExit, match="versions 1 to 2"):
        upgrade.run(Options(version=version))
