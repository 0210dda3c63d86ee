"""Words for what an action did, or would do, to messages. The database answers codes."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from jobs.gateway.browsing.bulk import BulkCount
from jobs.gateway.operating import Outcome

_DONE: Final = {
    "retried": ("will be sent again", "wait to be sent again"),
    "cancelled": ("will be cancelled", "cancelled"),
    "cancel_requested": (
        "are in a request now: they will be cancelled if they come back",
        "in a request: cancelled if they come back",
    ),
    "changed": ("will be moved", "moved"),
    "unchanged": ("have this time already", "had this time already"),
}
_REFUSED: Final = {
    "missing": "There is no such message any more.",
    "not_final": "Still on its way: there is nothing to retry yet.",
    "request_open": "A request is open: its outcome has to be known first.",
    "secret": "A one-time code: the app has to send a new one.",
    "text_blanked": "Retention removed the text.",
    "delivered": "It was delivered. A forced retry sends it a second time.",
    "may_have_arrived": "The outcome is unknown. A forced retry may send it a second time.",
    "cancelled_on_request": "It was cancelled on request. A forced retry sends it all the same.",
    "expired": "It expired. A forced retry with a new expiry sends it late.",
    "expiry_passed": "Its expiry has passed. Give it a new one.",
    "already_cancelled": "It was cancelled before.",
    "too_late": "Too late: it is in a request or final.",
    "campaign": "It belongs to a campaign. Change the member of the campaign.",
    "cancelled": "It is cancelled.",
    "in_doubt": "A request was never answered: the provider may still send it.",
}


def would(count: BulkCount) -> str:
    """What an action would do to messages, or why it refuses them. A code of a newer database is shown as it is."""
    return _DONE.get(count.outcome, (count.outcome, ""))[0] if count.done else _REFUSED.get(count.outcome, count.outcome)


def did(count: BulkCount) -> str:
    """What an action did to messages, or why it refused them."""
    return _DONE.get(count.outcome, ("", count.outcome))[1] if count.done else _REFUSED.get(count.outcome, count.outcome)


def counted_outcomes(outcomes: Iterable[Outcome]) -> tuple[BulkCount, ...]:
    """How many messages had each outcome, the most first."""
    counts = Counter((one.outcome, one.done) for one in outcomes)
    return tuple(BulkCount(outcome, done, messages) for (outcome, done), messages in counts.most_common())


def added(one: Iterable[BulkCount], other: Iterable[BulkCount]) -> tuple[BulkCount, ...]:
    """The sum of two lists of counts, the most first."""
    counts: Counter[tuple[str, bool]] = Counter()
    for count in (*one, *other):
        counts[count.outcome, count.done] += count.messages
    return tuple(BulkCount(outcome, done, messages) for (outcome, done), messages in counts.most_common())
