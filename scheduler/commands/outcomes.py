"""What became of messages that an operator had sent again or cancelled, in words. The database answers codes."""

from typing import Final

from jobs.gateway.operating import Outcome

_WORDS: Final = {
    "missing": "no such message",
    # `outbox retry`
    "retried": "waits to be sent again",
    "not_final": "not final: it is still on its way",
    "request_open": "a request for it is open: its outcome has to be known first",
    "secret": "it is secret: the app has to send a new one",
    "text_blanked": "its text was blanked after BODY_RETENTION_DAYS",
    "delivered": "it was delivered; --force sends it a second time",
    "may_have_arrived": "its outcome is unknown; --force may send it a second time",
    "cancelled_on_request": "it was cancelled on request; --force sends it all the same",
    "expired": "it expired; --force with --expires-in sends it late",
    "expiry_passed": "its expiry has passed; --expires-in gives it a new one",
    # `outbox cancel`
    "cancelled": "cancelled",
    "already_cancelled": "was cancelled before",
    "cancel_requested": "in a request: it ends as cancelled if it comes back",
    "too_late": "too late: it is {was}",
    # `outbox held --send`
    "released": "is sent with the next claim",
    "not_held": "not held",
}
_WORDS_OF_DRY_RUNS: Final = {
    "retried": "would be sent again",
    "cancelled": "would be cancelled",
    "released": "would be sent",
    "cancel_requested": "in a request: it would end as cancelled if it comes back",
}
_STILL_SUPPRESSED: Final = ", unless its recipient is still opted out or its campaign is at its limit"
"""The database does not look at these before the claim, which may suppress the message again."""


def in_words(outcome: Outcome, *, dry_run: bool) -> str:
    """One line without the message's id. A code of a newer database is shown as it is."""
    words = (_WORDS | _WORDS_OF_DRY_RUNS if dry_run else _WORDS).get(outcome.outcome, outcome.outcome)
    suppressed_again = _STILL_SUPPRESSED if (outcome.outcome, outcome.was) == ("retried", "suppressed") else ""
    return words.format(was=outcome.was) + suppressed_again
