"""Polled pages with an item that the database refuses: that item is set aside, and polling goes on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from jobs.providers.base import BatchReports, Page, Report
from jobs.providers.sinch.client import SinchClient
from tests.engine import Clocks, Rig, column, insert, number
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"


def kept(db: Connection) -> list[Any]:
    return db.execute("select why from outbox_engine.kept_callbacks").fetchall()


def alarms(db: Connection) -> list[Any]:
    return db.execute("select kind from outbox_engine.alarms").fetchall()


@pytest.mark.parametrize("asked", ["feed", "batch"])
async def test_report_refused_by_database_hides_no_other(
    db: Connection, rig: Rig, clocks: Clocks, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    clocks.set(NOW)
    ids = insert(db, 5)
    await rig.tick("dispatch")
    clocks.move("10 minutes")
    spoil(monkeypatch, number(2))
    if asked == "batch":
        db.execute("update outbox_engine.dispatches set reconciliations = 3")
    await rig.tick("reconcile")

    assert [column(db, "status", row) for row in ids] == ["sent" if n == 2 else "delivered" for n in range(5)]
    assert (len(kept(db)), alarms(db)) == (1, [("callback.unusable",)])


def spoil(monkeypatch: pytest.MonkeyPatch, recipient: str) -> None:
    """Have every report about one number carry a code that no integer column can hold."""
    feed, batch = SinchClient.finished_reports, SinchClient.batch_reports

    def spoiled(reports: tuple[Report, ...]) -> tuple[Report, ...]:
        return tuple(replace(one, code=10**30) if one.recipient == recipient else one for one in reports)

    async def finished_reports(self: SinchClient, **asked: Any) -> Page[Report]:
        page = await feed(self, **asked)
        return replace(page, items=spoiled(page.items))

    async def batch_reports(self: SinchClient, batch_ids: Sequence[str], *, deadline: float) -> BatchReports:
        found = await batch(self, batch_ids, deadline=deadline)
        return replace(found, items=spoiled(found.items))

    monkeypatch.setattr(SinchClient, "finished_reports", finished_reports)
    monkeypatch.setattr(SinchClient, "batch_reports", batch_reports)
