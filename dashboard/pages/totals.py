"""What became of the messages of the last hour and of today, for the screen Now."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from dashboard.visit import Visit
from dashboard.words import ANY_FAILURE
from jobs.gateway.errors import GatewayError

_COUNTED: Final = 20_000
"""So many of the newest messages are counted. Beyond that, today's totals are those of the figures job."""
_GROUPS: Final = (
    ("Sent", "sent,dispatched,delivered", "go"),
    ("Delivered", "delivered", "good"),
    ("Not delivered", ANY_FAILURE, "bad"),
    ("Unknown", "unknown", "warn"),
)


@dataclass(frozen=True, slots=True)
class Total:
    """A count with the query of the messages behind it. Its tone is empty where there are none."""

    name: str
    count: str
    query: Mapping[str, str]
    tone: str


@dataclass(frozen=True, slots=True)
class Span:
    """The totals of a time. ``note`` says which messages they count."""

    name: str
    title: str
    note: str
    totals: tuple[Total, ...]


async def spans(visit: Visit, now: datetime) -> tuple[Span, ...]:
    """The last hour, and today (UTC). None at all if a busy database does not count them in time."""
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    browsing = visit.operating.browsing
    try:
        hour, today = await browsing.latest_statuses([now - timedelta(hours=1), midnight], most=_COUNTED)
        counted = await browsing.delivery_figures(midnight, midnight + timedelta(days=1), "all") if today.is_more else ()
    except GatewayError:
        return ()
    note = f"of the newest {_COUNTED:,} messages" if hour.is_more else "messages inserted"
    last = Span("hour", "Last hour", note, _totals(hour.statuses, {"within": "1h"}, is_part=hour.is_more))
    since = {"from": midnight.isoformat()}
    if today.is_more:
        statuses = counted[0].statuses if counted else {}
        return last, Span("today", "Today", "messages due since midnight UTC, counted once a minute", _totals(statuses, since))
    return last, Span("today", "Today", "messages inserted since midnight UTC", _totals(today.statuses, since))


def _totals(statuses: Mapping[str, int], since: Mapping[str, str], *, is_part: bool = False) -> tuple[Total, ...]:
    found = []
    for name, wanted, tone in _GROUPS:
        count = sum(statuses.get(one, 0) for one in wanted.split(","))
        words = f"{count:,}+" if is_part else f"{count:,}"
        found.append(Total(name, words, {"status": wanted, **since}, tone if count else ""))
    return tuple(found)
