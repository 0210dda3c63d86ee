"""Numbers, parts, placeholders and times, as the simulator reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulator import clock
from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.guide import guide
from sandbox.simulator.parts import measure
from sandbox.simulator.sinch.errors import Refuse
from sandbox.simulator.sinch.numbers import msisdn, recipients, sender
from sandbox.simulator.sinch.texts import Texts


@pytest.mark.parametrize("text", ["+14155551234", "14155551234", "0014155551234", "+1 (415) 555-1234", "[1]415.555/1234"])
def test_a_number_is_read_however_it_is_written(text: str) -> None:
    assert msisdn(text) == "14155551234"


@pytest.mark.parametrize("text", ["", "+", "call", "+0123456", "1234", "+1234567890123456", "+1415555123x", "+١٤١٥٥٥٥"])
def test_invalid_numbers_are_none(text: str) -> None:
    assert msisdn(text) is None


def test_bad_number_is_named_by_its_position() -> None:
    with pytest.raises(Refuse, match=r"to\[2\]"):
        recipients(["+14155551234", "+14155551235", "x"])


@pytest.mark.parametrize(("text", "kept"), [("+14155550000", "14155550000"), ("12345", "12345"), ("My Shop 1", "My Shop 1")])
def test_senders_come_in_three_forms(text: str, kept: str) -> None:
    assert sender(text) == kept


@pytest.mark.parametrize("text", ["", "12", "Twelve chars", "+1234567890123456"])
def test_other_senders_are_refused(text: str) -> None:
    with pytest.raises(Refuse):
        sender(text)


@pytest.mark.parametrize(
    ("text", "encoding", "parts"),
    [
        ("", "text", 1),
        ("a" * 160, "text", 1),
        ("a" * 161, "text", 2),
        ("a" * 306, "text", 2),
        ("a" * 307, "text", 3),
        ("€" * 80, "text", 1),
        ("€" * 81, "text", 2),
        ("a" * 152 + "€" + "a" * 152, "text", 3),
        ("ж" * 70, "unicode", 1),
        ("ж" * 71, "unicode", 2),
        ("ж" * 134, "unicode", 2),
        ("ж" * 135, "unicode", 3),
        ("😀" * 35, "unicode", 1),
        ("😀" * 67, "unicode", 3),
        ("a" * 70 + "ж", "unicode", 2),
    ],
)
def test_parts_are_counted_as_they_are_charged(text: str, encoding: str, parts: int) -> None:
    measured = measure(text)

    assert (measured.encoding, measured.parts) == (encoding, parts)


@given(st.text(max_size=2000))
def test_parts_hold_all_units_of_the_text(text: str) -> None:
    measured = measure(text)
    single, joined = (160, 153) if measured.encoding == "text" else (70, 67)
    units = len(text) if measured.encoding == "text" else len(text.encode("utf-16-le", "surrogatepass")) // 2

    assert measured.parts >= 1
    assert units <= (single if measured.parts == 1 else measured.parts * joined)


@given(st.lists(st.text(alphabet="abc {}.", max_size=8), min_size=1), st.text(max_size=20) | st.just("${name}"))
def test_values_are_inserted_verbatim(literals: list[str], value: str) -> None:
    """A placeholder within a value is not replaced."""
    texts = Texts("${name}".join(literals), {"name": {"+14155551234": value}})

    assert texts.of("14155551234") == value.join(literals)


def test_keys_are_case_sensitive_and_defaults_stand_in() -> None:
    texts = Texts("${a}${A}", {"a": {"default": "small"}, "A": {"+14155551234": "BIG"}})

    assert texts.of("14155551234") == "smallBIG"
    assert texts.of("14155551235") is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00.000+00:00",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01T13:00:00 01:00",
        "2026-03-01 12:00:00+00:00",
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str) -> None:
    assert clock.iso(clock.parse(text)) == "2026-03-01T12:00:00.000Z"


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_a_time_survives_being_written_and_read(moment: int) -> None:
    assert clock.parse(clock.iso(moment)) == moment


def test_guide_fits_80_columns() -> None:
    """Only the commands are longer: they are for copying."""
    lines = guide("http://127.0.0.1:8081/_sim", Behaviour()).splitlines()

    assert [line for line in lines if len(line) > 80 and not line.startswith("  curl ")] == []
