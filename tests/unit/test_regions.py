"""The table of number prefixes, before a database has it. How it answers is tested in ``integration/test_countries.py``."""

import phonenumbers
import pytest
from phonenumbers import PhoneNumberType

from sandbox import regions


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    return dict(regions.prefixes())


def region_of(table: dict[str, str], number: str) -> str | None:
    digits = number.removeprefix("+")
    return next((table[digits[:length]] for length in range(len(digits), 0, -1) if digits[:length] in table), None)


def test_the_seed_is_what_the_generator_makes() -> None:
    assert regions.SEED.read_text(encoding="utf-8") == regions.seed()


def test_every_prefix_stands_once_and_is_short_enough_to_be_looked_at() -> None:
    found = [prefix for prefix, _ in regions.prefixes()]

    assert len(found) == len(set(found))
    assert max(map(len, found)) == regions.LONGEST_PREFIX


def test_no_prefix_repeats_what_a_shorter_one_says(table: dict[str, str]) -> None:
    assert [prefix for prefix, region in table.items() if region_of(table, prefix[:-1]) == region] == []


def test_the_regions_are_those_of_the_library_less_one_it_never_answers_with(table: dict[str, str]) -> None:
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
def test_a_shared_calling_code_is_told_apart(table: dict[str, str], number: str, region: str) -> None:
    assert region_of(table, number) == region


@pytest.mark.parametrize("number", ["+1", "+12005551234", "+14115551234", "+19995551234"])
def test_an_area_code_nobody_was_given_has_no_region(table: dict[str, str], number: str) -> None:
    assert region_of(table, number) is None


@pytest.mark.parametrize("number", ["+18005551234", "+19005551234", "+15005551234"])
def test_numbers_that_all_of_north_america_shares_count_as_the_us(table: dict[str, str], number: str) -> None:
    assert region_of(table, number) == "US"


@pytest.mark.parametrize("number", ["+80012345678", "+881612345678", "+883510012345"])
def test_a_number_of_no_country_has_a_region_no_country_has(table: dict[str, str], number: str) -> None:
    assert region_of(table, number) == "001"


def test_a_seven_digit_number_of_canada_does_not_cut_los_angeles_in_two(table: dict[str, str]) -> None:
    assert region_of(table, "+13105551234") == "US"


def test_a_number_in_no_plan_gets_the_main_country_of_its_calling_code(table: dict[str, str]) -> None:
    drama = "+447700900123"

    assert not phonenumbers.is_valid_number(phonenumbers.parse(drama))
    assert region_of(table, drama) == "GB"


def test_which_territories_have_mobile_numbers_that_count_as_a_neighbours() -> None:
    examples = {
        region: phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
        for region in phonenumbers.SUPPORTED_REGIONS
    }
    found = {region: phonenumbers.region_code_for_number(number) for region, number in examples.items() if number}

    # The Isle of Man only where it uses a British range (+44 7924); its others are told apart.
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
def test_a_pattern_is_read_as_all_it_can_match(pattern: str, shapes: set[tuple[str, ...]]) -> None:
    assert regions._shapes(pattern) == shapes
