"""When a process looks for new rows by itself, and when it has itself told of them."""

from jobs.runtime.waking import AWAKE_SECONDS, Waking


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def heard(time: Time) -> Waking:
    waking = Waking(clock=time)
    waking.hears(True)
    return waking


def test_process_that_hears_nothing_neither_looks_nor_sleeps() -> None:
    waking = Waking()

    waking.claimed(dispatches=True)

    assert (waking.is_awake, waking.sleeps) == (False, False)


def test_process_is_awake_for_a_second_after_work() -> None:
    waking = heard(time := Time())
    assert (waking.is_awake, waking.sleeps) == (False, True)

    waking.claimed(dispatches=True)
    waking.claimed(dispatches=False)
    assert (waking.is_awake, waking.sleeps) == (True, False)

    time.now += AWAKE_SECONDS
    assert (waking.is_awake, waking.sleeps) == (False, True)


def test_backlog_that_brings_nothing_keeps_nobody_awake() -> None:
    waking = heard(Time())
    waking.claimed(dispatches=True)

    waking.found()
    waking.claimed(dispatches=False)

    assert waking.sleeps


def test_lost_connection_ends_the_sleep() -> None:
    waking = heard(Time())

    waking.hears(False)

    assert not waking.sleeps
