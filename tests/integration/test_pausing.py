"""An operator's pauses, and other pauses of a plan."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from jobs.gateway.errors import GatewayRefused
from jobs.gateway.operating import Operating
from sandbox.local.stack import LocalStack
from sandbox.simulator import control as faults
from sandbox.simulator.server import Running
from tests.calls import claim_all, refuse
from tests.engine import Rig, insert, later, plan_of, stand_still, statuses, supabase_settings
from tests.stack import Connection


@pytest.fixture
async def operating(stack: LocalStack) -> AsyncIterator[Operating]:
    operating = await Operating.connect(supabase_settings(stack))
    yield operating
    await operating.aclose()


async def test_operators_pause_stops_all_sending(rig: Rig, operating: Operating, db: Connection, sinch: Running) -> None:
    insert(db)
    plan = plan_of(sinch)

    (pause,) = await operating.pause(provider=plan.provider, plan=plan.plan, until=None, seconds=None, reason="wrong prices")
    await rig.tick("dispatch")
    held = statuses(db)
    resumed = await operating.resume(provider=None, plan=plan.plan, force=False)
    await rig.tick("dispatch")

    assert (pause.kind, pause.reason, pause.until) == ("operator", "wrong prices", None)
    assert held == {"pending": 1}
    assert [ended.reason for ended in resumed.ended] == ["wrong prices"]
    assert resumed.remaining == ()
    assert statuses(db) == {"sent": 1}


async def test_a_pause_until_a_time_ends_by_itself(rig: Rig, operating: Operating, db: Connection, sinch: Running) -> None:
    insert(db)
    plan = plan_of(sinch)
    await operating.pause(provider=plan.provider, plan=plan.plan, until=None, seconds=1800, reason=None)

    later(db, "29 minutes")
    await rig.tick("dispatch")
    held = statuses(db)
    later(db, "2 minutes")
    await rig.tick("dispatch")

    assert held == {"pending": 1}
    assert statuses(db) == {"sent": 1}
    assert (await operating.status()).pauses == ()


async def test_repeated_pause_takes_the_new_time(operating: Operating) -> None:
    at = datetime.now(UTC)
    await operating.pause(provider="sinch", plan="p", until=None, seconds=None, reason="long")

    (pause,) = await operating.pause(provider="sinch", plan="p", until=at + timedelta(minutes=5), seconds=None, reason="short")

    assert pause.until == at + timedelta(minutes=5)
    assert [kept.reason for kept in (await operating.status()).pauses] == ["short"]


async def test_pause_that_ends_in_the_past_is_refused(operating: Operating) -> None:
    with pytest.raises(GatewayRefused, match="has passed"):
        await operating.pause(provider="sinch", plan="p", until=datetime(2020, 1, 1, tzinfo=UTC), seconds=None, reason=None)


async def test_without_a_name_every_known_plan_is_paused(rig: Rig, operating: Operating, db: Connection) -> None:
    insert(db)
    await rig.tick("dispatch")
    db.execute(
        "insert into outbox_engine.plans (provider, plan, host, requests_per_minute, tokens, refilled_at)"
        " values ('vonage', 'other', 'h', 600, 1, now())"
    )

    paused = await operating.pause(provider=None, plan=None, until=None, seconds=None, reason=None)

    assert {pause.provider for pause in paused} == {"sinch", "vonage"}


async def test_resume_names_account_pauses_and_force_probes(rig: Rig, operating: Operating, db: Connection) -> None:
    insert(db, 3)
    rig.simulator.add(faults.account_error(402, times=1))
    await rig.tick("dispatch")
    await operating.pause(provider=None, plan=None, until=None, seconds=None, reason=None)

    mild = await operating.resume(provider=None, plan=None, force=False)
    await rig.tick("dispatch")
    still = statuses(db)
    forced = await operating.resume(provider=None, plan=None, force=True)
    await rig.tick("dispatch")

    assert [pause.kind for pause in mild.remaining] == ["account"]
    assert still == {"pending": 3}
    assert [pause.probing for pause in forced.remaining] == [True]
    assert statuses(db)["sent"] >= 1
    assert (await operating.status()).pauses == ()


async def test_repeated_pause_keeps_its_first_start(operating: Operating, db: Connection) -> None:
    stand_still(db)
    await operating.pause(provider="sinch", plan="p", until=None, seconds=60.0, reason="first")
    later(db, "10 seconds")
    (pause,) = await operating.pause(provider="sinch", plan="p", until=None, seconds=30.0, reason="second")
    later(db, "10 seconds")
    assert (pause.until, pause.reason) == (pause.since + timedelta(seconds=40), "second")

    later(db, "1 minute")
    (anew,) = await operating.pause(provider="sinch", plan="p", until=None, seconds=60.0, reason="third")

    assert anew.until == anew.since + timedelta(minutes=1)


async def test_a_forced_resume_ends_only_its_plans_pauses(operating: Operating, db: Connection) -> None:
    dispatches = []
    for n, plan in enumerate(("p", "q")):
        insert(db, first=n)
        dispatches += claim_all(db, plan=plan)
    for dispatch in dispatches:
        refuse(db, dispatch, "account", retry_after=600)

    left = await operating.resume(provider="sinch", plan="p", force=True)

    assert {pause.plan: pause.probing for pause in left.remaining} == {"p": True, "q": False}


async def test_plan_that_only_has_a_pause_is_resumed(operating: Operating) -> None:
    """No process has claimed for it yet."""
    await operating.pause(provider="sinch", plan="new", until=None, seconds=None, reason="not yet")

    resumed = await operating.resume(provider=None, plan=None, force=False)

    assert [pause.plan for pause in resumed.ended] == ["new"]
    assert resumed.remaining == ()


async def test_resume_names_no_pause_that_is_over(operating: Operating, db: Connection) -> None:
    stand_still(db)
    await operating.pause(provider="sinch", plan="p", until=None, seconds=60, reason=None)
    later(db, "1 minute")

    resumed = await operating.resume(provider=None, plan=None, force=False)

    assert (resumed.ended, resumed.remaining) == ((), ())
