"""`plain`: look-alikes are replaced where that saves a part, and nowhere else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.test_texts import ALPHABET, EXTENSION
from tests.nightly import examples
from tests.stack import Connection

TYPOGRAPHIC = "‘’‚“”„–—…•·«»`\t\u00a0\u2009\u200b\u00ad"
LONG = "This text of two parts would take one if each of its characters were in the alphabet that all phones know"


def plain(db: Connection, text: str) -> Any:
    return db.execute("select outbox_engine.plain_text(%s)", [text]).fetchall()[0][0]


def parts(db: Connection, text: str) -> Any:
    return db.execute("select outbox_engine.parts_of(%s)", [text]).fetchall()[0][0]


@examples(150)
@given(
    text=st.one_of(
        st.text(st.sampled_from(ALPHABET + EXTENSION + TYPOGRAPHIC), min_size=1, max_size=400),
        st.text(st.sampled_from("ab…’·lL\u0301eж😀\u200d"), min_size=60, max_size=200),
    )
)
def test_look_alikes_are_replaced_only_to_save_parts(db: Connection, text: str) -> None:
    result = plain(db, text)

    if result != text:
        assert set(result) <= set(ALPHABET + EXTENSION)
        assert parts(db, result) < parts(db, text)
        if "\u0301" not in text:
            assert [c for c in result if c.isalnum()] == [c for c in text if c.isalnum()]
    elif set(text) <= set(ALPHABET + EXTENSION + "‘’“”–•"):
        # Each of these becomes one character of the alphabet.
        assert parts(db, text) <= parts(db, "".join(c if c in ALPHABET + EXTENSION else "-" for c in text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{LONG} – “it’s”…", f'{LONG} - "it\'s"...'),
        (f"{LONG}\u00a0·\tcafe\u0301 `a`", f"{LONG} - café 'a'"),
        (f"{LONG} a·l l·a ·", f"{LONG} a-l l-a -"),
    ],
)
def test_look_alikes_become_characters_of_gsm_7(db: Connection, text: str, expected: str) -> None:
    assert plain(db, text) == expected


@pytest.mark.parametrize(
    "rest",
    [
        "col·lecció", "COL·LECCIÓ", "il·lusió – l’any", "👩\u200d👩\u200d👧\u200d👦 – “ok”", "क्\u200dष",
        "می\u200cخواهم", "☎\ufe0f – 1", "Ж – …", "ŀ", "naïve “façade”",
    ],
)  # fmt: skip
def test_text_that_stays_ucs_2_is_unchanged(db: Connection, rest: str) -> None:
    """Also its look-alikes: replacing them would save nothing."""
    assert plain(db, f"{LONG} {rest}") == f"{LONG} {rest}"


@pytest.mark.parametrize("text", ["It’s “on” – see you…", "’" * 70, f"{LONG} it's on", "a\tb `c`"])
def test_text_that_costs_no_more_is_unchanged(db: Connection, text: str) -> None:
    assert plain(db, text) == text
    told = db.execute("select public.outbox_text(%s)", [text]).fetchall()[0][0]
    assert (told["plain"], told["plain_parts"]) == (text, told["parts"])  # type: ignore[index]
