"""Every door reads numbers alike: rows, members, suppressions, and the files and arguments of commands."""

import unicodedata
from collections.abc import Callable

import psycopg
import pytest

from jobs.lists import numbers
from tests.spellings import HINTS, SPELLINGS
from tests.stack import Connection

Door = Callable[[Connection, str], str]
OF_NUMBERS = " \u00a0\u2009\u202f"
"""Blanks that people write between the digits of a number."""


def insert_a_message(db: Connection, written: str) -> str:
    return _returned(db, "insert into public.outbox (recipient, body) values (%s, 'hi') returning recipient", written)


def insert_a_suppression(db: Connection, written: str) -> str:
    return _returned(db, "insert into public.outbox_suppressions (recipient) values (%s) returning recipient", written)


def insert_a_member(db: Connection, written: str) -> str:
    _campaign(db)
    columns = "(campaign, external_id, recipient) values ('c', 'a', %s) returning recipient"
    return _returned(db, f"insert into public.outbox_campaign_members {columns}", written)


def change_a_member(db: Connection, written: str) -> str:
    insert_a_member(db, "+12025550100")
    return _returned(db, "update public.outbox_campaign_members set recipient = %s returning recipient", written)


def stage_a_line(db: Connection, written: str) -> str:
    _campaign(db)
    refused = db.execute(
        "select public.outbox_stage_members('00000000-0000-0000-0000-000000000001', 'c', '{1}', '{a}', %s, '{\"\"}', '{\"\"}',"
        " '{\"{}\"}') -> 0 ->> 'problem'",
        [[written]],
    ).fetchone()
    assert refused is not None
    if refused[0] is not None:
        raise ValueError(str(refused[0]))
    return _returned(db, "select recipient from outbox_engine.campaign_import_lines where line = %s", "1")


def read_a_cell(_db: Connection, written: str) -> str:
    return numbers.read(written.strip())


DOORS: list[Door] = [insert_a_message, insert_a_suppression, insert_a_member, change_a_member, stage_a_line, read_a_cell]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_all_doors_read_a_number_alike(door: Door, db: Connection) -> None:
    read: dict[str, str | None] = {}
    for written in SPELLINGS:
        with db.transaction(force_rollback=True):
            read[written] = _through(door, db, written)

    assert read == SPELLINGS


@pytest.mark.parametrize("door", [door for door in DOORS if door is not stage_a_line], ids=lambda door: door.__name__)
@pytest.mark.parametrize("written", HINTS)
def test_refusal_says_how_to_write_it(door: Door, written: str, db: Connection) -> None:
    with pytest.raises((psycopg.Error, ValueError)) as refusal:
        door(db, written)

    assert HINTS[written] in str(refusal.value)


def test_cell_names_its_invisible_character() -> None:
    with pytest.raises(ValueError, match=r"'<202A>\+1415•••0123' has an invisible character in it, LEFT-TO-RIGHT EMBEDDING"):
        numbers.read("\u202a+14155550123")


def test_names_of_characters_are_those_of_unicode(db: Connection) -> None:
    every = [chr(code) for code in range(1, 0x10000) if not 0xD800 <= code < 0xE000]
    found = db.execute(
        "select c, n from unnest(%s::text[]) c, outbox_engine.character_name(c) n where n like '%%(%%'", [every]
    ).fetchall()
    named = {str(mark): name for mark, name in found}

    assert len(named) > 20
    assert named == {mark: f"{unicodedata.name(mark)} (U+{ord(mark):04X})" for mark in named}


def test_files_and_rows_call_the_same_characters_invisible(db: Connection) -> None:
    every = [chr(code) for code in (*range(1, 0xD800), *range(0xE000, 0x1E000), *range(0xE0000, 0xE0200))]
    found = db.execute("select c from unnest(%s::text[]) c where c ~ outbox_engine.invisible_pattern()", [every]).fetchall()
    in_rows = {str(mark) for (mark,) in found}
    blanks = {mark for mark in every if unicodedata.category(mark) in ("Cc", "Zl", "Zp", "Zs")}

    assert in_rows == {mark for mark in every if _is_invisible_in_files(mark)}
    assert blanks - in_rows == set(OF_NUMBERS)


def _is_invisible_in_files(mark: str) -> bool:
    try:
        numbers.read(f"+1415{mark}5550123")
    except ValueError as error:
        return "invisible" in str(error)
    return False


def _campaign(db: Connection) -> None:
    db.execute("insert into public.outbox_templates (name, body) values ('t', 'hi') on conflict do nothing")
    db.execute(
        "insert into public.outbox_campaigns (name, template, schedule, starts_at) values ('c', 't', 'once', now())"
        " on conflict do nothing"
    )


def _returned(db: Connection, sql: str, written: str) -> str:
    row = db.execute(sql.encode(), [written]).fetchone()
    assert row is not None
    return str(row[0])


def _through(door: Door, db: Connection, written: str) -> str | None:
    try:
        with db.transaction():
            return door(db, written)
    except (psycopg.DataError, psycopg.IntegrityError, ValueError):
        return None
