"""What the demo shows: counts, the last events, and where to look further."""

from dataclasses import dataclass
from time import monotonic

import psycopg
from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.telemetry import mask

FINAL = ("delivered", "failed", "rejected", "aborted", "expired", "cancelled", "deleted", "unknown", "suppressed")
_ORDER = ("scheduled", "pending", "sending", "sent", "dispatched", *FINAL)
_COLOURS = {"delivered": "green", "suppressed": "yellow", "cancelled": "yellow"}
_EVENTS_SHOWN = 8

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The outbox at one moment."""

    statuses: dict[str, int]
    events: tuple[tuple[str, str, str, str], ...]
    at: float

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    @property
    def final(self) -> int:
        return sum(count for status, count in self.statuses.items() if status in FINAL)


def look(db: Connection) -> Snapshot:
    counts = db.execute("select status, count(*) from public.outbox group by status").fetchall()
    events = db.execute(
        "select to_char(e.at, 'HH24:MI:SS'), o.recipient, e.event, coalesce(o.error, e.status, '')"
        " from (select * from public.outbox_events order by id desc limit %s) e"
        " join public.outbox o on o.id = e.outbox_id order by e.id",
        [_EVENTS_SHOWN],
    ).fetchall()
    return Snapshot(
        statuses={str(status): int(str(count)) for status, count in counts},
        events=tuple((str(at), mask(str(who)), str(what), str(why)) for at, who, what, why in events),
        at=monotonic(),
    )


def screen(now: Snapshot, before: Snapshot, *, where: dict[str, str], note: str) -> Panel:
    """One picture of the outbox, 24 lines at the most."""
    per_second = (now.final - before.final) / max(now.at - before.at, 0.001)
    counts = Table.grid(padding=(0, 2))
    for status in _ORDER:
        if now.statuses.get(status):
            colour = _COLOURS.get(status, "red" if status in FINAL else "cyan")
            counts.add_row(Text(status, style=colour), f"{now.statuses[status]:>7}")
    events = Table.grid(padding=(0, 2))
    for at, who, what, why in now.events:
        events.add_row(Text(at, style="dim"), who, what, Text(why, overflow="ellipsis", no_wrap=True))

    top = Table.grid(padding=(0, 4))
    top.add_row(counts, events)
    links = Table.grid(padding=(0, 2))
    for name, value in where.items():
        links.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    done = f"{now.final} of {now.total} final, {per_second:.0f} a second"
    return Panel(
        Group(ProgressBar(max(now.total, 1), now.final), Text(done), top, links, Text(note, style="bold")), title="outbox"
    )


def line(now: Snapshot) -> str:
    """The same for a terminal that is none."""
    return " ".join(f"{status}={now.statuses[status]}" for status in _ORDER if now.statuses.get(status))
