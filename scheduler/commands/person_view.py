"""What is kept of a person, counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.table import Table

from jobs.gateway.persons import Kept
from jobs.gateway.values import instant
from jobs.runtime.counts import counted
from scheduler.commands.times import utc

_WHEN: Final = (
    "created_at", "received_at", "at", "claimed_at", "decided_at", "answered_at", "sent_at", "found_at", "changed_at",
    "probed_at", "blank_at",
)  # fmt: skip
"""The columns that say when a row was made, the first that a row has."""
_KINDS: Final = {"outbox": "status", "outbox_events": "event", "dispatches": "state"}
"""The column by whose values the rows of a table are counted."""


def by_table(rows: Iterable[Kept]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each table."""
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for kept in rows:
        tables.setdefault(kept.table, []).append(kept.row)
    return tables


def summary(rows: Sequence[Kept]) -> dict[str, dict[str, Any]]:
    """For each table how many rows, the first and the last time, and how many of each kind."""
    return {name: _summary(name, some) for name, some in by_table(rows).items()}


def table(rows: Sequence[Kept]) -> Table:
    """The summary as a table."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("table", "rows", "from", "to", "of them"):
        shown.add_column(name, justify="right" if name == "rows" else "left")
    for name, facts in summary(rows).items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in facts["kinds"].items())
        shown.add_row(name, f"{facts['rows']:,}", _time(facts["from"]), _time(facts["to"]), kinds)
    return shown


def counts(erased: Mapping[str, int]) -> str:
    """How many rows of which table were erased."""
    done = [f"{counted(count, 'row')} of {name}" for name, count in erased.items() if count]
    return f"erased {', '.join(done)}" if done else "nothing is kept of this person"


def _summary(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    times = sorted((instant(time), time) for time in map(_when, rows) if time)
    kinds = Counter(str(row[_KINDS[name]]) for row in rows) if name in _KINDS else Counter()
    return {
        "rows": len(rows),
        "from": times[0][1] if times else None,
        "to": times[-1][1] if times else None,
        "kinds": dict(kinds.most_common()),
    }


def _when(row: Mapping[str, Any]) -> str | None:
    return next((row[name] for name in _WHEN if row.get(name)), None)


def _time(time: str | None) -> str:
    return "" if time is None else utc(instant(time))
