"""Whether dead rows are vacuumed, and the tables fit into the memory of the database."""

from collections.abc import Iterator
from typing import Final

from jobs.examining.findings import Finder, Finding, some
from jobs.gateway.doctor import Storage
from jobs.runtime.counts import are, counted
from jobs.runtime.times import ago

find = Finder("storage")
_GB: Final = 1_000_000_000
_MB: Final = 1_000_000


def whole(storage: Storage) -> Iterator[Finding]:
    """All of this check."""
    yield from vacuum(storage)
    yield from transactions(storage)
    yield size(storage)


def vacuum(storage: Storage) -> Iterator[Finding]:
    if not storage.autovacuum:
        yield find.failed("autovacuum is off in this database", "switch autovacuum and track_counts on")
    elif storage.without_autovacuum:
        tables = some(storage.without_autovacuum)
        yield find.failed(f"autovacuum is off for {tables}", "alter table … reset (autovacuum_enabled) for each")
    if storage.bloated:
        yield find.warning(f"more dead rows than live ones in {some(storage.bloated)}", "vacuum (analyze) each")


def transactions(storage: Storage) -> Iterator[Finding]:
    if storage.open_transactions:
        yield find.warning(
            f"{counted(storage.open_transactions, 'transaction')} {are(storage.open_transactions)} open for ten minutes and "
            f"more, the longest for {ago(storage.longest_seconds or 0)}: dead rows stay",
            "see pg_stat_activity, and set idle_in_transaction_session_timeout",
        )
    if prepared := storage.prepared_transactions:
        yield find.warning(
            f"{counted(prepared, 'prepared transaction')} {are(prepared)} open: dead rows stay", "see pg_prepared_xacts"
        )


def size(storage: Storage) -> Finding:
    """docs/scale.md: beyond the memory, late reports and retention read from the disk. Claims do not."""
    of = f"{_bytes(storage.bytes)} for {counted(int(storage.messages), 'message')}, of {_bytes(storage.memory_bytes)} memory"
    if storage.bytes > storage.memory_bytes:
        return find.warning(f"tables take {of}", "shorten RETENTION_DAYS, or take a larger instance: docs/scale.md")
    return find.ok(f"tables take {of}")


def _bytes(count: int) -> str:
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / _MB:.0f} MB"
