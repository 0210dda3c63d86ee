"""docs/privacy.md against the database: how each column that can hold a number or a text is erased, kept and masked."""

import re
from pathlib import Path

import pytest

from jobs.runtime.settings import EngineSettings
from tests.stack import Connection

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
COVERED = DOCUMENT.partition("\n## Every column\n")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
COLUMNS = """
    select c.relname::text, a.attname::text
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    left join pg_type e on e.oid = t.typelem
    where c.relkind in ('r', 'p') and c.relnamespace in ('public'::regnamespace, 'outbox_engine'::regnamespace)
      and (
        coalesce(e.typname, t.typname) in ('text', 'varchar', 'bpchar', 'name', 'json', 'jsonb', 'bytea', 'xml', 'hstore')
        -- A composite type, or one of the project's own.
        or coalesce(e.typtype, t.typtype) not in ('b')
      )
"""


def documented() -> dict[tuple[str, str], tuple[str, str, str]]:
    return {
        (table, column): (erase, retention, mask)
        for table, columns, erase, retention, mask in ROW.findall(COVERED)
        for column in re.findall(r"`(\w+)`", columns)
    }


def test_every_text_column_has_its_row(db: Connection) -> None:
    """A new column of text, jsonb or bytea needs an answer for the erasure, retention and the masks."""
    present = {(str(table), str(column)) for table, column in db.execute(COLUMNS.encode()).fetchall()}

    assert present - documented().keys() == set()
    assert documented().keys() - present == set()


def test_no_answer_is_empty() -> None:
    assert [key for key, answers in documented().items() if not all(answer.strip() for answer in answers)] == []


@pytest.mark.parametrize("name", [name for name in EngineSettings.model_fields if name.endswith("retention_days")])
def test_every_retention_setting_is_in_table(name: str) -> None:
    section = DOCUMENT.partition("\n## How long\n")[2].partition("\n## ")[0]

    assert f"`{name.upper()}`" in section
