"""The dispatch job between a database and a provider that answer when a test lets them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from itertools import count
from typing import Any, cast

import pytest

from jobs.dispatch import Dispatcher
from jobs.dispatching import pace
from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.gateway import Gateway
from jobs.gateway.values import Claim, Dispatch, Plan
from jobs.providers.base import Accepted, Provider, Submission
from jobs.runtime.clocks import Clocks
from jobs.runtime.settings import EngineSettings

A_WHILE = 30.0
FULL = 1000
_numbers = count()


class Database:
    """Holds each claim until a test answers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.urgent: list[bool] = []
        self.waiting: list[asyncio.Future[Claim]] = []

    async def claim(self, _plan: Plan, *, claim_id: str, max_dispatches: int, urgent_only: bool, **_: Any) -> Claim:
        answer: asyncio.Future[Claim] = asyncio.get_running_loop().create_future()
        self.asked.append((claim_id, max_dispatches))
        self.urgent.append(urgent_only)
        self.waiting.append(answer)
        return await answer

    async def accept(self, _accepted: Sequence[tuple[str, str]], **_: Any) -> tuple[Dispatch, ...]:
        return ()

    async def end_process(self, worker: str) -> None:
        self.ended = worker

    def answer(self, claim: Claim) -> None:
        """The claim that was made first."""
        self.waiting.pop(0).set_result(claim)


class Line:
    """A provider that accepts everything, once ``may_answer``."""

    max_recipients, longest_value = FULL, 160
    absence_proof = timedelta(seconds=20)

    def __init__(self) -> None:
        self.references: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def submit(self, submission: Submission, **_: Any) -> Accepted:
        self.references.append(submission.reference)
        await self.may_answer.wait()
        return Accepted(f"batch of {submission.reference}")


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def job(database: Database, line: Line) -> AsyncIterator[Dispatcher]:
    job = Dispatcher(
        gateway=cast(Gateway, database),
        provider=cast(Provider, line),
        plan=Plan("sinch", "plan", "host", "credential", None, 600),
        worker="worker",
        clocks=Clocks(),
        settings=EngineSettings(_env_file=None, dispatch_interval_seconds=60),
    )
    yield job
    line.may_answer.set()
    await asyncio.wait_for(job.drain(), A_WHILE)


def brings(*sizes: int, more: bool = True, limited: str | None = None, wait: float = 0.0) -> Claim:
    """A claim's answer: a dispatch of each size."""
    dispatches = tuple(Dispatch(str(next(_numbers)), "1", None, "text", None, 0.0, ("+12025550100",) * size) for size in sizes)
    return Claim(dispatches, more, False, (), None, limited, None, wait)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(A_WHILE):
        while not holds():  # noqa: ASYNC110  # of several objects that know nothing of events
            await asyncio.sleep(0)


async def in_pairs(job: Dispatcher, database: Database) -> "asyncio.Task[None]":
    """A tick whose first claim came back full, with the next two in flight."""
    tick = asyncio.create_task(job.tick())
    await until(lambda: len(database.asked) == 1)
    database.answer(brings(FULL, FULL))
    await until(lambda: len(database.waiting) == 2)
    return tick


async def test_full_claims_keep_two_claims_in_flight(job: Dispatcher, database: Database, line: Line) -> None:
    tick = await in_pairs(job, database)
    assert [places for _, places in database.asked] == [8, 2, 2], "with four requests open a pair brings four more at most"

    database.answer(brings(FULL, FULL))
    await until(lambda: len(database.waiting) == 2)
    database.answer(brings(more=False))
    database.answer(brings(7, more=False))
    await asyncio.wait_for(tick, A_WHILE)
    await job.finish()

    assert len(database.asked) == 4
    assert len(line.references) == 5, "what the last one brought went as well"


@pytest.mark.parametrize("sizes", [(FULL, FULL, FULL), (10,) * 8, (900,)])
async def test_partial_claim_is_followed_by_a_single_claim(job: Dispatcher, database: Database, sizes: tuple[int, ...]) -> None:
    tick = asyncio.create_task(job.tick())
    await until(lambda: len(database.asked) == 1)
    database.answer(brings(*sizes))
    await until(lambda: len(database.asked) == 2)

    database.answer(brings(more=False))
    await asyncio.wait_for(tick, A_WHILE)

    assert len(database.asked) == 2


async def test_no_more_than_eight_requests_are_open(job: Dispatcher, database: Database, line: Line) -> None:
    line.may_answer.clear()
    tick = await in_pairs(job, database)
    database.answer(brings(FULL, FULL))
    database.answer(brings(FULL, FULL))
    await until(lambda: len(line.references) == 6)
    assert not database.waiting, "none is claimed that could not be sent yet"

    line.may_answer.set()
    await until(lambda: len(database.waiting) == 2)
    database.answer(brings(more=False))
    database.answer(brings(more=False))
    await asyncio.wait_for(tick, A_WHILE)


