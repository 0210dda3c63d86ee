"""Delivery: how much went out, how much of it arrived, and how fast, from the sums that the figures job keeps."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.charts import Series
from dashboard.pages.delivery_window import OWN, WINDOWS, Window, window_of, zone_of
from dashboard.visit import Visit
from dashboard.words import ANY_FAILURE, advice_of_code
from jobs.gateway.browsing.figures import By, Figure
from jobs.runtime.spreadsheets import defused

ZONE_COOKIE: Final = "outbox_zone"
"""The time zone of the browser. A script writes it."""
_SPLITS: Final[dict[str, By]] = {"country": "country", "plan": "plan", "code": "code"}
_TIME: Final = "time"
_KEYS: Final = ("window", "from", "to", "by", "zone")
"""What an address of this screen says. Links within it keep these."""


@dataclass(frozen=True, slots=True)
class Group:
    """Statuses that are drawn together. ``counted`` are their names in the figures, ``statuses`` those of messages."""

    name: str
    tone: str
    counted: tuple[str, ...]
    statuses: str


DELIVERED: Final = Group("delivered", "good", ("delivered",), "delivered")
UNDELIVERED: Final = Group("not delivered", "bad", tuple(ANY_FAILURE.split(",")), ANY_FAILURE)
GROUPS: Final = (
    DELIVERED,
    Group("on the way", "go", ("sent", "dispatched"), "sent,dispatched"),
    Group("waiting", "wait", ("waiting",), "scheduled,pending,sending"),
    UNDELIVERED,
    Group("unknown", "warn", ("unknown",), "unknown"),
    Group("cancelled or suppressed", "off", ("cancelled", "suppressed"), "cancelled,suppressed"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one country, plan, code, hour or day. ``query`` filters the messages behind them, None if none can.

    ``counts`` has a number for each of :data:`GROUPS`.
    """

    name: str
    query: Mapping[str, Any] | None
    note: str
    figure: Figure
    counts: tuple[int, ...]

    def count(self, group: Group) -> int:
        return self.counts[GROUPS.index(group)]


async def show(visit: Visit) -> Response:
    window = _window(visit)
    report = await visit.operating.browsing.delivery_report(window.since, window.until, window.unit, window.zone.key)
    times = _by_time(report.times, window)
    return visit.render(
        "delivery.html",
        title="Delivery",
        window=window,
        windows=WINDOWS,
        own=OWN,
        given={name: visit.query[name] for name in _KEYS if name in visit.query},
        whole=None if report.whole is None else _row("", report.whole, window),
        groups=GROUPS,
        undelivered=UNDELIVERED,
        labels=[slot.label for slot in window.slots],
        links=_links(visit, window, times),
        volume=[
            Series(one.name, one.tone, tuple(0 if row is None else row.counts[place] for row in times))
            for place, one in enumerate(GROUPS)
            if any(row is not None and row.counts[place] for row in times)
        ],
        rate=[Series("delivered", "good", tuple(_percent(row) for row in times))],
        delays=[
            Series("median (p50)", "go", tuple(None if row is None else row.figure.p50 for row in times)),
            Series("slowest 5 % (p95)", "warn", tuple(None if row is None else row.figure.p95 for row in times)),
        ],
        splits=[(by, _split(by, figures, window)) for by, figures in report.splits.items()],
        counted_at=report.counted_at,
    )


async def download(visit: Visit) -> Response:
    """The figures as CSV: by time, or by what ``split`` names."""
    window = _window(visit)
    split = visit.query.get("split", _TIME)
    if split != _TIME and split not in _SPLITS:
        raise HTTPException(400, "Figures are split by time, country, plan or code.")
    asked = visit.operating.browsing.delivery_figures
    if split == _TIME:
        found = await asked(window.since, window.until, window.unit, None, window.zone.key)
        rows = [(slot.since, row) for slot, row in zip(window.slots, _by_time(found, window), strict=True)]
        lines = [_cells(at.astimezone(window.zone).isoformat(), row) for at, row in rows]
    else:
        found = await asked(window.since, window.until, "all", _SPLITS[split])
        lines = [_cells(one.by or "", _row(one.by or "", one, window)) for one in found]
    name = f"delivery-by-{window.unit if split == _TIME else split}-{window.first}-{window.last}.csv"
    return Response(
        _csv([_header(window.unit if split == _TIME else split), *lines]),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _window(visit: Visit) -> Window:
    zone = zone_of(visit.query.get("zone"), visit.request.cookies.get(ZONE_COOKIE))
    return window_of(visit.query, zone, datetime.now(UTC))


def _row(name: str, figure: Figure, window: Window, query: Mapping[str, Any] | None = None, note: str = "") -> Row:
    counts = tuple(sum(figure.statuses.get(status, 0) for status in group.counted) for group in GROUPS)
    times = {"from": window.since.isoformat(), "to": window.until.isoformat()}
    return Row(name, {**times, **(query or {})}, note, figure, counts)


def _by_time(figures: Sequence[Figure], window: Window) -> list[Row | None]:
    """A row for each slot, None where no message was due."""
    rows: list[Row | None] = [None] * len(window.slots)
    for figure in figures:
        place = window.place(figure.at)
        if place is not None:
            slot = window.slots[place]
            times = {"from": slot.since.isoformat(), "to": slot.until.isoformat()}
            rows[place] = _row(slot.label, figure, window, times)
    return rows


def _split(by: str, figures: Sequence[Figure], window: Window) -> list[Row]:
    """The rows by their number of messages. Codes are those of messages that ended badly or have a code."""
    rows = []
    for one in figures:
        if one.by is not None:
            note = advice_of_code(int(one.by), one.statuses) or "" if by == "code" else ""
            rows.append(_row(one.by, one, window, {by: one.by}, note))
        elif by != "code":
            words = "unknown" if by == "country" else "none yet, or no request kept"
            rows.append(Row(words, None, "", one, _row("", one, window).counts))
    return rows


def _links(visit: Visit, window: Window, rows: Sequence[Row | None]) -> list[str]:
    if not visit.has_screen("/messages"):
        return [""] * len(window.slots)
    return ["" if row is None else visit.url("/messages", **(row.query or {})) for row in rows]


def _percent(row: Row | None) -> float | None:
    return None if row is None or row.figure.delivery_rate is None else row.figure.delivery_rate * 100


def _header(first: str) -> list[str]:
    groups = [group.name.replace(" ", "_") for group in GROUPS]
    return [first, "messages", *groups, "delivery_rate", "p50_seconds", "p95_seconds", "parts"]


def _cells(name: str, row: Row | None) -> list[str]:
    if row is None:
        return [name, *["0"] * (1 + len(GROUPS)), "", "", "", "0"]
    figure = row.figure
    rates = [figure.delivery_rate, figure.p50, figure.p95]
    numbers = [figure.messages, *row.counts]
    return [name, *map(str, numbers), *("" if one is None else str(round(one, 4)) for one in rates), str(figure.parts)]


def _csv(lines: Sequence[Sequence[str]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows([defused(cell) for cell in line] for line in lines)
    return written.getvalue()
