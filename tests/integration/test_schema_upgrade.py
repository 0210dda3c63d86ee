"""A schema that was upgraded is the same as a new one."""

from pathlib import Path

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from sandbox.schema.catalogue import catalogue
from sandbox.schema.release import Release
from tests.integration.test_schema import project
from tests.small_schema import FIRST, NOON, SECOND, migrations, second_release


@pytest.fixture
def released(tmp_path: Path) -> list[str]:
    """The migrations of two versions: initial, pre, concurrently, post."""
    supabase = second_release(tmp_path / "supabase")
    assert Release(supabase).write(NOON) == []
    return list(migrations(supabase).values())


def test_upgraded_and_new_schema_have_one_catalogue(local_stack: LocalStack, released: list[str]) -> None:
    with project(local_stack, *SECOND.values()) as new, project(local_stack, *released) as upgraded:
        assert catalogue(upgraded) == catalogue(new)
        versions = "select version, breaking, release from outbox_engine.schema_versions order by 1"
        assert upgraded.execute(versions).fetchall() == [(1, False, "0.1.0"), (2, False, "0.2.0")]


@pytest.mark.parametrize(
    ("start", "counts"),
    [
        ("create table public.outbox_things (", False),
        ("create table outbox_engine.queue_bounds (", True),
        ("create type outbox_engine.pair as (", True),
    ],
)
def test_order_counts_where_rows_are_positional(local_stack: LocalStack, start: str, counts: bool) -> None:
    schema = "create schema outbox_engine;"
    with (
        project(local_stack, schema, f"{start}first text, last text)") as one,
        project(local_stack, schema, f"{start}last text, first text)") as other,
    ):
        assert (catalogue(one) != catalogue(other)) == counts


def test_dropped_column_leaves_no_gap(local_stack: LocalStack) -> None:
    schema = "create schema outbox_engine;"
    changed = "create type outbox_engine.pair as (old text, first text); alter type outbox_engine.pair drop attribute old"
    with (
        project(local_stack, schema, "create type outbox_engine.pair as (first text)") as one,
        project(local_stack, schema, changed) as other,
    ):
        assert catalogue(one) == catalogue(other)


def test_pre_file_leaves_what_older_processes_call(local_stack: LocalStack, released: list[str]) -> None:
    with project(local_stack, *FIRST.values()) as old, project(local_stack, *released[:2]) as upgraded:
        functions = {line for line in catalogue(upgraded) if line.startswith("function")}
        gone = {line for line in catalogue(old) if line.startswith("function")} - functions

        assert {"outbox_engine.twice" in line or "outbox_engine.seed" in line for line in gone} == {True}
        upgraded.execute("insert into public.outbox_things (name) values ('one')")
        assert upgraded.execute("select thing from outbox_engine.notes").fetchall() == [("one",)]


def test_names_of_the_project_are_all_reported(local_stack: LocalStack, released: list[str]) -> None:
    mine = (
        "create table public.outbox_things_name (id integer);"
        " create function public.outbox_new(text, text) returns text language sql as $$ select 'mine' $$"
    )
    with project(local_stack, released[0], mine) as connection:
        before = catalogue(connection)
        with pytest.raises(psycopg.errors.DuplicateObject) as refused:
            connection.execute(released[1].encode())

        assert catalogue(connection) == before
    assert refused.value.diag.message_primary == (
        "the outbox needs names that are taken: function public.outbox_new(text, text), table public.outbox_things_name"
    )


def test_pre_file_waits_shortly_for_locks(local_stack: LocalStack, released: list[str]) -> None:
    """Its timeout ends with its transaction."""
    with project(local_stack, released[0]) as connection:
        before = connection.execute("show lock_timeout").fetchone()
        with connection.transaction():
            connection.execute(released[1].encode())
            assert connection.execute("show lock_timeout").fetchone() == ("5s",)
        assert connection.execute("show lock_timeout").fetchone() == before
