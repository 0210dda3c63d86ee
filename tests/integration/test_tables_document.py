"""docs/tables.md against the database: every column, and who may write it."""

import re
from pathlib import Path

import pytest

from tests.stack import Connection

DOCUMENT = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
ROWS = re.compile(r"^\| (`[^|]+`) \| (app|engine|database) \|", re.MULTILINE)


@pytest.mark.parametrize("table", [table for table, section in SECTIONS.items() if ROWS.search(section)])
def test_documented_columns_and_insert_rights_match_the_database(db: Connection, table: str) -> None:
    documented = {
        column: writer == "app"
        for columns, writer in ROWS.findall(SECTIONS[table])
        for column in re.findall(r"`(\w+)`", columns)
    }
    present = db.execute(
        "select attname::text, has_column_privilege('service_role', attrelid, attname, 'insert') from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        [f"public.{table}"],
    ).fetchall()

    assert documented == {str(column): bool(writable) for column, writable in present}


def test_all_tables_that_apps_know_are_documented(db: Connection) -> None:
    tables = db.execute(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
        " and has_any_column_privilege('service_role', oid, 'select')"
    ).fetchall()

    assert {str(table) for (table,) in tables} <= set(re.findall(r"`(\w+)`", DOCUMENT))
