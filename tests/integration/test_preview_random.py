"""Random campaigns: the preview before they start, compared with the messages that they then make."""

import random
from datetime import datetime
from typing import Any

import pytest

from tests.engine import Clocks, MakeRig, Rig
from tests.nightly import amount, by_day
from tests.previews import NOW, lines, next_at, preview, random_campaign, what_happened
from tests.stack import Connection


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    db.execute("insert into public.outbox_templates (name, body) values ('hi', 'Hello {{name}}')")


PREVIEWS = amount("PREVIEWS", 60)
SEEDS = dict.fromkeys([17, 38, 40, 63, *range(PREVIEWS)])
UNTIL = "2026-11-03T00:00:00+00:00"


@pytest.mark.parametrize("seed", by_day(3, SEEDS))
async def test_random_campaign_runs_as_its_preview_predicted(
    db: Connection, make_rig: MakeRig, clocks: Clocks, seed: int
) -> None:
    rig: Rig = await make_rig(allowed_countries="US,CA")
    await rig.tick("dispatch")
    random_campaign(db, random.Random(seed))

    coming = [row for row in preview(db, 480) if row["send_at"]]
    # A skipped occurrence is listed at the opening that it would have waited for, days after it was skipped.
    assert len(coming) < 480 or coming[-1]["send_at"] > "2026-11-07"
    await live_through(db, rig, clocks, UNTIL)

    assert not lines(row for row in coming if row["send_at"] < UNTIL) - what_happened(db)
    assert not what_happened(db, UNTIL) - lines(coming)


async def live_through(db: Connection, rig: Rig, clocks: Clocks, until: str) -> None:
    """From the campaign's start on, the engine ticks at every moment at which a member or a message is due."""
    db.execute("update public.outbox_campaigns set status = 'active'")
    await rig.tick("campaigns", "dispatch")
    while (due := next_due(db)) is not None and due < datetime.fromisoformat(until):
        assert due > clocks.now(), "what was due was left undone"
        clocks.set(due)
        await rig.tick("campaigns", "dispatch")


def next_due(db: Connection) -> datetime | None:
    answer: Any = db.execute(
        "select least((select min(next_at) from public.outbox_campaign_members),"
        " (select min(due_at) from public.outbox where queue is not null))"
    ).fetchone()
    return None if answer[0] is None else datetime.fromisoformat(str(answer[0]))


def first_promised(db: Connection) -> str | None:
    return min((row["send_at"] for row in preview(db) if row["problem"] is None), default=None)


@pytest.mark.parametrize("seed", by_day(2, range(PREVIEWS)))
async def test_list_time_matches_the_first_previewed_message(db: Connection, rig: Rig, clocks: Clocks, seed: int) -> None:
    random_campaign(db, random.Random(seed))
    db.execute("delete from public.outbox_suppressions")
    db.execute(
        "update public.outbox_campaigns set daily_cap = null, weekly_cap = null, budget_parts = null, daily_budget_parts = null"
    )
    assert next_at(db) == first_promised(db)

    db.execute("update public.outbox_campaigns set status = 'active'")
    await rig.tick("campaigns")
    for hours in (0, 3, 20):
        clocks.move(f"{hours} hours")
        await rig.tick("campaigns", "dispatch", "campaigns")
        assert next_at(db) == first_promised(db)

    db.execute("update public.outbox_campaigns set status = 'paused'")
    assert next_at(db) == first_promised(db)
    db.execute("update public.outbox_campaigns set status = 'ended'")
    assert next_at(db) is None


@pytest.mark.parametrize("seed", by_day(2, range(PREVIEWS)))
async def test_short_preview_is_prefix_of_a_long_one(db: Connection, rig: Rig, clocks: Clocks, seed: int) -> None:
    random_campaign(db, random.Random(seed))
    db.execute("update public.outbox_campaigns set schedule = 'cron', cron_expression = '0 9,18 * * *', status = 'active'")

    for _ in range(2):
        whole = preview(db, 300)
        assert len(whole) == 300
        for most in (1, 5, 8, 24, 48, 100):
            assert preview(db, most) == whole[:most]
        # Some occurrences have messages by then, and are checked once more for messages that came back.
        clocks.move("1 day")
        await rig.tick("campaigns", "dispatch")
        db.execute("update public.outbox_campaign_members set handled_until = null where external_id < 'm06'")
