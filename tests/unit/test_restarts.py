"""How soon a process that ended is started again."""

from jobs.runtime.restarts import Restarts


def pauses(*lived: float) -> list[float]:
    restarts = Restarts()
    return [restarts.pause_after(seconds) for seconds in lived]


def test_first_worker_that_ends_is_replaced_at_once() -> None:
    assert pauses(0.1) == [0.0]


def test_pauses_grow_up_to_half_a_minute() -> None:
    waited = pauses(*[0.1] * 10)

    assert waited == sorted(waited)
    assert waited[-2:] == [30.0, 30.0]


def test_a_worker_that_lived_begins_anew() -> None:
    assert pauses(0.1, 0.1, 0.1, 3600.0)[-1] == 0.0
