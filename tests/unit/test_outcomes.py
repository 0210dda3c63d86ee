"""The sentences for the outcomes of retry and cancel."""

import re
from pathlib import Path

import pytest

from jobs.gateway.operating import Outcome
from scheduler.commands.outcomes import in_words

ACTS = Path("supabase/schemas/90_operators/20_acts.sql")


@pytest.mark.parametrize(
    ("code", "dry_run", "words"),
    [
        ("retried", False, "waits to be sent again"),
        ("retried", True, "would be sent again"),
        ("too_late", True, "too late: it is sent"),
        ("of_a_newer_release", False, "of_a_newer_release"),
    ],
)
def test_outcomes_are_put_into_words(code: str, dry_run: bool, words: str) -> None:
    assert in_words(Outcome(1, "sent", True, code), dry_run=dry_run) == words


@pytest.mark.parametrize("dry_run", [True, False])
def test_suppressed_message_may_be_suppressed_again(dry_run: bool) -> None:
    words = in_words(Outcome(1, "suppressed", True, "retried"), dry_run=dry_run)

    assert words.endswith(" sent again, unless its recipient is still opted out or its campaign is at its limit")


def test_every_code_of_the_database_has_words() -> None:
    codes = {"retried", "too_late"} | set(re.findall(r" when .* then '(\w+)'\n", ACTS.read_text(encoding="utf-8")))

    without = {code for code in codes if in_words(Outcome(1, "sent", True, code), dry_run=True) == code}

    assert len(codes) == 15
    assert without == set()
