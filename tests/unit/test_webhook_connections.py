"""Which connection ends, and when: without sockets, on a clock of the test."""

import pytest

from webhook.connections import Connections, Fault, Peer, Phase, Queue
from webhook.limits import Limits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Client:
    """A connection that records why it ended."""

    queue: Queue | None = None

    def __init__(self, connections: Connections, phase: Phase = Phase.NEW, *, trusted: bool = False) -> None:
        self.connections = connections
        self.phase = Phase.NEW
        self.held = 0
        self.peer = Peer(connections)
        self.peer.is_trusted = trusted
        self.fault: Fault | None = None
        connections.opened(self)
        if self.queue is not None:
            connections.enter(self, phase)

    def end(self, fault: Fault) -> None:
        self.fault = fault
        self.connections.closing(self)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, **limits: int) -> Connections:
    return Connections(Limits(**limits), clock=clock)


@pytest.mark.parametrize(
    ("phase", "seconds", "fault"),
    [
        (Phase.NEW, 75, Fault.IDLE),
        (Phase.HEAD, 10, Fault.SLOW_HEAD),
        (Phase.BODY, 10, Fault.SLOW_BODY),
        (Phase.SURPLUS, 10, Fault.SLOW_BODY),
        (Phase.UNREAD, 10, Fault.UNREAD),
        (Phase.IDLE, 75, Fault.IDLE),
        (Phase.ANSWERING, 3600, None),
    ],
)
async def test_each_phase_has_its_time(clock: Clock, phase: Phase, seconds: float, fault: Fault | None) -> None:
    connections = make(clock)
    client = Client(connections, phase)
    clock.now = seconds - 0.1
    connections.sweep()
    assert client.fault is None

    clock.now = seconds
    connections.sweep()
    assert client.fault is fault


async def test_longest_stuck_stranger_ends_first(clock: Clock) -> None:
    connections = make(clock, connections=4)
    trusted = Client(connections, Phase.IDLE, trusted=True)
    answered = Client(connections, Phase.ANSWERING)
    clients = []
    for phase in (Phase.HEAD, Phase.IDLE, Phase.NEW, Phase.BODY):
        clock.now += 1
        clients.append(Client(connections, phase))

    assert [client.fault for client in clients] == [Fault.TOO_MANY, Fault.TOO_MANY, None, None]
    assert (trusted.fault, answered.fault) == (None, None)


async def test_newcomer_ends_if_all_others_are_answered(clock: Clock) -> None:
    connections = make(clock, connections=2)
    answered = [Client(connections, Phase.ANSWERING) for _ in range(2)]

    assert Client(connections).fault is Fault.TOO_MANY
    assert [client.fault for client in answered] == [None, None]


async def test_memory_is_taken_from_large_requests_only(clock: Clock) -> None:
    connections = make(clock, held_bytes=100_000)
    small = Client(connections, Phase.HEAD)
    connections.hold(small, 16_384)
    large = [Client(connections, Phase.BODY) for _ in range(2)]
    for client in large:
        connections.hold(client, 50_000)

    assert [client.fault for client in (small, *large)] == [None, Fault.MEMORY, None]


async def test_memory_of_an_ended_request_is_free(clock: Clock) -> None:
    connections = make(clock, held_bytes=100_000)
    for _ in range(10):
        client = Client(connections, Phase.BODY)
        connections.hold(client, 90_000)
        connections.enter(client, Phase.IDLE)
        assert client.fault is None


async def test_files_of_ended_connections_count_until_closed(clock: Clock) -> None:
    connections = make(clock, connections=80)
    client = Client(connections)
    assert connections.acceptable == 89
    client.end(Fault.TOO_MANY)
    assert connections.acceptable == 89
    connections.closed(client)
    assert connections.acceptable == 90


@pytest.mark.parametrize(("files", "connections"), [(None, 1000), (100_000, 1000), (1024, 881), (256, 199), (16, 1)])
def test_connections_and_their_spares_fit_the_files(files: int | None, connections: int) -> None:
    limits = Limits().within(files)

    assert limits.connections == connections
    if files is not None and files > 64:
        assert limits.connections + limits.spare_connections + 32 <= files


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_workers_together_hold_what_one_would(workers: int) -> None:
    share = Limits().for_worker(workers)

    assert 1000 <= share.connections * workers < 1000 + workers
    assert share.held_bytes * workers <= Limits().held_bytes
