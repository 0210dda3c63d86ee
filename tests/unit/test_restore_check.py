"""Which lists are read before the accounts of a process claim, and how often."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.gateway.errors import FunctionMissing
from jobs.gateway.restore_check import RestoreCheck
from jobs.gateway.values import Plan
from jobs.providers.base import ListedReference, Page, ProviderError


class Database:
    """Knows every reference. ``noted`` are the plans whose dispatch jobs were noted as waiting."""

    def __init__(self, *, is_old: bool = False) -> None:
        self.is_old = is_old
        self.noted: list[str] = []

    async def check_references(self, _plan: Plan, references: Sequence[ListedReference], **_: Any) -> list[str]:
        return ["known"] * len(references)

    async def draw_requests(self, _plan: Plan, _kind: str) -> bool:
        return True

    async def note_waiting(self, plan: Plan) -> None:
        self.noted.append(plan.plan)
        if self.is_old:
            raise FunctionMissing("outbox_note_waiting is not in the database")


class Outage:
    async def unanswered(self, _job: str, _error: ProviderError) -> None:
        """The dispatch job logs it."""

    def answered(self, _job: str) -> None:
        """The dispatch job logs it."""


class Lists:
    """A provider's list. ``away`` so many times it does not answer."""

    absence_proof = timedelta(seconds=20)

    def __init__(self, *, away: int = 0) -> None:
        self.away = away
        self.readings = 0

    async def references(self, **_: Any) -> Page[ListedReference]:
        self.readings += 1
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise ProviderError("away")
        return Page((), last=True)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def accounts(*lists: Lists, time: Time | None = None, database: Database | None = None) -> list[RestoreCheck]:
    """The checks of accounts of one process. A last one has no list."""
    checks = []
    database = database or Database()
    for place, provider in enumerate([*lists, Lists(away=1000)]):
        given: dict[str, Any] = {"gateway": database, "provider": provider, "outage": Outage()}
        plan = Plan("sinch", f"plan {place}", "h", "c", None, 600)
        checks.append(RestoreCheck(**given, plan=plan, deadline=5, has_list=place < len(lists), clock=time or Time()))
    for check in checks:
        check.others = tuple(other for other in checks if other is not check)
    return checks


async def all_allowed(checks: Sequence[RestoreCheck]) -> list[bool]:
    return await asyncio.gather(*(check.allows_claims() for check in checks))


async def test_each_list_is_read_once() -> None:
    lists = Lists(), Lists()
    checks = accounts(*lists)

    assert await all_allowed(checks) == [True, True, True]
    assert await all_allowed(checks) == [True, True, True]
    assert [one.readings for one in lists] == [1, 1]


@pytest.mark.parametrize("place", [0, 2])
async def test_no_account_claims_before_every_list_is_read(place: int) -> None:
    lists = Lists(), Lists()

    assert await accounts(*lists)[place].allows_claims()

    assert [one.readings for one in lists] == [1, 1]


async def test_claims_wait_for_no_list_but_their_own() -> None:
    away, time = Lists(away=1), Time()
    checks = accounts(away, Lists(), time=time)

    with capture_logs() as logs:
        assert await all_allowed(checks) == [False, True, True]
    assert [(one["event"], one["plan"]) for one in logs].count(("sending.waits", "plan 0")) == 1
    assert away.readings == 1

    time.now += 1
    assert await all_allowed(checks) == [True, True, True]
    assert away.readings == 2


async def test_all_lists_are_read_again_after_an_outage() -> None:
    """The database may have been restored meanwhile. The account without a list noticed the outage."""
    lists = Lists(), Lists()
    checks = accounts(*lists)
    await all_allowed(checks)

    for check in checks:
        check.begin_again()

    assert not any(check.passed for check in checks)
    assert await all_allowed(checks) == [True, True, True]
    assert [one.readings for one in lists] == [2, 2]


async def test_outage_during_a_reading_makes_it_worthless() -> None:
    lists, time = Lists(away=1), Time()
    first, last = accounts(lists, time=time)
    assert await last.allows_claims()
    time.now += 1
    reading = asyncio.create_task(first.allows_claims())
    await asyncio.sleep(0)
    assert lists.readings == 2

    last.begin_again()

    assert not await reading
    assert await all_allowed([first, last]) == [True, True]
    assert lists.readings == 3


@pytest.mark.parametrize(("is_old", "noted"), [(False, 3), (True, 1)])
async def test_turns_without_a_claim_are_noted(is_old: bool, noted: int) -> None:
    """Every ten seconds, and never again where the database has an older schema."""
    time, database = Time(), Database(is_old=is_old)
    waiting, other = accounts(Lists(away=1000), time=time, database=database)

    for _ in range(25):
        assert not await waiting.allows_claims()
        time.now += 1

    assert database.noted == ["plan 0"] * noted
    assert await other.allows_claims()
    assert database.noted == ["plan 0"] * noted
