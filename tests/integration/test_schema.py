"""The schema in a database of its own: what it creates, which roles it grants what, and what it does if its names are taken."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from jobs.schema import releases
from jobs.schema.releases import TypesFor
from sandbox.local.stack import LocalStack
from sandbox.schema import release, source
from sandbox.schema.apply import apply
from sandbox.schema.catalogue import catalogue
from sandbox.types.files import texts
from sandbox.types.probing import NoSample
from tests.calls import accept, claim, report
from tests.engine import insert, number, statuses
from tests.stack import Connection, squash

PREFLIGHT = (release.SCHEMAS / "00_preflight.sql").read_text(encoding="utf-8")
RELATIONS = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind <> 'c' order by 1"
FUNCTIONS = "select distinct proname from pg_proc where pronamespace = 'public'::regnamespace order by 1"
# Objects that a project may have before the outbox is installed, some of them with our names.
PROJECT = """
    create table public.templates (id integer primary key);
    create table public.campaigns (id integer primary key);
    create table public.orders (id integer primary key);
    create function public.outbox_mine() returns integer language sql as 'select 1';
    create table public.outboxes (id bigint generated always as identity primary key);
    grant all on public.outboxes to anon;
    grant execute on function public.outbox_mine() to anon, authenticated;
"""
FOREIGN = """
    select c.relname || coalesce(c.relacl::text, '') from pg_class c
    where c.relnamespace = 'public'::regnamespace
      and c.relname in ('templates', 'campaigns', 'orders', 'outboxes', 'outboxes_id_seq')
    union all
    select p.proname || coalesce(p.proacl::text, '') from pg_proc p where p.proname = 'outbox_mine'
    order by 1
"""
EXECUTABLE = """
    select p.oid::regprocedure::text
    from pg_proc p
    where p.pronamespace = any (array['public', 'outbox_engine']::regnamespace[])
      and has_function_privilege(%s, p.oid, 'execute')
    order by 1
"""
SEQUENCES = """
    select s.sequencename from pg_sequences s
    where s.schemaname in ('public', 'outbox_engine')
      and has_sequence_privilege(%s, format('%%I.%%I', s.schemaname, s.sequencename), 'usage, select, update')
    order by 1
"""
# Logical replication refuses to update or delete rows of other tables.
KEYLESS = """
    select c.oid::regclass::text
    from pg_class c
    where c.relnamespace = any (array['public', 'outbox_engine']::regnamespace[]) and c.relkind in ('r', 'p')
      and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
    order by 1
"""

TRIGGERS = """
    select tgname from pg_trigger where tgrelid = 'public.outbox'::regclass and not tgisinternal order by 1
"""
SEARCH_PATHS = """
    select p.oid::regprocedure::text
    from pg_proc p
    where p.pronamespace = any (array['public', 'outbox_engine']::regnamespace[])
      and 'search_path=pg_catalog, pg_temp' <> all (coalesce(p.proconfig, '{}'))
    order by 1
"""
# Types that a function finds in pg_temp first, unless its search_path says otherwise. They record the role that checks a
# value.
SHADOWS = """
    create table pg_temp.checked (by_role text);
    grant insert on pg_temp.checked to public;
    create function pg_temp.note(p_value text) returns boolean language plpgsql as $$
    begin
      insert into pg_temp.checked values (current_user);
      return true;
    end $$;
    create domain pg_temp.timestamptz as pg_catalog.timestamptz check (pg_temp.note(value::pg_catalog.text));
    create domain pg_temp.jsonb as pg_catalog.jsonb check (pg_temp.note(value::pg_catalog.text));
    create domain pg_temp.uuid as pg_catalog.uuid check (pg_temp.note(value::pg_catalog.text));
