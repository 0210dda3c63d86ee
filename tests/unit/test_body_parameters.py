"""Texts that differ, put into one request and taken apart again as the provider would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatching.parameters import body_and_parameters
from jobs.providers.base import Submission
from jobs.providers.sinch import wire
from sandbox.simulator.texts import Texts

TYPED = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200)
BRACED = st.text(st.sampled_from("ab${}p01 d🙂"), min_size=1, max_size=60)


def arrived(texts: list[str], *, longest: int = 160) -> list[str | None]:
    """Through the wire format and the simulator's rendering."""
    recipients = [f"+1202555{place:04d}" for place in range(len(texts))]
    body, parameters = body_and_parameters(texts, recipients, longest=longest)
    submission = Submission("r", None, body, recipients, parameters=parameters)
    sent, keyed = wire._text_and_parameters(submission)
    rendered = Texts(sent, {key: dict(values) for key, values in keyed.items()})
    return [rendered.of(recipient[1:]) for recipient in recipients]


@given(st.lists(st.one_of(TYPED, BRACED), min_size=1, max_size=6), st.integers(2, 160))
def test_every_recipient_gets_the_very_text_that_was_typed(texts: list[str], longest: int) -> None:
    try:
        got = arrived(texts, longest=longest)
    except ValueError:
        # A text of a few characters beside one of many values: the claim never puts them together.
        assert max(len(text) for text in texts) > longest * min(len(text) for text in texts) / 4
    else:
        assert got == texts


@given(st.lists(TYPED, min_size=2, max_size=6), st.integers(2, 160))
def test_no_value_is_empty_missing_or_longer_than_the_provider_takes(texts: list[str], longest: int) -> None:
    recipients = [str(place) for place in range(len(texts))]
    try:
        _, parameters = body_and_parameters(texts, recipients, longest=longest)
    except ValueError:
        return
    for values in (parameters or {}).values():
        assert list(values) == recipients
        assert all(0 < len(value.encode("utf-16-le")) // 2 <= longest for value in values.values())


def test_what_texts_have_in_common_is_said_once() -> None:
    body, parameters = body_and_parameters(["Dear Ada, hello.", "Dear Grace, hello."], ["+1", "+2"], longest=160)

    assert body == "Dear {{0}}, hello."
    assert parameters == {"0": {"+1": "Ada", "+2": "Grace"}}


def test_texts_that_agree_need_no_parameters() -> None:
    assert body_and_parameters(["same", "same"], ["+1", "+2"], longest=160) == ("same", None)


def test_a_text_that_another_begins_with_keeps_a_character_of_its_own() -> None:
    assert body_and_parameters(["Hi", "Hi Ada"], ["+1", "+2"], longest=160) == ("H{{0}}", {"0": {"+1": "i", "+2": "i Ada"}})


def test_texts_too_different_to_be_cut_alike_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        body_and_parameters(["x", "y" * 400], ["+1", "+2"], longest=160)
