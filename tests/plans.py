"""What a statement reads: the rows of each table, and the steps of each plan. For tests that count rows, not time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg.errors import Diagnostic

from tests.stack import Connection

TABLES = (
    "outbox",
    "outbox_events",
    "block_figures",
    "audit",
    "dispatch_members",
    "dispatches",
    "outbox_suppressions",
    "campaign_import_lines",
    "outbox_campaign_members",
    "outbox_campaign_occurrences",
)


@pytest.fixture(autouse=True)
def fresh_plans(db: Connection) -> None:
    """The session may have the plans of an earlier test. For files whose tests look at plans: import it there."""
    db.execute("discard plans")


@contextmanager
def touched(db: Connection) -> Iterator[dict[str, int]]:
    """The rows of each table that this block read, by index or by sequential scan. The block is one transaction."""
    read: dict[str, int] = {}
    with db.transaction():
        # Counts that the session has not reported yet are included.
        before = rows_read(db)
        yield read
        read |= {table: rows - before.get(table, 0) for table, rows in rows_read(db).items()}


def rows_read(db: Connection) -> dict[str, int]:
    found = db.execute(
        "select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables where relname = any(%s)",
        [list(TABLES)],
    )
    return {str(table): int(str(rows)) for table, rows in found}


@contextmanager
def planned(db: Connection) -> Iterator[list[dict[str, Any]]]:
    """Every step of every plan in this block, functions included, as EXPLAIN ANALYZE reports it."""
    plans: list[str] = []
    steps: list[dict[str, Any]] = []

    def keep(notice: Diagnostic) -> None:
        _, is_plan, plan = (notice.message_primary or "").partition("plan:\n")
        plans.extend([plan] if is_plan else [])

    db.execute("load 'auto_explain'")
    db.add_notice_handler(keep)
    try:
        with db.transaction():
            for name, value in EXPLAINED.items():
                db.execute(f"set local {name} = {value}")
            yield steps
    finally:
        db.remove_notice_handler(keep)
    assert plans
    for plan in plans:
        steps += steps_of(json.loads(plan)["Plan"])


EXPLAINED = {
    "client_min_messages": "log",
    "auto_explain.log_min_duration": 0,
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_format": "json",
}


def steps_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from steps_of(part)


def walked(step: dict[str, Any]) -> float:
    """The rows that a step read, those that it filtered out included."""
    removed = step.get("Rows Removed by Filter", 0) + step.get("Rows Removed by Index Recheck", 0)
    return float((step["Actual Rows"] + removed) * step["Actual Loops"])


def buffers_of(steps: list[dict[str, Any]]) -> int:
    """The pages that the most expensive plan read."""
    return max(int(step.get("Shared Hit Blocks", 0) + step.get("Shared Read Blocks", 0)) for step in steps)
