"""Pages and windows of time, as every listing takes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox.simulator.clock import DAY, NEVER
from sandbox.simulator.outcomes import Outcome
from sandbox.simulator.sinch.errors import bad_format, violation
from sandbox.simulator.sinch.wanted import moment


@dataclass(frozen=True, slots=True)
class Window:
    """``[start, end)`` in milliseconds; page ``page`` (0-based) of ``size`` entries."""

    start: int
    end: int
    page: int
    size: int

    def newest_first(self, count: int) -> range:
        """The places of this page's entries in a list kept oldest first."""
        newest = count - 1 - self.page * self.size
        return range(newest, max(-1, newest - self.size), -1)


def window(query: Mapping[str, str], now: int) -> Window:
    """Read a listing's query. Without ``start_date`` it reaches back 24 hours."""
    start, end = moment(query.get("start_date"), "start_date"), moment(query.get("end_date"), "end_date")
    return Window(
        start=now - DAY if start is None else start,
        end=NEVER if end is None else end,
        page=whole_number(query, "page", default=0, lowest=0, highest=10**9),
        size=whole_number(query, "page_size", default=30, lowest=1, highest=100),
    )


def commas(query: Mapping[str, str], name: str) -> frozenset[str]:
    return frozenset(part.strip() for part in query.get(name, "").split(",") if part.strip())


def wanted_outcomes(query: Mapping[str, str]) -> Callable[[Outcome], bool] | None:
    """The filter that ``status`` and ``code`` ask for, or None if neither is given."""
    statuses = frozenset(status.title() for status in commas(query, "status"))
    codes = commas(query, "code")
    if not statuses and not codes:
        return None
    if not all(code.isdecimal() for code in codes):
        raise bad_format("code", "must be a comma-separated list of numbers")
    return lambda outcome: (not statuses or outcome.status in statuses) and (not codes or str(outcome.code) in codes)


def whole_number(query: Mapping[str, str], name: str, *, default: int, lowest: int, highest: int) -> int:
    """A number from the query, within its limits. Raises the provider's refusal."""
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise violation(f"{name} must be between {lowest} and {highest}")
    return int(text)
