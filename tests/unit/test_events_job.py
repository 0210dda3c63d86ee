"""The events job in virtual time: how much it does at once, when it pauses, and what it keeps."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import structlog

from jobs.events import Events
from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.eventing import DisabledEndpoint, EventClaim, EventDelivery, EventResult
from jobs.runtime.waking import Wakings
from tests.simulation.clockwork import run


def now() -> float:
    return asyncio.get_running_loop().time()


class Database:
    """Leases of ``waiting`` deliveries, oldest first. A call takes ``seconds``. ``recorded`` are results by delivery."""

    def __init__(self, waiting: Sequence[EventDelivery] = (), *, endpoints: int = 1, seconds: float = 0.0) -> None:
        self.waiting, self.endpoints, self.seconds = list(waiting), endpoints, seconds
        self.claims: list[tuple[float, int]] = []
        self.recorded: dict[int, EventResult] = {}
        self.is_away = False

    async def claim_events(self, worker: str, *, most: int, lease: float, busy: bool) -> EventClaim:
        assert (worker, lease) == ("w", 60.0)
        assert most > 0
        self.claims.append((now(), most))
        await asyncio.sleep(self.seconds)
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return EventClaim(tuple(taken), self.endpoints, bool(self.waiting), None)

    async def record_event_results(self, results: Sequence[EventResult]) -> tuple[DisabledEndpoint, ...]:
        await asyncio.sleep(self.seconds)
        if self.is_away:
            raise GatewayUnavailable("away")
        assert results
        self.recorded |= {result.id: result for result in results}
        return ()


class Client:
    """Takes so many seconds for each request; ``hang`` never answers within its 15 seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.open: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.ended: list[tuple[float, str]] = []
        self.closed = False

    async def deliver(self, delivery: EventDelivery) -> EventResult:
        self._count(delivery.endpoint, 1)
        try:
            await asyncio.sleep(15.0 if delivery.endpoint == "hang" else self.seconds)
        finally:
            self._count(delivery.endpoint, -1)
        self.ended.append((now(), delivery.endpoint))
        return (
            EventResult(delivery.id, 9, None, "no answer") if delivery.endpoint == "hang" else EventResult(delivery.id, 9, 204)
        )

    async def aclose(self) -> None:
        self.closed = True

    def _count(self, endpoint: str, by: int) -> None:
        for name in (endpoint, "all"):
            self.open[name] = self.open.get(name, 0) + by
            self.most[name] = max(self.most.get(name, 0), self.open[name])


def deliveries(count: int, endpoint: str = "a", *, first: int = 0) -> list[EventDelivery]:
    return [EventDelivery(first + n, 9, endpoint, "https://a", (), f"evt_{first + n}", "t", "{}", 1) for n in range(count)]


def job(database: Any, client: Any, wakings: Wakings | None = None, **settings: float) -> Events:
    return Events(gateway=database, worker="w", client=client, wakings=wakings or Wakings(), **settings)


def work(begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in virtual time. What it makes belongs to that loop."""
    run(begin())


def test_everything_due_is_sent_few_at_once() -> None:
    database, client = Database(deliveries(100)), Client(0.2)

    work(lambda: job(database, client).tick())

    assert sorted(database.recorded) == list(range(100))
    assert client.most["a"] == 6
    assert max(most for _, most in database.claims) == 32


def test_hanging_endpoint_leaves_room_for_others() -> None:
    database = Database([*deliveries(20, "hang"), *deliveries(20, "good", first=20)])
    client = Client(0.1)

    work(lambda: job(database, client).tick())

    assert [at for at, name in client.ended if name == "good"][-1] < 15.0
    assert client.most == {"hang": 6, "good": 2, "all": 8}
    hung = [one for one in database.recorded.values() if one.error]
    assert len(hung) == 6  # the others were given up: their leases end by themselves


@pytest.mark.parametrize(("is_claiming", "pause"), [(False, 1.0), (True, 2.0)])
def test_pause_is_longer_beside_sending(is_claiming: bool, pause: float) -> None:
    database, wakings = Database(deliveries(64), seconds=0.5), Wakings()
    wakings.join().is_claiming = is_claiming

    work(lambda: job(database, Client(), wakings).tick())

    # The first step is a claim of half a second, the second a record and a claim.
    assert [at for at, _ in database.claims][:2] == [0.0, 0.5 + pause + 0.5]


def test_without_endpoints_it_asks_seldom() -> None:
    database = Database(endpoints=0)

    async def main() -> None:
        events = job(database, Client())
        for _ in range(61):
            await events.tick()
            await asyncio.sleep(1.0)

    work(main)

    assert [at for at, _ in database.claims] == [0.0, 30.0, 60.0]


def test_bounded_tick_leaves_rest_to_next() -> None:
    database, client = Database(deliveries(200)), Client(1.0)

    work(lambda: job(database, client, tick_seconds=10.0).tick())

    assert 32 <= len(database.recorded) == len(client.ended) < 120
    assert len(database.recorded) + len(database.waiting) == 200


def test_results_wait_while_database_is_away() -> None:
    database, client = Database(deliveries(3)), Client()

    async def main() -> None:
        events = job(database, client)
        database.is_away = True
        for _ in range(2):
            with pytest.raises(GatewayUnavailable):
                await events.tick()
        database.is_away = False
        await events.tick()

    work(main)

    assert sorted(database.recorded) == [0, 1, 2]
    assert len(client.ended) == 3


def test_stop_waits_and_then_cuts_off() -> None:
    database = Database([*deliveries(1, "hang"), *deliveries(1, "good", first=1)])
    client = Client(2.0)

    async def main() -> None:
        events = job(database, client)
        ticking = asyncio.create_task(events.tick())
        await asyncio.sleep(1.0)
        database.waiting = deliveries(5, first=2)
        await events.drain()
        await ticking
        assert now() == 7.0

    work(main)

    assert list(database.recorded) == [1]
    assert client.closed
    assert len(database.waiting) == 5


def test_trouble_of_endpoint_is_logged_once() -> None:
    with structlog.testing.capture_logs() as logged:
        work(lambda: job(Database(deliveries(3, "hang")), Client()).tick())

    warnings = [(one["event"], one["endpoint"]) for one in logged if one["log_level"] == "warning"]
    assert warnings == [("event_endpoint.failing", "hang")]
