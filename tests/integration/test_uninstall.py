"""The script that removes the outbox, against a database of its own."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from jobs.schema.releases import uninstall_script
from sandbox.local.stack import MIGRATIONS, LocalStack
from sandbox.schema.apply import apply
from scheduler.cli import run_command_line
from tests.stack import Connection

LISTS = re.compile(r"^ +(\w+) constant text\[\] := (array\[.*?\]);", re.MULTILINE | re.DOTALL)
IN_PUBLIC = {
    "relations": "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')",
    "functions": """
        select format('%s(%s)', p.proname, (
            select string_agg(format_type(t, null), ',' order by n) from unnest(p.proargtypes) with ordinality as a (t, n)
        ))
        from pg_proc p where p.pronamespace = 'public'::regnamespace
    """,
}
EVERYTHING = """
    select pg_describe_object(classid, objid, 0)
    from (
        select 'pg_class'::regclass::oid, oid from pg_class where relnamespace::regnamespace::text !~ '^pg_|^information_schema'
        union all
        select 'pg_proc'::regclass::oid, oid from pg_proc where pronamespace::regnamespace::text !~ '^pg_|^information_schema'
        union all
        select 'pg_type'::regclass::oid, oid from pg_type where typnamespace::regnamespace::text !~ '^pg_|^information_schema'
        union all
        select 'pg_trigger'::regclass::oid, oid from pg_trigger
        union all
        select 'pg_namespace'::regclass::oid, oid from pg_namespace where nspname !~ '^pg_(toast_)?temp'
    ) as objects (classid, objid)
    order by 1
"""
OF_THE_USER = """
    create function public.outbox_mine() returns text language sql as $$ select 'mine' $$;
    create table public.orders (id bigint primary key, note text);
    create function public.remind() returns trigger language plpgsql as $$
        begin insert into public.outbox (recipient, body) values ('+14155550123', new.note); return new; end $$;
    create trigger remind after insert on public.orders for each row execute function public.remind();
"""


@pytest.fixture
def database(local_stack: LocalStack) -> Iterator[Connection]:
    """A new database with the roles of the stack's and nothing in it."""
    name = "uninstall"
    with closing(psycopg.connect(local_stack.admin_url, autocommit=True)) as admin:
        admin.execute(f"create database {name} template template0")
        try:
            with closing(psycopg.connect(local_stack.admin_url, dbname=name, autocommit=True)) as connection:
                yield connection
        finally:
            admin.execute(f"drop database {name} with (force)")


def everything(connection: Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute(EVERYTHING.encode()).fetchall()}


def migrate(connection: Connection, after_each: Callable[[], None] = lambda: None) -> None:
    for path in sorted(MIGRATIONS.glob("*.sql")):
        apply(connection, path.read_text(encoding="utf-8"))
        connection.execute("reset all")
        after_each()


def created(connection: Connection, kind: str) -> set[str]:
    """Objects in public that any release file makes, also those that a later file drops again."""
    found: set[str] = set()
    migrate(connection, lambda: found.update(str(name) for (name,) in connection.execute(IN_PUBLIC[kind].encode()).fetchall()))
    return found


def run(connection: Connection) -> None:
    connection.execute(uninstall_script().encode())


def listed(connection: Connection) -> dict[str, set[str]]:
    """The script's lists, as PostgreSQL reads them."""
    arrays = dict(LISTS.findall(uninstall_script()))
    return {
        kind: {str(name) for (name,) in connection.execute(f"select unnest({array})".encode()).fetchall()}
        for kind, array in arrays.items()
    }


@pytest.mark.parametrize("kind", ["relations", "functions"])
def test_script_lists_exactly_what_releases_create(database: Connection, kind: str) -> None:
    ours = created(database, kind)

    names = listed(database)[kind]

    assert sorted(ours - names) == [], "add these to supabase/uninstall.sql"
    assert sorted(names - ours) == [], "no release creates these: the script would remove an object of the user's"


def test_script_removes_the_outbox_and_nothing_else(database: Connection) -> None:
    database.execute(OF_THE_USER.encode())
    before = everything(database)
    migrate(database)
    assert everything(database) > before
    database.execute("create function public.outbox_claim(text) returns text language sql as $$ select 'mine too' $$")

    run(database)

    assert everything(database) - before == {"function outbox_claim(text)"}
    assert database.execute("select public.outbox_mine(), public.outbox_claim('')").fetchall() == [("mine", "mine too")]


def test_second_run_keeps_tables_of_our_names(database: Connection) -> None:
    migrate(database)
    run(database)
    database.execute("create table public.outbox (letters text)")
    before = everything(database)

    run(database)

    assert everything(database) == before


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("create view public.late as select id from public.outbox", "view late"),
        ("create table public.orders (message bigint references public.outbox (id))", "constraint orders_message_fkey"),
        ("create function public.f(public.outbox) returns int language sql as 'select 1'", "function f(outbox)"),
        ("create table public.log (of outbox_engine.dispatches)", "table log"),
    ],
)
def test_object_that_uses_the_outbox_is_named(database: Connection, statement: str, name: str) -> None:
    migrate(database)
    database.execute(statement.encode())
    before = everything(database)

    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="other objects use the outbox") as raised:
        run(database)

    assert name in str(raised.value)
    assert everything(database) == before


def test_script_runs_as_the_owner_of_the_tables(database: Connection, local_stack: LocalStack) -> None:
    database.execute("alter schema public owner to postgres")
    database.execute(sql.SQL("grant create on database {} to postgres").format(sql.Identifier(database.info.dbname)))
    database.execute("set session authorization postgres")
    migrate(database)

    run(database)

    assert not any("outbox" in name for name in everything(database))


def test_drop_says_when_nothing_was_there(
    database: Connection, local_stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUTBOX_DB_URL", make_conninfo(local_stack.admin_url, dbname="uninstall"))
    migrate(database)

    codes = [run_command_line(["schema", "drop", "--yes"]) for _ in range(2)]

    assert codes == [0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "The outbox was removed. Its files in supabase/migrations stay: see docs/upgrading.md.",
        "The outbox is not in this database; nothing was removed.",
    ]
