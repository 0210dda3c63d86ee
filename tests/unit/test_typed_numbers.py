"""Numbers as people type them into a search."""

import pytest

from dashboard.numbers import looks_like_number, read_numbers


@pytest.mark.parametrize(
    "written",
    ["+447700900123", "00447700900123", "+44 (0)7700 900123", "447700900123", "+44 77OO 900 l23", "tel:+44-7700-900123"],
)
def test_spellings_name_the_same_number(written: str) -> None:
    assert read_numbers(written, None).recipients[0] == "+447700900123"


def test_country_completes_national_number() -> None:
    assert read_numbers("07700 900123", "GB").recipients[0] == "+447700900123"
    assert read_numbers("(415) 555-0123", "US").recipients[0] == "+14155550123"


def test_number_without_code_matches_by_end() -> None:
    typed = read_numbers("07700 900123", None)

    assert (typed.recipients, typed.last_digits) == ((), "7700900123")
    assert "No country code" in typed.notes[0]
    assert read_numbers("0123", None).last_digits == "0123"


def test_pasted_numbers_are_read_together() -> None:
    typed = read_numbers("+14155550123, +1 415 555 0124\n004477 0090 0123; nonsense", None)

    assert set(typed.recipients) >= {"+14155550123", "+14155550124", "+447700900123"}
    assert len(typed.problems) == 1


def test_ambiguous_number_among_others_is_asked() -> None:
    typed = read_numbers("+14155550123, 07700 900123", None)

    assert typed.last_digits is None
    assert "Choose its country" in typed.problems[0]


@pytest.mark.parametrize(
    ("text", "is_number"),
    [
        ("+14155550123", True),
        ("07700 900123", True),
        ("4711", False),
        ("order-42", False),
        ("01FC66621XXXXX119Z8PMV1QPQ", False),
    ],
)
def test_search_tells_numbers_from_ids(text: str, is_number: bool) -> None:
    assert looks_like_number(text) == is_number
