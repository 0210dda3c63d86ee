"""docs/tables.md against the database: every column, and who may write it."""

import re
from pathlib import Path

import psycopg
import pytest

from tests.stack import Connection

DOCUMENT = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
ROWS = re.compile(r"^\| (`[^|]+`) \| (app|engine|database) \|", re.MULTILINE)


# Of each type that the outbox has.
VALUES = {
    "boolean": True,
    "uuid": "0b2e4a5c-0000-4000-8000-000000000001",
    "jsonb": "{}",
    "timestamp with time zone": "2099-01-01",
}


def test_documented_columns_are_what_apps_may_insert(db: Connection) -> None:
    """The rights are on the whole table: a trigger refuses the columns of the engine."""
    columns = db.execute(
        "select attname::text, format_type(atttypid, null) from pg_attribute"
        " where attrelid = 'public.outbox'::regclass and attnum > 0 and not attisdropped"
    ).fetchall()
    refused = set()
    for name, kind in columns:
        try:
            with db.transaction(force_rollback=True):
                db.execute("set local role service_role")
                db.execute(f"insert into public.outbox ({name}) values (%s)", [VALUES.get(str(kind), "1")])
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.GeneratedAlways):
            refused.add(str(name))
        except psycopg.errors.InvalidParameterValue:
            pass

    assert documented("outbox") == {str(name): name not in refused for name, _ in columns}


@pytest.mark.parametrize("table", [table for table, section in SECTIONS.items() if ROWS.search(section) and table != "outbox"])
def test_documented_columns_and_insert_rights_match_the_database(db: Connection, table: str) -> None:
    present = db.execute(
        "select attname::text, has_column_privilege('service_role', attrelid, attname, 'insert') from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        [f"public.{table}"],
    ).fetchall()

    assert documented(table) == {str(column): bool(writable) for column, writable in present}


def documented(table: str) -> dict[str, bool]:
    """Each column that the section names, and whether apps write it."""
    return {
        column: writer == "app"
        for columns, writer in ROWS.findall(SECTIONS[table])
        for column in re.findall(r"`(\w+)`", columns)
    }


def test_all_tables_that_apps_know_are_documented(db: Connection) -> None:
    tables = db.execute(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
        " and has_any_column_privilege('service_role', oid, 'select')"
    ).fetchall()

    assert {str(table) for (table,) in tables} <= set(re.findall(r"`(\w+)`", DOCUMENT))