async def test_slow_provider_does_not_stop_single_message_claims(job: Dispatcher, database: Database, line: Line) -> None:
    """Claims stop only when no request slot is free."""
    line.may_answer.clear()
    tick = asyncio.create_task(job.tick())
    for claims in range(1, 6):
        await until(lambda: len(database.asked) == claims)  # noqa: B023  # waited for at once
        database.answer(brings(*(1,) * 8))
    await until(lambda: len(line.references) == 40)
    assert not database.waiting, "none is claimed that could not be sent yet"

    line.may_answer.set()
    await until(lambda: len(database.waiting) == 1)
    database.answer(brings(more=False))
    await asyncio.wait_for(tick, A_WHILE)


async def held_by_bulk(job: Dispatcher, database: Database, line: Line) -> "asyncio.Task[None]":
    """A tick that waits for a request slot, because a provider that does not answer has them all."""
    line.may_answer.clear()
    tick = await in_pairs(job, database)
    database.answer(brings(FULL, FULL))
    database.answer(brings(FULL, FULL))
    await until(lambda: len(line.references) == 6)
    assert not database.waiting
    return tick


async def until_it_ends(tick: "asyncio.Task[None]", database: Database, line: Line) -> None:
    """The provider answers again, and claims find nothing more."""
    line.may_answer.set()
    await until(lambda: len(database.waiting) > 0)
    for _ in range(len(database.waiting)):
        database.answer(brings(more=False))
    await asyncio.wait_for(tick, A_WHILE)


async def test_notice_claims_urgent_rows_despite_full_slots(job: Dispatcher, database: Database, line: Line) -> None:
    tick = await held_by_bulk(job, database, line)

    job.notice()
    await until(lambda: len(database.waiting) == 1)
    assert (database.asked[-1][1], database.urgent) == (2, [False, False, False, True])
    job.notice()
    database.answer(brings(1, more=False))
    await until(lambda: len(database.waiting) == 1)
    database.answer(brings(1, more=False))
    await until(lambda: len(line.references) == 8)

    await until_it_ends(tick, database, line)
    assert database.urgent[-1] is False


async def test_urgent_claim_does_not_end_a_pause(job: Dispatcher, database: Database, line: Line) -> None:
    """A claim that finds no rows answers before it reads pauses."""
    tick = await held_by_bulk(job, database, line)
    job._health._paused = "account"

    job.notice()
    await until(lambda: len(database.waiting) == 1)
    database.answer(brings(1, more=False))
    await until(lambda: len(line.references) == 7)

    assert job.stopped
    await until_it_ends(tick, database, line)


async def test_urgent_claims_stop_at_ten_open_requests(
    job: Dispatcher, database: Database, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "AFTER_NOTICE_SECONDS", 0.0)
    tick = await held_by_bulk(job, database, line)

    job.notice()
    for places in (2, 2):
        await until(lambda: len(database.waiting) == 1)
        assert database.asked[-1][1] == places
        database.answer(brings(FULL, FULL))
    await until(lambda: len(line.references) == 10)
    job.notice()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not database.waiting

    await until_it_ends(tick, database, line)


async def test_urgent_rows_are_polled_without_notices(job: Dispatcher, database: Database, line: Line) -> None:
    """The interval is the same as that of the usual poll."""
    tick = await held_by_bulk(job, database, line)
    job._pace._interval = 0.05
    job.notice()
    await until(lambda: len(database.waiting) == 1)
    database.answer(brings(more=False))

    await until(lambda: len(database.waiting) == 1)
    assert database.urgent[-1] is True

    job._pace._interval = 60
    database.answer(brings(more=False))
    await until_it_ends(tick, database, line)


async def test_claimed_rows_are_sent_although_other_claim_waits(job: Dispatcher, database: Database, line: Line) -> None:
    """Otherwise it is sent after the rate has passed to other processes."""
    tick = await in_pairs(job, database)
    sent = len(line.references)

    database.answer(brings(limited="messages_per_second", wait=0.5))
    database.answer(brings(1))
    await until(lambda: len(line.references) == sent + 1)

    assert len(database.asked) == 3, "the wait is not over"
    await until(lambda: len(database.asked) == 4)
    database.answer(brings(more=False))
    await asyncio.wait_for(tick, A_WHILE)


async def test_lost_claims_are_repeated_before_new_claims(job: Dispatcher, database: Database, line: Line) -> None:
    tick = await in_pairs(job, database)
    lost = database.asked[1:]
    database.waiting.pop().set_exception(GatewayUnavailable("lost"))
    database.answer(brings(FULL, FULL))
    with pytest.raises(GatewayUnavailable):
        await asyncio.wait_for(tick, A_WHILE)
    assert len(database.asked) == 3, "while one is lost no other is asked for"

    again = asyncio.create_task(job.tick())
    await until(lambda: len(database.waiting) == 1)
    assert database.asked[3:] == lost[1:]
    database.answer(brings(5, more=False))
    await asyncio.wait_for(again, A_WHILE)
    await job.finish()

    assert len(line.references) == 5
