"""The meaning of a 201 to ``POST /batches``: it counts only if it answers the request that was made.

On a kept connection an answer may belong to the request before it. Its batch is another one, and this request may never have
arrived. So a 201 has to show the reference of the request, and its recipients if it names any. Everything else is ambiguous: a
lookup by the reference decides. That includes a 201 without a reference, although an older API may leave it out, because
nothing else in it tells two requests to the same people apart.
"""

from collections.abc import Sequence

import msgspec

from jobs.providers.answers import Answer
from jobs.providers.base import Accepted, Ambiguous, Outcome, Submission
from jobs.providers.fields import LONGEST_ID, reference
from jobs.providers.lenient import json_text
from jobs.providers.sinch.wire import Created
from jobs.runtime.phone import e164


def outcome(answer: Answer, submission: Submission) -> Outcome:
    """The outcome of ``submission``, which was answered with this 201."""
    try:
        created = msgspec.json.decode(json_text(answer.body or b""), type=Created)
    except (ValueError, RecursionError):
        return Ambiguous("a 201 that could not be read", 201)
    if not created.id:
        return Ambiguous("a 201 without a batch id", 201)
    if len(created.id) > LONGEST_ID:
        return Ambiguous(f"a 201 with a batch id of {len(created.id)} characters", 201)
    if not created.client_reference:
        return Ambiguous("a 201 without the reference of its request", 201)
    if reference(created.client_reference) != reference(submission.reference):
        return Ambiguous("a 201 that answers another request: its reference is not ours", 201)
    if created.to is not None and not _are_the_same(created.to, submission.recipients):
        return Ambiguous("a 201 that names other recipients than its request", 201)
    return Accepted(created.id)


def _are_the_same(given: Sequence[str], sent: Sequence[str]) -> bool:
    if len(given) != len(sent):
        return False
    # Nearly always they are ours without the plus, and a thousand need not be parsed.
    bare = {number.removeprefix("+") for number in sent}
    return bare == {number.removeprefix("+") for number in given} or set(sent) == {e164(number) for number in given}
