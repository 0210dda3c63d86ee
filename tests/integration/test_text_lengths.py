"""No text exceeds 2000 characters, errors name what to shorten, and characters count as they do in GSM-7 and UCS-2."""

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests import engine
from tests.calls import claim
from tests.campaigns import campaign, member, template
from tests.engine import number
from tests.stack import Connection

LONGEST = "template 'hi' becomes a text of 2108 characters, 2000 are allowed; {{name}} makes up 2000 of them"


@pytest.mark.parametrize("user", ["member", "row"])
def test_text_grown_too_long_names_its_placeholder(db: Connection, user: str) -> None:
    template(db, body="{{greeting}} {{name}}: {{place}}", defaults={"greeting": "Hello", "place": "x" * 100})
    campaign(db)
    write = join if user == "member" else insert
    with pytest.raises(psycopg.DataError) as refused:
        write(db, {"name": "y" * 2000})
    assert LONGEST in str(refused.value)


def test_repeated_placeholder_counts_all_its_occurrences(db: Connection) -> None:
    template(db, body="{{a}}" + "{{b}}" * 30)
    with pytest.raises(psycopg.DataError) as refused:
        insert(db, {"a": "x" * 1000, "b": "y" * 50})
    assert "a text of 2500 characters, 2000 are allowed; {{b}} makes up 1500 of them" in str(refused.value)


def test_replacing_look_alikes_makes_no_text_too_long(db: Connection) -> None:
    """Three dots instead of one would."""
    template(db, body="…" * 1000, plain=True)
    rendered = "select outbox_engine.rendered_text(t, null) from public.outbox_templates t"
    assert db.execute(rendered).fetchone() == ("…" * 1000,)


@pytest.mark.parametrize("body", ["Dear {{name}}", "Dear {{name}}, {{day}} {{time}}"])
def test_template_with_too_long_defaults_is_refused(db: Connection, body: str) -> None:
    with pytest.raises(psycopg.DataError) as refused:
        template(db, body=body, defaults={"name": "x" * 1999})
    assert "are allowed; {{name}} makes up 1999 of them" in str(refused.value)

    template(db, body=body, defaults={"name": "x" * 1990})


@pytest.mark.parametrize(("emoji", "parts"), [(35, 1), (36, 2), (67, 2), (68, 3)])
def test_an_emoji_takes_two_utf_16_units(db: Connection, emoji: int, parts: int) -> None:
    """70 units fit in a single part, 67 in each of several."""
    asked: Any = db.execute("select public.outbox_text(%s)", ["😀" * emoji]).fetchone()
    (row,) = engine.insert(db, body="😀" * emoji)
    claim(db)

    assert (asked[0]["parts"], engine.column(db, "parts", row)) == (parts, parts)


def join(db: Connection, values: dict[str, str]) -> None:
    member(db, parameters=values)


def insert(db: Connection, values: dict[str, str]) -> None:
    db.execute("insert into public.outbox (recipient, template, parameters) values (%s, 'hi', %s)", [number(1), Jsonb(values)])


def test_rename_with_a_new_placeholder_checks_members(db: Connection) -> None:
    template(db)
    campaign(db)
    member(db, event_at="2030-01-01 12:00+00")

    with pytest.raises(psycopg.DataError, match=r"member 'm' of campaign 'c': placeholder {{first}}"):
        db.execute("update public.outbox_templates set name = 'hello', body = 'Hi {{first}}'")
