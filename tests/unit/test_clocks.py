"""What a process knows of the other clocks, from the times in their answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runtime.clocks import Bounds, Clocks, Reference

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@dataclass
class World:
    """Three clocks and the monotonic one, which starts at 100. ``database`` and so on: how far each is ahead of the truth."""

    database: float = 0.0
    provider: float = 0.0
    worker: float = 0.0
    now: float = 100.0
    clocks: Clocks = field(init=False)

    def __post_init__(self) -> None:
        self.clocks = Clocks(wall=lambda: self.at(self.worker).timestamp())

    def at(self, ahead: float) -> datetime:
        return START + timedelta(seconds=self.now + ahead)

    def asks_database(self, *, takes: float = 0.2) -> None:
        self._asks(lambda: self.at(self.database), self.clocks.database_says, takes)

    def asks_provider(self, *, takes: float = 0.2) -> None:
        self._asks(lambda: self.at(self.provider).replace(microsecond=0), self.clocks.provider_says, takes)

    def _asks(self, says: Callable[[], datetime], note: Callable[..., None], takes: float) -> None:
        sent = self.now
        self.now += takes / 2
        said = says()
        self.now += takes / 2
        note(said, sent=sent, received=self.now)

    def asks_all(self, times: int = 2) -> None:
        for _ in range(times):
            self.asks_database()
            self.asks_provider()
            self.now += 1.3


@given(
    ahead=st.floats(-1e6, 1e6),
    answers=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1), st.floats(0, 30)), min_size=1, max_size=20),
)
def test_the_bounds_always_hold_the_truth(ahead: float, answers: list[tuple[float, float, float]]) -> None:
    reference, now = Reference(), 0.0
    for takes, part, rest in answers:
        said = int(now + takes * part + ahead + 2e6) - 2e6
        assert reference.read(said, precision=1.0, sent=now, received=now + takes) == 0.0
        now += takes + rest

    assert reference.bounds is not None
    assert reference.bounds.least - 1e-6 <= ahead <= reference.bounds.most + 1e-6


def test_more_answers_make_the_bounds_tighter() -> None:
    world = World(provider=7.25)
    for _ in range(10):
        world.asks_provider()
        world.now += 0.93
    latest = world.clocks.provider_latest(world.now)

    assert latest is not None
    assert timedelta() <= latest - world.at(7.25) < timedelta(seconds=0.4)


@pytest.mark.parametrize(
    ("world", "off"),
    [
        (World(), []),
        (World(database=25, provider=-4), []),
        (World(database=3600), [("database", 3600)]),
        (World(database=-600), [("database", -600)]),
        (World(provider=-3300), [("provider", -3300)]),
        (World(worker=90), [("worker", 90)]),
        (World(database=3600, provider=-3300), [("database", 3600), ("provider", -3300)]),
    ],
)
def test_the_clock_that_differs_from_both_is_off(world: World, off: list[tuple[str, float]]) -> None:
    world.asks_all()

    found = world.clocks.off(world.now)

    assert found is not None
    assert [one.clock for one in found] == [clock for clock, _ in off]
    assert [one.seconds for one in found] == pytest.approx([seconds for _, seconds in off], abs=1)


def test_nothing_is_off_while_a_clock_is_unknown() -> None:
    world = World(database=3600)
    world.asks_database()

    assert world.clocks.off(world.now) is None
    assert world.clocks.provider_ahead == 0.0


@pytest.mark.parametrize(("step", "watched"), [(60.0, 0.0), (-60.0, 100.0), (0.5, 100.0)])
def test_a_forward_step_begins_the_watch_again(step: float, watched: float) -> None:
    world = World()
    world.asks_all()
    world.now += 100
    world.database += step
    world.asks_database()

    assert world.clocks.watched_for(world.now) == pytest.approx(watched, abs=4)


def test_a_process_without_a_date_knows_nothing() -> None:
    """Until it sees a step."""
    world = World()
    world.asks_database()
    assert world.clocks.watched_for(world.now) is None

    world.database = 60
    world.asks_database()
    world.now += 5

    assert world.clocks.watched_for(world.now) == pytest.approx(5)


def test_suspended_machine_takes_no_clock_for_wrong() -> None:
    """The monotonic clock stands still meanwhile."""
    world = World()
    world.asks_all()
    world.database = world.provider = world.worker = 7200.0
    world.asks_database()
    assert world.clocks.provider_ahead == 0.0

    world.asks_provider()

    assert world.clocks.off(world.now) == ()


def test_slow_answers_do_not_count() -> None:
    world = World(database=3600)
    world.asks_database(takes=20)
    world.asks_provider(takes=20)

    assert world.clocks.off(world.now) is None


def test_one_odd_date_changes_nothing() -> None:
    world = World()
    world.asks_all()
    world.provider = 7200
    world.asks_provider()
    assert world.clocks.off(world.now) == ()

    world.now += 60
    world.asks_provider()

    found = world.clocks.off(world.now)
    assert found is not None
    assert [one.clock for one in found] == ["provider"]


@pytest.mark.parametrize("years", [-56, 400])
def test_an_absurd_date_is_ignored(years: int) -> None:
    world = World(provider=years * 365 * 86400)
    world.asks_all()

    assert world.clocks.provider_now(world.now) is None


def test_gap_lies_between_the_bounds() -> None:
    assert Bounds(1, 2).gap(Bounds(5, 6)) == 3
    assert Bounds(5, 6).gap(Bounds(1, 2)) == -3
    assert Bounds(1, 2).gap(Bounds(1.5, 9)) == 0
