"""Fixtures for the simulator's tests: one simulator in this process, reset before each test."""

from collections.abc import Iterator

import httpx
import pytest

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.control import Control
from sandbox.simulator.server import Running, running
from sandbox.simulator.sinch.plans import PlanSettings
from tests.acceptance.receiver import Receiver, receiving


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    with running() as sim:
        yield sim


@pytest.fixture
def sim(simulator: Running) -> Control:
    simulator.control.behave(Behaviour())
    simulator.control.agree(simulator.plan)
    simulator.control.reset()
    return simulator.control


@pytest.fixture
def api(simulator: Running) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"{simulator.url}/xms/v1/{simulator.plan.id}",
        headers={"Authorization": f"Bearer {simulator.plan.token}"},
        timeout=20,
        trust_env=False,
    ) as client:
        yield client


@pytest.fixture
def webhook(simulator: Running, sim: Control) -> Iterator[Receiver]:
    with receiving() as receiver:
        sim.agree(PlanSettings(callback_url=f"{receiver.url}/reports"))
        yield receiver
