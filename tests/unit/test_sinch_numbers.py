"""Phone numbers in our format and in Sinch's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runtime.phone import address, e164, has_trunk_zero


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("14155551234", "+14155551234"),
        ("+14155551234", "+14155551234"),
        ("0014155551234", "+14155551234"),
        ("+1 (415) 555-12.34", "+14155551234"),
        ("33662162466", "+33662162466"),
        ("(0044) 7700 900123", "+447700900123"),
        ("+44(7700)900123", "+447700900123"),
        ("+39 06 12345678", "+390612345678"),  # Italy's zero is dialled from abroad, too
        ("+225 07 00 00 00 00", "+2250700000000"),
        ("+38 067 123 45 67", "+380671234567"),  # 38 is no country: the zero belongs to its code
        ("+226 07 00 00 00", "+22607000000"),  # Burkina Faso and Tajikistan have mobile numbers with a zero
        ("+992 01 700 0000", "+992017000000"),
        ("+4407700900123", "+4407700900123"),  # a provider returns what was sent
        ("+44 (0)7700 900123", None),
        ("+44(0) 7700 900123", None),
        ("0044 (0)7700 900123", None),
        ("0044 07700 900123", None),
        ("44 07700 900123", None),
        ("+81 090 1234 5678", None),
        ("44 ( 0 ) 7700 900123", None),
        ("+49 (0) 151 23456789", None),
        ("+44 (07700) 900123", None),
        ("+44 07700 900123", None),
        ("+44-0-7700-900123", None),
        ("(0)7700 900123", None),
        ("+39 (0)6 12345678", None),
        ("12345", None),  # a short code
        ("Restaurant", None),
        ("", None),
        ("+", None),
        ("+0123456789", None),
        ("1234567890123456", None),  # longer than any number
        ("+1415555\u0661234", None),  # digits of another script
    ],
)
def test_a_number_is_read_however_it_is_written(written: str, number: str | None) -> None:
    assert e164(written) == number


@pytest.mark.parametrize(
    ("number", "has_one"),
    [
        ("+4407700900123", True),
        ("+49015123456789", True),
        ("+330612345678", True),
        ("+8109012345678", True),
        ("+447700900123", False),
        ("+380671234567", False),
        ("+390612345678", False),
        ("+2250700000000", False),
        ("+2290197000000", False),
        ("+24106031234", False),
        ("+250061234567", False),
        ("+14155550123", False),
    ],
)
def test_a_trunk_zero_is_recognized(number: str, has_one: bool) -> None:
    assert has_trunk_zero(number) is has_one


@pytest.mark.parametrize("sender", ["12345", "Restaurant"])
def test_alphanumeric_senders_and_short_codes_stay_unchanged(sender: str) -> None:
    assert address(sender) == sender


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_number_survives_the_way_through_sinch(number: str) -> None:
    assert e164(number) == number
    assert e164(number.removeprefix("+")) == number
