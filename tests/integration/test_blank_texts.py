"""Texts and keys that show nothing are refused."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.calls import claim
from tests.campaigns import template
from tests.engine import insert
from tests.stack import Connection

NBSP, ZWSP = "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}"


@pytest.mark.parametrize("key", ["", "  ", NBSP, ZWSP])
def test_empty_key_is_refused(app: Connection, key: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="idempotency_key is empty"):
        insert(app, idempotency_key=key)


@pytest.mark.parametrize(
    "blank", [NBSP, ZWSP, "\u2060\ufeff", "\u00ad", "\u3000\t", "\u2800", "\U000e0020", "\U0001d173\U0001bca0", "\u200d\ufe0f"]
)
def test_text_that_shows_nothing_is_refused_everywhere(db: Connection, blank: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="body is empty"):
        insert(db, body=blank)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="needs a name and a body"):
        template(db, body=blank)
    template(db, body="{{name}}")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="all blank"):
        insert(db, body=None, template="hi", parameters=Jsonb({"name": blank}))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["\u00e9", "\U0001f600", "\u200d\u0633", ".", "\N{NO-BREAK SPACE}!"])
def test_text_with_one_visible_character_is_sent(db: Connection, text: str) -> None:
    insert(db, body=text)

    assert claim(db)["body"] == text
