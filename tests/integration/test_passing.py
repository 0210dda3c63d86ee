"""A row that must not be sent yet delays no other row, whatever the rate, the provider's clock or a change of the campaign."""

import pytest

from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks, MakeRig, Rig, history, insert, statuses
from tests.stack import Connection

NOON = "2026-11-24 12:00+00"


@pytest.fixture(autouse=True)
def _noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOON)
    template(db)


def many(db: Connection, to: str, members: int) -> None:
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, parameters)"
        " select %s, n::text, '+1202555' || (1000 + n), 'UTC', '{\"name\": \"Ada\"}' from generate_series(1, %s) n",
        (to, members),
    )


@pytest.mark.parametrize("rate", [3.0, None])
async def test_paused_campaign_neither_delays_others_nor_costs_rate(
    db: Connection, make_rig: MakeRig, clocks: Clocks, rate: float | None
) -> None:
    rig = await make_rig(sinch_settings={"sinch_messages_per_second": rate})
    campaign(db, schedule="once", starts_at=NOON)
    many(db, "c", 2500)
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set status = 'paused'")
    clocks.move("1 second")
    insert(db, 3, first=1, priority=200)

    await rig.tick("dispatch")

    assert statuses(db) == {"scheduled": 2500, "sent": 3}


async def test_budget_is_checked_when_a_message_goes_out(db: Connection, make_rig: MakeRig, clocks: Clocks) -> None:
    rig = await make_rig(sinch_settings={"sinch_messages_per_second": 2})
    campaign(db, schedule="once", starts_at=NOON, budget_parts=3)
    many(db, "c", 8)
    await rig.tick("campaigns", "dispatch")
    assert statuses(db) == {"sent": 2, "pending": 6}
    db.execute("delete from public.outbox_campaign_members where external_id = '3'")

    clocks.move("1 second")
    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 3, "cancelled": 1, "suppressed": 4}


async def test_window_about_to_close_counts_as_closed(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The provider's clock may be ahead."""
    campaign(db, schedule="once", starts_at=NOON, window_start="09:00", window_end="13:00", late_limit="1 day")
    member(db)
    await rig.tick("campaigns")
    clocks.set("2026-11-24 12:59:45+00")
    rig.simulator.advance(20)

    await rig.tick("dispatch")
    assert rows(db, "status, due_at::text") == [("scheduled", "2026-11-25 09:00:00+00")]
    clocks.set("2026-11-25 09:00+00")
    await rig.tick("dispatch")
    assert statuses(db) == {"sent": 1}


async def test_texts_expired_by_provider_clock_stop_nothing_else(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The first answer tells how far the provider's clock is ahead. Later requests name their expiry by it."""
    rig.simulator.advance(5)
    for n in range(4):
        insert(db, 1, first=n, body=f"Your code is {n}", expires_at="2026-11-24 12:00:03+00", priority=0)
        await rig.tick("dispatch")

    insert(db, 1, first=4)
    await rig.tick("dispatch")

    assert statuses(db) == {"failed": 1, "sent": 4}


async def test_campaign_with_new_template_sends_no_old_text(db: Connection, rig: Rig, clocks: Clocks) -> None:
    template(db, "bye", "Goodbye {{name}}")
    campaign(db, schedule="once", starts_at=NOON)
    member(db)
    await rig.tick("campaigns")

    db.execute("update public.outbox_campaigns set template = 'bye'")
    await rig.tick("dispatch")
    assert statuses(db) == {"scheduled": 1}
    await rig.tick("campaigns", "dispatch")

    assert rows(db, "status, body") == [("sent", "Goodbye Ada")]
    assert "held" in history(db, int(rows(db, "id")[0][0]))
