"""Phone numbers in our format and in Sinch's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runtime.phone import address, e164


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("14155551234", "+14155551234"),
        ("+14155551234", "+14155551234"),
        ("0014155551234", "+14155551234"),
        ("+1 (415) 555-12.34", "+14155551234"),
        ("33662162466", "+33662162466"),
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


@pytest.mark.parametrize("sender", ["12345", "Restaurant"])
def test_alphanumeric_senders_and_short_codes_stay_unchanged(sender: str) -> None:
    assert address(sender) == sender


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_number_survives_the_way_through_sinch(number: str) -> None:
    assert e164(number) == number
    assert e164(number.removeprefix("+")) == number
