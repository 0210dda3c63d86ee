"""Whether the provider answers. Arithmetic only: the caller says what time it is."""

from typing import Final

SILENT_SECONDS: Final = 2.0
"""How long no request is answered, while some are open, before nothing more is claimed."""


class Silence:
    """Notes when requests begin and how they end. Times are seconds on any clock that only goes forward.

    A provider that hangs takes a request and never answers. Whether it took the message is not known, and at some providers can
    never be proved. So nothing more is claimed for it soon, and then one request at a time until it answers again. Waiting
    messages go through another plan of their route meanwhile, because this plan claims nothing.
    """

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._answered_at = 0.0
        self._unanswered = 0

    def begun(self, request: str, now: float) -> None:
        """A request goes out."""
        self._begun[request] = now

    def ended(self, request: str, now: float, *, answered: bool) -> None:
        """A request has an outcome. ``answered``: the provider took or refused it."""
        self._begun.pop(request, None)
        self._unanswered = 0 if answered else self._unanswered + 1
        if answered:
            self._answered_at = now

    @property
    def unanswered(self) -> int:
        """How many requests in a row ended without an answer."""
        return self._unanswered

    def most(self, now: float) -> int | None:
        """How many requests may be claimed ``now``; None for no limit."""
        oldest = next(iter(self._begun.values()), None)
        if oldest is not None and (self._unanswered or now - max(oldest, self._answered_at) > SILENT_SECONDS):
            return 0
        return 1 if self._unanswered else None
