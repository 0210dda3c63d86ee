"""Different texts in one request, and the texts that the provider makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatching.parameters import body_and_parameters
from jobs.providers.base import Submission
from jobs.providers.sinch import wire
from sandbox.simulator.sinch.texts import Texts

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
def test_every_recipient_gets_the_exact_text(texts: list[str], longest: int) -> None:
    try:
        got = arrived(texts, longest=longest)
    except ValueError:
        # A text of a few characters beside one of many values: the claim never puts them together.
        assert max(len(text) for text in texts) > longest * min(len(text) for text in texts) / 4
    else:
        assert got == texts


@given(st.lists(TYPED, min_size=2, max_size=6), st.integers(2, 160))
def test_every_value_is_nonempty_and_within_the_limit(texts: list[str], longest: int) -> None:
    """Every recipient has a value for each parameter. The limit is the longest value the provider takes."""
    recipients = [str(place) for place in range(len(texts))]
    try:
        _, parameters = body_and_parameters(texts, recipients, longest=longest)
    except ValueError:
        return
    for values in (parameters or {}).values():
        assert list(values) == recipients
        assert all(0 < len(value.encode("utf-16-le")) // 2 <= longest for value in values.values())


def test_common_text_appears_once_in_the_body() -> None:
    body, parameters = body_and_parameters(["Dear Ada, hello.", "Dear Grace, hello."], ["+1", "+2"], longest=160)

    assert body == "Dear {{0}}, hello."
    assert parameters == {"0": {"+1": "Ada", "+2": "Grace"}}


def test_texts_that_agree_need_no_parameters() -> None:
    assert body_and_parameters(["same", "same"], ["+1", "+2"], longest=160) == ("same", None)


def test_prefix_of_another_text_keeps_one_character() -> None:
    """The values of a parameter are never empty, so one character moves from the body to the values."""
    assert body_and_parameters(["Hi", "Hi Ada"], ["+1", "+2"], longest=160) == ("H{{0}}", {"0": {"+1": "i", "+2": "i Ada"}})


def test_texts_without_a_common_cut_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        body_and_parameters(["x", "y" * 400], ["+1", "+2"], longest=160)
