"""Group commit, with a database that answers when a test lets it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from tests.unit.groups_in_memory import Database, adding, grouped, turn
from webhook.groups import Overloaded


async def test_items_arriving_together_make_one_ordered_call() -> None:
    database = Database()

    await asyncio.gather(*adding(grouped(database), [3], [1, 4], [2]))

    assert database.calls == [[1, 2, 3, 4]]


async def test_requests_end_only_after_the_commit() -> None:
    database = Database()
    database.open.clear()
    requests = adding(grouped(database), [1], [2])
    await turn()

    assert not any(request.done() for request in requests)
    database.open.set()
    await asyncio.gather(*requests)


async def test_next_group_gathers_during_a_call() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database)
    requests = adding(groups, [1])
    await database.called.wait()

    requests += adding(groups, [3], [2])
    await turn()
    database.open.set()
    await asyncio.gather(*requests)

    assert database.calls == [[1], [2, 3]]


async def test_a_second_call_goes_when_a_crowd_waits() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database, calls=2, crowd=3)
    requests = adding(groups, [1])
    await database.called.wait()

    requests += adding(groups, [2], [3])
    await turn()
    assert database.under_way == 1

    requests += adding(groups, [4], *([number] for number in range(5, 20)))
    await turn()
    assert database.under_way == 2

    database.open.set()
    await asyncio.gather(*requests)
    assert database.most_under_way == 2
    assert sorted(database.committed) == list(range(1, 20))


async def test_a_group_has_a_size() -> None:
    database = Database()

    await asyncio.gather(*adding(grouped(database, size=2), [1], [2, 3], [4]))

    assert [len(call) for call in database.calls] == [2, 2]


async def test_refused_item_does_not_affect_other_requests() -> None:
    database = Database()
    database.refused = {5}

    await asyncio.gather(*adding(grouped(database), *([number] for number in range(20))))

    assert database.kept == [5]
    assert sorted(database.committed) == [number for number in range(20) if number != 5]
    assert len(database.calls) <= 2 * 5 + 1


async def test_other_items_of_a_request_commit_despite_refusal() -> None:
    database = Database()
    database.refused = {2}

    await grouped(database).add([1, 2, 3])

    assert (sorted(database.committed), database.kept) == ([1, 3], [2])


async def test_item_causing_an_error_fails_only_its_request() -> None:
    database = Database()
    database.broken = {2}

    results = await asyncio.gather(*adding(grouped(database), [1], [2], [3]), return_exceptions=True)

    assert [type(result) for result in results] == [bool, TypeError, bool]
    assert sorted(database.committed) == [1, 3]


async def test_outage_fails_all_requests_but_not_later_ones() -> None:
    database = Database()
    groups = grouped(database)
    database.is_away = True

    results = await asyncio.gather(*adding(groups, [1], [2]), return_exceptions=True)
    assert [type(result) for result in results] == [GatewayUnavailable, GatewayUnavailable]
    assert len(database.calls) == 1

    database.is_away = False
    await groups.add([1])
    assert database.committed == [1]


async def test_request_fails_when_setting_aside_fails() -> None:
    database = Database()
    database.refused = {1}
    groups = grouped(database)

    async def keep(_item: int, _error: GatewayRefused) -> None:
        raise GatewayUnavailable("away")

    groups._set_aside = keep
    with pytest.raises(GatewayUnavailable):
        await groups.add([1])


async def test_a_call_that_hangs_is_given_up() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database, seconds=0.01)

    with pytest.raises(GatewayUnavailable, match=r"0\.01 s"):
        await groups.add([1])

    database.open.set()
    await groups.add([2])
    assert database.committed == [2]


async def test_requests_beyond_the_waiting_limit_are_refused() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database, waiting=2)
    requests = adding(groups, [0])
    await database.called.wait()
    requests += adding(groups, [1], [2])
    await turn()

    with pytest.raises(Overloaded):
        await groups.add([3])

    database.open.set()
    await asyncio.gather(*requests)
    await groups.add([3])
    assert database.committed == [0, 1, 2, 3]


async def test_request_larger_than_the_limit_is_admitted_alone() -> None:
    database = Database()

    await grouped(database, waiting=2).add([1, 2, 3])

    assert database.committed == [1, 2, 3]


async def test_client_leaving_before_commit_loses_nothing() -> None:
    """Other requests do not wait longer because of it."""
    database = Database()
    database.open.clear()
    groups = grouped(database)
    gone, also_gone, stays = adding(groups, [1], [2], [3])
    await database.called.wait()
    gone.cancel()
    also_gone.cancel()
    await turn()

    database.open.set()
    await stays

    assert database.committed == [1, 2, 3]


async def test_client_leaving_the_queue_loses_nothing() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database)
    requests = adding(groups, [1])
    await database.called.wait()
    (gone,) = adding(groups, [2])
    await turn()
    gone.cancel()

    database.open.set()
    await asyncio.gather(*requests)
    await groups.aclose()

    assert database.committed == [1, 2]


async def test_item_arriving_as_a_worker_ends_is_committed() -> None:
    database = Database()
    groups = grouped(database)

    async def one_after_the_other(numbers: range) -> None:
        for number in numbers:
            await groups.add([number])

    async with asyncio.timeout(5):
        await asyncio.gather(*(one_after_the_other(range(start, start + 50)) for start in (0, 100, 200)))

    assert len(database.committed) == 150


async def test_closing_does_not_wait_for_hanging_calls() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database)
    requests = adding(groups, [1])
    await database.called.wait()

    await groups.aclose()
    results = await asyncio.gather(*requests, return_exceptions=True)

    assert [type(result) for result in results] == [GatewayUnavailable]


async def test_closing_fails_requests_still_in_the_queue() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database)
    requests = adding(groups, [1])
    await database.called.wait()
    requests += adding(groups, [2])
    await turn()

    await groups.aclose()
    results = await asyncio.gather(*requests, return_exceptions=True)

    assert [type(result) for result in results] == [GatewayUnavailable, GatewayUnavailable]
    assert database.calls == [[1]]


async def test_after_closing_nothing_more_is_taken() -> None:
    database = Database()
    groups = grouped(database)
    await groups.aclose()

    with pytest.raises(GatewayUnavailable):
        await groups.add([1])
    assert database.calls == []


async def test_empty_request_returns_without_a_call() -> None:
    database = Database()

    async with asyncio.timeout(5):
        await grouped(database).add([])

    assert database.calls == []


async def test_cancelled_worker_fails_all_waiting_requests() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database)
    requests = adding(groups, [1])
    await database.called.wait()

    (worker,) = groups._workers
    worker.cancel()
    results = await asyncio.gather(*requests, return_exceptions=True)

    assert [type(result) for result in results] == [GatewayUnavailable]


@given(
    requests=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=5), min_size=1, max_size=20),
    refused=st.sets(st.integers(0, 50), max_size=5),
    broken=st.sets(st.integers(0, 50), max_size=5),
    size=st.integers(1, 10),
    calls=st.integers(1, 3),
)
def test_everything_acknowledged_is_committed_or_kept(
    requests: list[list[int]], refused: set[int], broken: set[int], size: int, calls: int
) -> None:
    async def story() -> None:
        database = Database()
        database.refused, database.broken = refused, broken - refused
        groups = grouped(database, size=size, calls=calls, crowd=2)

        async with asyncio.timeout(5):
            results = await asyncio.gather(*adding(groups, *requests), return_exceptions=True)

        for items, result in zip(requests, results, strict=True):
            assert isinstance(result, bool) == database.broken.isdisjoint(items)
            if isinstance(result, bool):
                assert set(items) <= set(database.committed) | set(database.kept)
        assert set(database.kept) <= refused

    asyncio.run(story())


async def test_request_learns_whether_all_was_there_before() -> None:
    database = Database()
    groups = grouped(database, size=3)
    database.refused = {9}

    assert await groups.add([2, 1]) is False
    told = await asyncio.gather(*adding(groups, [1], [2, 3], [2, 1], [9], [1, 9]))

    assert told == [True, False, True, False, False]
