"""The table of number prefixes before it is loaded. ``integration/test_countries.py`` tests how the database uses it."""

import phonenumbers
import pytest
from phonenumbers import PhoneNumberType

from jobs.runtime import phone
from sandbox import regions


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    return dict(regions.prefixes())


def region_of(table: dict[str, str], number: str) -> str | None:
    digits = number.removeprefix("+")
    return next((table[digits[:length]] for length in range(len(digits), 0, -1) if digits[:length] in table), None)


def test_seed_matches_the_generator() -> None:
    assert regions.SEED.read_text(encoding="utf-8") == regions.seed()


def test_trunk_zeros_match_the_generator() -> None:
    assert regions.TRUNK_ZEROS.read_text(encoding="utf-8") == regions.trunk_zeros()
    assert phone._TRUNK_ZERO_CODES.split("|") == [str(code) for code in regions.codes_with_trunk_zero()]


def test_prefixes_are_unique_and_within_lookup_length() -> None:
    found = [prefix for prefix, _ in regions.prefixes()]

    assert len(found) == len(set(found))
    assert max(map(len, found)) == regions.LONGEST_PREFIX


def test_no_prefix_repeats_a_shorter_ones_region(table: dict[str, str]) -> None:
    assert [prefix for prefix, region in table.items() if region_of(table, prefix[:-1]) == region] == []


def test_regions_match_the_library_except_western_sahara(table: dict[str, str]) -> None:
    # Western Sahara has no range of its own: the library gives all of +212 to Morocco.
    assert set(table.values()) == (set(phonenumbers.SUPPORTED_REGIONS) - {"EH"}) | {"001"}


@pytest.mark.parametrize(
    ("number", "region"),
    [
        ("+14155551234", "US"),
        ("+16045551234", "CA"),
        ("+18765551234", "JM"),
        ("+18495551234", "DO"),
        ("+17875551234", "PR"),
        ("+79161234567", "RU"),
        ("+77011234567", "KZ"),
        ("+447400123456", "GB"),
        ("+447781123456", "GG"),
        ("+447797712345", "JE"),
        ("+447624123456", "IM"),
        ("+390669812345", "VA"),
        ("+35818123456", "AX"),
        ("+4779123456", "SJ"),
        ("+262692123456", "RE"),
        ("+262639012345", "YT"),
        ("+59995181234", "CW"),
        ("+5993181234", "BQ"),
        ("+2908999", "TA"),
        ("+38344123456", "XK"),
    ],
)
def test_regions_of_shared_calling_codes_differ(table: dict[str, str], number: str, region: str) -> None:
    assert region_of(table, number) == region


@pytest.mark.parametrize("number", ["+1", "+12005551234", "+14115551234", "+19995551234"])
def test_unassigned_area_code_has_no_region(table: dict[str, str], number: str) -> None:
    assert region_of(table, number) is None


@pytest.mark.parametrize("number", ["+18005551234", "+19005551234", "+15005551234"])
def test_shared_north_american_numbers_count_as_us(table: dict[str, str], number: str) -> None:
    assert region_of(table, number) == "US"


@pytest.mark.parametrize("number", ["+80012345678", "+881612345678", "+883510012345"])
def test_international_numbers_have_region_001(table: dict[str, str], number: str) -> None:
    assert region_of(table, number) == "001"


def test_canadian_seven_digit_number_leaves_los_angeles_whole(table: dict[str, str]) -> None:
    assert region_of(table, "+13105551234") == "US"


def test_unplanned_number_gets_its_codes_main_country(table: dict[str, str]) -> None:
    """The calling code decides when no numbering plan holds the number."""
    drama = "+447700900123"

    assert not phonenumbers.is_valid_number(phonenumbers.parse(drama))
    assert region_of(table, drama) == "GB"


def test_territories_whose_mobiles_count_as_a_neighbours() -> None:
    examples = {
        region: phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
        for region in phonenumbers.SUPPORTED_REGIONS
    }
    found = {region: phonenumbers.region_code_for_number(number) for region, number in examples.items() if number}

    # The Isle of Man only for its British range (+44 7924); its other ranges are separate.
    assert {region: owner for region, owner in found.items() if owner != region} == {
        "AX": "FI",
        "BL": "GP",
        "CC": "AU",
        "CX": "AU",
        "EH": "MA",
        "IM": "GB",
        "MF": "GP",
        "SJ": "NO",
        "VA": "IT",
    }


@pytest.mark.parametrize("pattern", [r"1(?=2)", r"\w", "12*", "(12)"])
def test_a_pattern_it_cannot_read_stops_the_generator(pattern: str) -> None:
    with pytest.raises(ValueError, match="cannot read the pattern"):
        regions._shapes(pattern)


@pytest.mark.parametrize(
    ("pattern", "shapes"),
    [
        ("12", {("1", "2")}),
        ("[1-3]4?", {("123", "4"), ("123",)}),
        (r"1(?:2|\d3)", {("1", "2"), ("1", "0123456789", "3")}),
        ("(?:12|3){1,2}", {("1", "2"), ("3",), ("1", "2", "1", "2"), ("1", "2", "3"), ("3", "1", "2"), ("3", "3")}),
        ("4{2}", {("4", "4")}),
    ],
)
def test_pattern_expands_to_all_its_matches(pattern: str, shapes: set[tuple[str, ...]]) -> None:
    assert regions._shapes(pattern) == shapes
