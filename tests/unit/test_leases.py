"""Leases are renewed while their dispatches are open, and lost leases are logged."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from jobs.dispatching.leases import Leases, clock
from jobs.gateway.values import Dispatch

A_WHILE = 30.0
LEASE = 0.02
DISPATCH = Dispatch(
    dispatch_id="d", lease_token="1", sender=None, body="hello", texts=None, recipients=("+12025550100",), expire_at=None,
    wait_seconds=0,
)  # fmt: skip


class Database:
    """Gives each heartbeat the next answer that the test set, and after those that no lease is held."""

    def __init__(self) -> None:
        self.answers: list[frozenset[str] | Exception] = []
        self._asked = asyncio.Semaphore(0)

    async def renew(self, _held: Sequence[Dispatch]) -> frozenset[str]:
        self._asked.release()
        answer = self.answers.pop(0) if self.answers else frozenset[str]()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def is_asked(self, times: int) -> None:
        for _ in range(times):
            await asyncio.wait_for(self._asked.acquire(), A_WHILE)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def leases(database: Database) -> AsyncIterator[Leases]:
    leases = Leases(renew=database.renew, lease=LEASE)
    yield leases
    await leases.stop()


@pytest.mark.parametrize(("settling", "said"), [(False, ["lease.lost"]), (True, [])])
async def test_ended_lease_is_lost_unless_being_settled(
    database: Database, leases: Leases, settling: bool, said: list[str]
) -> None:
    """Settling means that the outcome of the dispatch is being written."""
    with capture_logs() as logs:
        leases.hold([DISPATCH], since=clock())
        if settling:
            leases.settle(DISPATCH)
        await database.is_asked(1)
        leases.drop(DISPATCH)
        await leases.stop()

    assert [entry["event"] for entry in logs] == said


async def test_new_hold_restarts_renewal_after_an_error(database: Database, leases: Leases) -> None:
    database.answers = [ValueError("ours"), frozenset({"d"})]
    leases.hold([DISPATCH], since=clock())
    heart = leases._heart
    assert heart is not None
    with pytest.raises(ValueError, match="ours"):
        await asyncio.wait_for(heart, A_WHILE)

    leases.hold([DISPATCH], since=clock())

    await database.is_asked(2)
