"""What the demo plans to send, and when it ends."""

import signal
from datetime import UTC, datetime, time, timedelta

import pytest

from sandbox.demo.interrupts import Interrupted, interruptible
from sandbox.demo.night import plan_night
from sandbox.demo.work import plan_work


@pytest.mark.parametrize("messages", [1, 19, 20, 500, 5000])
def test_work_has_requested_size_and_no_repeated_text(messages: int) -> None:
    """No recipient gets the same text twice."""
    rows = plan_work(messages).messages

    assert len(rows) == messages
    assert len({(message.recipient, message.text) for message in rows}) == messages


def test_one_seed_plans_the_same_work_again() -> None:
    began = datetime(2026, 3, 2, tzinfo=UTC)

    assert plan_work(300, seed=7, began=began) == plan_work(300, seed=7, began=began)
    assert plan_work(300, seed=7, began=began) != plan_work(300, seed=8, began=began)


@pytest.mark.parametrize("start", [datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 7, 1, tzinfo=UTC)])
def test_one_city_has_day_and_another_night(start: datetime) -> None:
    """At any hour, in winter and in summer. The window does not open within the demo."""
    for now in (start + timedelta(minutes=10 * step) for step in range(6 * 24)):
        cities = plan_night(now)

        assert time(12) <= cities.day.clock(now) <= time(18)
        assert time(0) <= cities.night.clock(now) <= time(6)


def test_ctrl_c_ends_as_interrupted_despite_other_errors() -> None:
    def query() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except Interrupted:
            raise OSError("another command is already in progress") from None

    with pytest.raises(Interrupted), interruptible():
        query()