"""


SOURCES = list(source.texts(release.SCHEMAS).values())
MIGRATIONS = list(source.texts(release.SUPABASE / "migrations").values())


@contextmanager
def project(stack: LocalStack, *scripts: str) -> Iterator[Connection]:
    """An empty database in which ``postgres``, the owner of a project, ran these scripts."""
    name = f"schema_{secrets.token_hex(4)}"
    with psycopg.connect(stack.admin_url, autocommit=True) as admin:
        admin.execute(SQL("create database {} owner postgres").format(Identifier(name)))
        try:
            with psycopg.connect(make_conninfo(stack.admin_url, dbname=name), autocommit=True) as connection:
                connection.execute(
                    "alter default privileges for role postgres in schema public"
                    " grant all on tables to anon, authenticated, service_role;"
                    " alter default privileges for role postgres in schema public"
                    " grant all on sequences to anon, authenticated, service_role;"
                    " alter default privileges for role postgres in schema public"
                    " grant all on functions to anon, authenticated, service_role;"
                    " grant create on schema public to postgres; set role postgres"
                )
                for script in scripts:
                    apply(connection, script)
                yield connection
        finally:
            admin.execute(SQL("drop database {} with (force)").format(Identifier(name)))


def column(connection: Connection, question: str, *values: object) -> list[str]:
    return [str(value) for (value,) in connection.execute(question.encode(), values or None).fetchall()]


@pytest.fixture(scope="module")
def fresh(local_stack: LocalStack) -> Iterator[Connection]:
    """A project to which the release was applied."""
    with project(local_stack, PROJECT, *MIGRATIONS) as connection:
        yield connection


@pytest.fixture(scope="module")
def alone(local_stack: LocalStack) -> Iterator[Connection]:
    """An empty project to which the release was applied. No test leaves anything in it."""
    with project(local_stack, *MIGRATIONS) as connection:
        yield connection


def test_sources_and_migrations_make_one_catalogue(local_stack: LocalStack, alone: Connection) -> None:
    with project(local_stack, *SOURCES) as sources:
        assert catalogue(sources) == catalogue(alone)


def test_shipped_types_are_those_of_the_schema(alone: Connection) -> None:
    shipped = {language.file: releases.types(language) for language in TypesFor}

    assert texts(alone) == shipped, "make types writes them"


def test_types_follow_columns_functions_and_triggers(alone: Connection) -> None:
    with alone.transaction(force_rollback=True):
        alone.execute(
            "alter table public.outbox add colour text; alter table public.outbox disable trigger outbox_3_app_update;"
            " drop function public.outbox_text"
        )
        changed = texts(alone)["outbox.types.ts"]

    shipped = releases.types(TypesFor.TYPESCRIPT)
    for line, is_new in [("colour: string | null", True), ("sender?: never", False), ("outbox_text: {", False)]:
        assert (f" {line}\n" in changed, f" {line}\n" in shipped) == (is_new, not is_new)


def test_unknown_table_for_apps_needs_a_sample(alone: Connection) -> None:
    with alone.transaction(force_rollback=True):
        alone.execute("create table public.outbox_notes (note text); grant insert on public.outbox_notes to service_role")
        with pytest.raises(NoSample, match="outbox_notes"):
            texts(alone)


def test_every_name_in_public_begins_with_outbox(fresh: Connection) -> None:
    ours = set(column(fresh, RELATIONS)) - {
        "templates",
        "templates_pkey",
        "campaigns",
        "campaigns_pkey",
        "orders",
        "orders_pkey",
    }

    assert [name for name in ours if not name.startswith("outbox")] == []
    assert [name for name in column(fresh, FUNCTIONS) if not name.startswith("outbox_")] == []


def test_foreign_objects_keep_their_rights(local_stack: LocalStack, fresh: Connection) -> None:
    with project(local_stack, PROJECT) as before:
        assert column(fresh, FOREIGN) == column(before, FOREIGN)


@pytest.mark.parametrize("role", ["anon", "public"])
def test_public_roles_execute_only_outbox_mine(fresh: Connection, role: str) -> None:
    grantee = role if role != "public" else "pg_monitor"

    assert column(fresh, EXECUTABLE, grantee) == ["outbox_mine()"]


def test_signed_in_users_execute_only_policy_functions(fresh: Connection) -> None:
    assert column(fresh, EXECUTABLE, "authenticated") == [
        "outbox_engine.caller_id()",
        "outbox_engine.now()",
        "outbox_engine.refuse(text,text)",
        "outbox_events(outbox)",
        "outbox_mine()",
    ]


def test_every_function_searches_pg_temp_last(fresh: Connection) -> None:
    assert column(fresh, SEARCH_PATHS) == ["outbox_mine()"]


@pytest.mark.parametrize(
    ("search_path", "runs_as"), [("pg_catalog, pg_temp", []), ("''", ["postgres"])], ids=["ours", "an empty one"]
)
def test_temporary_types_do_not_run_as_owner(fresh: Connection, search_path: str, runs_as: list[str]) -> None:
    """An empty search path is the control: with it, a caller's type runs code of the caller as the owner."""
    with psycopg.connect(fresh.info.dsn, password=fresh.info.password) as caller:
        caller.execute("alter function outbox_engine.before_insert() set search_path = " + search_path)
        caller.execute("alter function public.outbox_take_alarms(smallint) set search_path = " + search_path)
        caller.execute("set local role service_role")
        caller.execute(SHADOWS)
        caller.execute("insert into public.outbox (recipient, body) values ('+14155550123', 'hello')")
        caller.execute("select public.outbox_take_alarms(1::smallint)")
        assert column(caller, "select distinct by_role from pg_temp.checked") == runs_as
        caller.rollback()


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_no_api_role_has_rights_on_our_sequences(fresh: Connection, role: str) -> None:
    assert column(fresh, SEQUENCES, role) == ["outboxes_id_seq"]


