"""Warns of one number under two ids: its owner would get each message twice."""

from collections.abc import Iterable

from jobs.gateway.campaigning import Line
from jobs.runtime.masking import mask
from jobs.runtime.phone import short_form
from scheduler.commands.refusals import Refusals


class RepeatedNumbers:
    """Prints a warning on stderr for each line whose number an earlier line has with another id, in either of its forms."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, str]] = {}
        self._warnings = Refusals()

    def warn(self, lines: Iterable[Line]) -> None:
        for line in lines:
            number, external_id = self._first.setdefault(short_form(line.recipient), (line.number, line.external_id))
            if external_id != line.external_id:
                self._warnings.say(
                    line.number,
                    f"warning: {mask(line.recipient)} has another external_id in line {number}, so it gets each message twice",
                )

    def say_rest(self) -> None:
        self._warnings.say_rest()
