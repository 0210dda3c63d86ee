"""How long the next try waits."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.backoff import Backoff


@given(failures=st.integers(1, 2000))
def test_pause_is_between_half_and_all_of_bound(failures: int) -> None:
    """The bound doubles with each failure up to the longest pause."""
    backoff = Backoff(first=0.5, longest=30.0)

    pauses = [backoff.next() for _ in range(failures)]

    for place, pause in enumerate(pauses):
        grown = min(30.0, 0.5 * 2.0 ** min(place, 10))
        assert grown / 2 <= pause <= grown


def test_processes_failing_together_retry_at_different_times() -> None:
    assert len({Backoff(first=1.0, longest=30.0).next() for _ in range(20)}) > 10


def test_after_a_success_it_begins_anew() -> None:
    backoff = Backoff(first=1.0, longest=30.0)
    for _ in range(10):
        backoff.next()

    backoff.reset()

    assert not backoff.active
    assert backoff.next() <= 1.0
    assert backoff.active
