"""The meaning of a 202 to ``POST /v1/messages``.

A 202 holds an id of Vonage's and nothing of the request, so its content cannot show whose answer it is. The connection does: it
carries one request at a time, and is closed after any answer that is not whole, after bytes that no request asked for, and at
a deadline (:mod:`jobs.providers.vonage.posts`). An id that answered a request before is a copy of that answer. Then the request
may never have arrived, and its own answer is still to come: the outcome is ambiguous, and the connection is closed as well.
"""

import re
from collections import OrderedDict
from typing import Any, Final

import msgspec

from jobs.providers.answers import Answer
from jobs.providers.base import Accepted, Ambiguous, Outcome
from jobs.providers.lenient import json_text

_ID: Final = re.compile(r"[\w.~-]{1,255}", re.ASCII)
_REMEMBERED: Final = 4096


class _Body(msgspec.Struct):
    message_uuid: Any = None


class Acceptances:
    """Reads the 202s of one client, and remembers the latest ids."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def outcome(self, answer: Answer) -> Outcome:
        """The outcome of a request that was answered with this 202. Call it once for each answer."""
        try:
            message_id = msgspec.json.decode(json_text(answer.body or b""), type=_Body).message_uuid
        except (ValueError, RecursionError):
            return Ambiguous("a 202 that could not be read", 202)
        if not isinstance(message_id, str) or not _ID.fullmatch(message_id):
            return Ambiguous("a 202 without a message id", 202)
        if message_id in self._seen:
            return Ambiguous("a 202 that answered another request before", 202)
        self._seen[message_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return Accepted(message_id)
