"""Group commit, with a database that waits until it is told to answer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from tests.unit.groups_in_memory import Database, adding, grouped, turn
from webhook.groups import Overloaded


async def test_what_arrives_together_is_one_call_in_one_order() -> None:
    database = Database()

    await asyncio.gather(*adding(grouped(database), [3], [1, 4], [2]))

    assert database.calls == [[1, 2, 3, 4]]


async def test_nobody_hears_back_before_the_commit() -> None:
    database = Database()
    database.open.clear()
    requests = adding(grouped(database), [1], [2])
    await turn()

    assert not any(request.done() for request in requests)
    database.open.set()
    await asyncio.gather(*requests)


async def test_while_one_group_is_under_way_the_next_one_gathers() -> None:
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


async def test_one_refused_item_costs_nobody_else_anything() -> None:
    database = Database()
    database.refused = {5}

    await asyncio.gather(*adding(grouped(database), *([number] for number in range(20))))

    assert database.kept == [5]
    assert sorted(database.committed) == [number for number in range(20) if number != 5]
    assert len(database.calls) <= 2 * 5 + 1


async def test_one_refused_item_of_a_request_leaves_its_others_committed() -> None:
    database = Database()
    database.refused = {2}

    await grouped(database).add([1, 2, 3])

    assert (sorted(database.committed), database.kept) == ([1, 3], [2])


async def test_an_item_that_breaks_us_fails_its_own_request_alone() -> None:
    database = Database()
    database.broken = {2}

    results = await asyncio.gather(*adding(grouped(database), [1], [2], [3]), return_exceptions=True)

    assert [type(result) for result in results] == [type(None), TypeError, type(None)]
    assert sorted(database.committed) == [1, 3]


async def test_a_database_that_is_away_is_said_to_everyone_and_asked_again_for_the_next() -> None:
    database = Database()
    groups = grouped(database)
    database.is_away = True

    results = await asyncio.gather(*adding(groups, [1], [2]), return_exceptions=True)
    assert [type(result) for result in results] == [GatewayUnavailable, GatewayUnavailable]
    assert len(database.calls) == 1

    database.is_away = False
    await groups.add([1])
    assert database.committed == [1]


async def test_what_can_not_even_be_kept_is_not_answered_as_committed() -> None:
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


async def test_more_than_may_wait_is_turned_away_at_once() -> None:
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


async def test_a_request_larger_than_the_room_is_let_in_alone() -> None:
    database = Database()

    await grouped(database, waiting=2).add([1, 2, 3])

    assert database.committed == [1, 2, 3]


async def test_who_goes_away_before_the_commit_loses_nothing_and_holds_up_nobody() -> None:
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


async def test_who_goes_away_while_waiting_for_a_call_loses_nothing() -> None:
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


async def test_an_item_that_comes_the_moment_a_worker_ends_is_not_forgotten() -> None:
    database = Database()
    groups = grouped(database)

    async def one_after_the_other(numbers: range) -> None:
        for number in numbers:
            await groups.add([number])

    async with asyncio.timeout(5):
        await asyncio.gather(*(one_after_the_other(range(start, start + 50)) for start in (0, 100, 200)))

    assert len(database.committed) == 150


async def test_closing_does_not_wait_for_a_database_that_hangs() -> None:
    database = Database()
    database.open.clear()
    groups = grouped(database)
    requests = adding(groups, [1])
    await database.called.wait()

    await groups.aclose()
    results = await asyncio.gather(*requests, return_exceptions=True)

    assert [type(result) for result in results] == [GatewayUnavailable]


async def test_closing_tells_those_who_never_got_into_a_call() -> None:
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


async def test_a_request_that_brought_nothing_has_nothing_to_wait_for() -> None:
    database = Database()

    async with asyncio.timeout(5):
        await grouped(database).add([])

    assert database.calls == []


async def test_stopping_in_the_middle_tells_everyone_who_waits() -> None:
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
            assert (result is None) == database.broken.isdisjoint(items)
            if result is None:
                assert set(items) <= set(database.committed) | set(database.kept)
        assert set(database.kept) <= refused

    asyncio.run(story())
