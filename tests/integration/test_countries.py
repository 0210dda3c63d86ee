"""The database and the phone library agree on the country of every valid number."""

import random
from collections.abc import Iterator
from itertools import islice

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, NumberParseException, PhoneNumber, PhoneNumberFormat, PhoneNumberType

from tests.calls import claim_all
from tests.stack import Connection

RANDOM_NUMBERS = 6000


def test_library_examples_get_the_librarys_country(db: Connection) -> None:
    """One example of every kind of number and every region."""
    by_number = {e164(number): phonenumbers.region_code_for_number(number) for number in examples()}

    assert len(by_number) > 1000
    assert countries(db, list(by_number)) == by_number


def test_random_valid_numbers_get_the_librarys_country(db: Connection) -> None:
    numbers = list(islice(valid_numbers(seed=1), RANDOM_NUMBERS))
    by_number = {e164(number): phonenumbers.region_code_for_number(number) for number in numbers}

    assert countries(db, list(by_number)) == by_number


def test_the_longest_prefix_decides(db: Connection) -> None:
    assert countries(db, ["+447700900123", "+447700300123", "+61891012345", "+61891621234"]) == {
        "+447700900123": "GB",
        "+447700300123": "JE",
        "+61891012345": "AU",
        "+61891621234": "CC",
    }


def test_the_claim_goes_by_the_longest_prefix(db: Connection) -> None:
    db.execute("insert into public.outbox (recipient, body) values ('+447700900123', 'x'), ('+447700300123', 'x')")

    (dispatch,) = claim_all(db, countries=["GB"])

    assert dispatch["recipients"] == ["+447700900123"]
    failed = db.execute("select recipient, error from public.outbox where status = 'failed'").fetchall()
    assert failed == [("+447700300123", "country JE is not allowed")]


def test_the_claim_allows_no_number_without_a_country(db: Connection) -> None:
    db.execute("insert into public.outbox (recipient, body) values ('+2101234567', 'x')")

    assert claim_all(db, countries=["GB", "US"]) == []
    failed = db.execute("select status, error from public.outbox").fetchall()
    assert failed == [("failed", "country unknown is not allowed")]


def test_unassigned_prefix_has_no_country(db: Connection) -> None:
    assert countries(db, ["+14115551234", "+2101234567"]) == {"+14115551234": None, "+2101234567": None}


def test_lookup_reads_as_many_digits_as_needed(db: Connection) -> None:
    """As many as the longest prefix has."""
    prefix, region = db.execute(
        "select prefix, region from outbox_engine.number_regions order by length(prefix) desc, prefix limit 1"
    ).fetchall()[0]

    assert countries(db, [f"+{prefix}"]) == {f"+{prefix}": region}


def countries(db: Connection, numbers: list[str]) -> dict[str, object]:
    asked = db.execute("select country from outbox_engine.countries_of(%s::text[]) order by place", (numbers,))
    return {number: country for number, (country,) in zip(numbers, asked.fetchall(), strict=True)}


def e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def examples() -> list[PhoneNumber]:
    """The library's example of every kind of number in every region, and of every code that belongs to no country."""
    found = [
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in PhoneNumberType.values()
    ]
    found += [
        phonenumbers.example_number_for_non_geo_entity(code) for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS)
    ]
    return [number for number in found if number is not None and can_be_called_from_abroad(number)]


def valid_numbers(seed: int) -> Iterator[PhoneNumber]:
    """Without end: examples whose last digits are thrown anew, most of them from calling codes that regions share."""
    throw = random.Random(seed)
    alone = examples()
    shared = [number for number in alone if len(COUNTRY_CODE_TO_REGION_CODE[number.country_code or 0]) > 1]
    while True:
        digits = e164(throw.choice(shared if throw.random() < 0.8 else alone))
        kept = throw.randint(2, len(digits) - 1)
        number = parsed(digits[:kept] + "".join(throw.choice("0123456789") for _ in digits[kept:]))
        if number is not None and phonenumbers.is_valid_number(number) and can_be_called_from_abroad(number):
            yield number


def parsed(digits: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(digits)
    except NumberParseException:
        return None


def can_be_called_from_abroad(number: PhoneNumber) -> bool:
    """Canada's seven-digit 310-xxxx starts like Los Angeles and is for calls within Canada; no text can reach it."""
    return number.country_code != 1 or len(str(number.national_number)) == 10
