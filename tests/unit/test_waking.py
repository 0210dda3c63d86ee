"""When a process looks for new rows by itself, and when it has itself told of them."""

from jobs.runtime.waking import AWAKE_SECONDS, Waking, Wakings


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Process:
    """A process that listens, with dispatch jobs that count how often they are woken."""

    def __init__(self, jobs: int = 1) -> None:
        self.time = Time()
        self.wakings = Wakings(clock=self.time)
        self.wakings.hears(True)
        self.jobs = [self.wakings.join() for _ in range(jobs)]
        self.woken = [0] * jobs
        for place, job in enumerate(self.jobs):
            job.wake_with(lambda place=place: self._count(place))  # type: ignore[misc]

    def _count(self, place: int) -> None:
        self.woken[place] += 1

    @property
    def state(self) -> tuple[bool, bool]:
        return self.wakings.is_awake, self.wakings.sleeps


AWAKE, ASLEEP = (True, False), (False, True)


def test_process_that_hears_nothing_neither_looks_nor_sleeps() -> None:
    wakings = Wakings()

    wakings.join().claimed(dispatches=True)

    assert (wakings.is_awake, wakings.sleeps) == (False, False)


def test_process_is_awake_for_a_second_after_work() -> None:
    process = Process()
    assert process.state == ASLEEP

    process.jobs[0].claimed(dispatches=True)
    process.jobs[0].claimed(dispatches=False)
    assert process.state == AWAKE

    process.time.now += AWAKE_SECONDS
    assert process.state == ASLEEP


def test_backlog_that_brings_nothing_keeps_nobody_awake() -> None:
    process = Process()
    process.jobs[0].claimed(dispatches=True)

    process.wakings.found()
    process.jobs[0].claimed(dispatches=False)

    assert process.state == ASLEEP


def test_lost_connection_ends_the_sleep() -> None:
    process = Process()

    process.wakings.hears(False)

    assert not process.jobs[0].sleeps


def test_job_without_rows_leaves_the_others_awake() -> None:
    process = Process(2)
    process.jobs[0].claimed(dispatches=True)

    process.wakings.found()
    process.jobs[1].claimed(dispatches=False)

    assert process.state == AWAKE
    assert not any(job.sleeps for job in process.jobs)


def test_found_rows_wake_each_job() -> None:
    """Also one that slept: only its plan may take them."""
    process = Process(2)
    process.jobs[0].claimed(dispatches=True)

    process.wakings.found()

    assert process.woken == [1, 1]


def test_job_is_woken_in_vain_once_a_second() -> None:
    process = Process(2)

    def look(times: int) -> None:
        for _ in range(times):
            process.wakings.found()
            process.jobs[0].claimed(dispatches=True)
            process.jobs[1].claimed(dispatches=False)

    look(5)
    process.time.now += AWAKE_SECONDS
    look(5)

    assert process.woken == [10, 2]


def test_rows_for_no_job_end_the_looking() -> None:
    process = Process(2)
    for job in process.jobs:
        job.claimed(dispatches=True)

    process.wakings.found()
    for job in process.jobs:
        job.claimed(dispatches=False)

    assert process.state == ASLEEP


def test_one_claiming_job_makes_only_urgent_rows_news() -> None:
    process = Process(2)
    first: Waking = process.jobs[0]

    with first.claiming():
        assert process.wakings.is_claiming
    assert not process.wakings.is_claiming
