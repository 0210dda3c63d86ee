"""The events of a history in order, and the invariants that it broke."""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from jobs.gateway.values import instant
from jobs.providers.base import Report
from tests.simulation.clockwork import seconds

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WIDEST: Final = 220


class Witness:
    """Keeps the trace and the complaints. The code that moves time sets ``now``."""

    def __init__(self) -> None:
        self.lines: deque[tuple[float, str, str]] = deque(maxlen=20_000)
        self.complaints: list[str] = []
        self.reports: defaultdict[tuple[str, str], list[Report]] = defaultdict(list)
        """The reports on each batch and number that the database recorded, in this order."""
        self.now: Callable[[], float] = lambda: 0.0
        self._names: dict[str, str] = {}

    def say(self, who: str, what: str) -> None:
        self.lines.append((self.now(), who, what))

    def complain(self, what: str) -> None:
        """An invariant was broken. The history goes on, so that all of it can be read."""
        self.complaints.append(what)
        self.say("INVARIANT", what)

    def log(self, event: Mapping[str, Any]) -> None:
        """A log event of the code under test."""
        fields = {name: value for name, value in event.items() if name not in {"event", "level", "exc_info"}}
        self.say("log", f"{event['event']} " + " ".join(f"{name}={value}" for name, value in fields.items()))
        if event.get("exc_info"):
            self.complain(f"{event['event']}: {event['exc_info']!r}")

    def took_reports(self, arguments: Mapping[str, Any]) -> None:
        """A call with these reports was committed."""
        columns = ("p_batch_ids", "p_recipients", "p_statuses", "p_codes", "p_ats", "p_references", "p_raws")
        for batch_id, recipient, status, code, at, reference, raw in zip(*(arguments[c] for c in columns), strict=True):
            made_at, number = instant(at) if at else None, int(code) if code else None
            report = Report(batch_id, recipient, status, number, made_at, reference or None, raw)
            self.reports[batch_id, recipient].append(report)

    def trace(self) -> str:
        """The trace, one line for each event, with short names for ids."""
        return "\n".join(f"{when:10.3f}  {who:<10} {self._short(what)}"[:_WIDEST] for when, who, what in self.lines)

    def _short(self, text: str) -> str:
        return _UUID.sub(lambda found: self._names.setdefault(found[0], f"#{len(self._names) + 1}"), text)

    @property
    def at(self) -> float:
        return self.now()


def when(value: Any) -> float | None:
    """A timestamp of the database on the history's clock."""
    return None if value is None else seconds(value)
