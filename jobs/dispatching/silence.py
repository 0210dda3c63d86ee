"""Whether the provider answers, and how many requests may be open until it does. Arithmetic only: no clock and no asyncio."""

from typing import Final

SILENT_SECONDS: Final = 2.0
"""How long no request is answered, while some are open, before nothing more is claimed."""
FIRST_SINGLES: Final = 16
"""Requests with one recipient that are open at most before answers come: as many as a provider that hangs takes for nothing."""


class Silence:
    """Notes when requests begin and how they end. Times are seconds on any clock that only goes forward.

    A provider that hangs takes a request and never answers. Whether it took the message is not known, and at some providers can
    never be proved. So nothing more is claimed for it soon, and then one request at a time until it answers again. Waiting
    messages go through another plan of their route meanwhile, because this plan claims nothing.

    ``single``: requests have one recipient. Hundreds of them may be open, so more are allowed as answers come.
    """

    def __init__(self, *, single: bool = False) -> None:
        self._single = single
        self._begun: dict[str, float] = {}
        self._answered_at = 0.0
        self._unanswered = 0
        self._second, self._answers, self._answers_before = 0, 0, 0

    def begun(self, request: str, now: float) -> None:
        """A request goes out."""
        self._begun[request] = now

    def ended(self, request: str, now: float, *, answered: bool) -> None:
        """A request has an outcome. ``answered``: the provider took or refused it."""
        self._begun.pop(request, None)
        self._unanswered = 0 if answered else self._unanswered + 1
        if answered:
            self._turn_to(now)
            self._answered_at, self._answers = now, self._answers + 1

    @property
    def unanswered(self) -> int:
        """How many requests in a row ended without an answer."""
        return self._unanswered

    def most(self, now: float) -> int | None:
        """How many requests may be open ``now``; None for any number."""
        oldest = next(iter(self._begun.values()), None)
        if oldest is not None and (self._unanswered or now - max(oldest, self._answered_at) > SILENT_SECONDS):
            return 0
        if self._unanswered:
            return 1
        self._turn_to(now)
        return FIRST_SINGLES + self._answers + self._answers_before if self._single else None

    def _turn_to(self, now: float) -> None:
        """Answers count in the second in which they come, and in the next."""
        second = int(now)
        if second != self._second:
            self._answers_before = self._answers if second == self._second + 1 else 0
            self._second, self._answers = second, 0