def test_each_outbox_trigger_has_its_own_place(fresh: Connection) -> None:
    """Triggers of one event run in the order of their names."""
    triggers = column(fresh, TRIGGERS)

    assert [name[:9] for name in triggers] == [f"outbox_{place}_" for place in "123456789abcdefgh"]


def test_every_table_has_a_primary_key(fresh: Connection) -> None:
    assert set(column(fresh, KEYLESS)) - {"outboxes"} == set()


def test_preflight_knows_every_name_we_create(alone: Connection) -> None:
    relations, functions = column(alone, RELATIONS), column(alone, FUNCTIONS)

    listed = re.findall(r"constant text\[\] := array\[(.*?)\]", PREFLIGHT, re.DOTALL)

    assert [sorted(re.findall(r"'(\w+)'", names)) for names in listed] == [relations, functions]


def test_all_conflicts_are_named_and_nothing_changes(local_stack: LocalStack) -> None:
    taken = (
        "create table public.outbox (id integer); create view public.outbox_campaigns as select 1 as n;"
        " create type public.outbox_templates as enum ('a'); create table public.notes (id integer);"
        " create index outbox_ready on public.notes (id);"
        " create function public.outbox_find(p_text text) returns integer language sql as 'select 1'"
    )
    with project(local_stack, taken) as connection:
        before = catalogue(connection)
        with pytest.raises(psycopg.errors.DuplicateObject) as refused:
            connection.execute(MIGRATIONS[0].encode())
        assert catalogue(connection) == before

    assert refused.value.diag.message_primary == (
        "the outbox needs names that are taken: function public.outbox_find(p_text text), index public.outbox_ready,"
        " table public.outbox, type public.outbox_templates, view public.outbox_campaigns"
    )
    assert "rename to my_outbox" in str(refused.value.diag.message_hint)


def test_a_second_installation_is_refused(fresh: Connection) -> None:
    with pytest.raises(psycopg.errors.DuplicateObject, match="installed already"):
        fresh.execute(MIGRATIONS[0].encode())


def test_seeds_come_back_after_a_squash(local_stack: LocalStack) -> None:
    with project(local_stack, *MIGRATIONS) as connection:
        tables = [
            "clock",
            "zones",
            "number_regions",
            "providers",
            "report_codes",
            "mms_countries",
            "schema_versions",
            "seeds",
            "upkeep",
        ]
        counts = " union all ".join(f"select count(*) from outbox_engine.{name}" for name in tables)
        counts += " union all select count(*) from public.outbox_opt_out_words"
        before = column(connection, counts)
        squash(connection)
        assert column(connection, "select public.outbox_schema_version() ->> 'seeded'") == ["false"]
        connection.execute("select outbox_engine.seed()")

        assert column(connection, counts) == before
        assert column(connection, "select public.outbox_schema_version() ->> 'seeded'") == ["true"]


def test_squashed_database_sends_once_seeded(local_stack: LocalStack) -> None:
    with project(local_stack, *MIGRATIONS) as connection:
        squash(connection)
        with pytest.raises(psycopg.errors.NotNullViolation):
            insert(connection)
        connection.execute("select outbox_engine.seed()")

        insert(connection)
        accept(connection, claim(connection), "batch")
        report(connection, "batch", number(0), "failed", 402)

        assert statuses(connection) == {"failed": 1}


def test_seeding_again_keeps_a_projects_changes(local_stack: LocalStack) -> None:
    with project(local_stack, *MIGRATIONS) as connection:
        connection.execute("delete from public.outbox_opt_out_words where word = 'END'")
        connection.execute("update public.outbox_opt_out_words set effect = 'none' where word = 'CANCEL'")
        before = column(connection, "select word || effect from public.outbox_opt_out_words order by 1")
        connection.execute("select outbox_engine.seed()")

        assert column(connection, "select word || effect from public.outbox_opt_out_words order by 1") == before
