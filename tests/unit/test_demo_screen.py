"""The demo's screen: it fits its lines and columns, and cuts off no caption."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from sandbox.demo.night import Menu, plan_night
from sandbox.demo.scenario import Scenario
from sandbox.demo.snapshot import Entry, PlanNow, Snapshot
from sandbox.demo.view import Picture, screen
from sandbox.demo.work import plan_work

WIDTH = 80


def shown(picture: Picture, height: int) -> list[str]:
    console = Console(width=WIDTH, height=height, color_system=None)
    with console.capture() as capture:
        console.print(screen(picture, height=height))
    return [line.strip() for line in capture.get().splitlines()]


@pytest.fixture
def picture() -> Picture:
    event = Entry(datetime(2027, 1, 1, tzinfo=UTC), "+1202•••0123", "delivered", "webhook", "reported delivered")
    plans = (PlanNow("sinch", 120, "unreachable"), PlanNow("vonage", 80, ""))
    return Picture(
        Snapshot({"sent": 5, "delivered": 195}, 0, events=(event,) * 30, plans=plans), expected=200, footer="Ctrl-C ends it."
    )


@pytest.mark.parametrize("height", [2, 3, 4, 10, 16, 17, 18, 23, 40])
def test_screen_fits_any_terminal(picture: Picture, height: int) -> None:
    """Also the few lines that are left below the result and the commands of the end."""
    lines = shown(picture, height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1] == "Ctrl-C ends it."
    assert any("195 delivered" in line or line.startswith("sent") for line in lines)


def test_captions_are_shown_in_full(picture: Picture) -> None:
    """Those of two providers are the longest."""
    for caption in captions():
        picture.caption = caption

        assert caption in " ".join(shown(picture, 23))


def captions() -> list[str]:
    scenario: Any = Scenario.__new__(Scenario)
    scenario._first, scenario._others = "sinch", ["vonage"]
    scenario._simulator = simulator = MagicMock()
    scenario._parts = SimpleNamespace(
        kill_scheduler=lambda: 4194304, start_scheduler=lambda: 4194304, hasten=ignored, simulators={"sinch": simulator}
    )
    scenario._db = MagicMock()
    scenario._db.execute().fetchall.return_value = [("sent", 50_000, 50_000, 0)]
    scenario.killed, scenario._changed_at, scenario._final = 0, 0.0, 0
    scenario._work = plan_work(20)
    scenario._insert = ignored
    scenario._explain(60)
    acts: list[Callable[[], str]] = [
        scenario._go_away,
        scenario._others_send,
        scenario._come_back,
        scenario._leave_unanswered,
        scenario._kill,
        scenario._take_over,
        scenario._lose,
        scenario._hasten,
    ]
    menu = Menu(scenario._db, plan_night(datetime.now(UTC)))
    return [scenario.caption, *(act() for act in acts), scenario._stop("+12025550123"), menu.announce()]


def ignored(*_arguments: object, **_options: object) -> None:
    """A simulator without an effect."""
