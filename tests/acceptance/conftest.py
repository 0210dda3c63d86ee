"""Fixtures for the simulator's tests: one simulator in this process, reset before each test."""

from collections.abc import Iterator

import httpx
import pytest

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.control import Control
from sandbox.simulator.server import Running, running
from sandbox.simulator.sinch.plans import PlanSettings
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.tokens import make_private_key, public_key_of
from tests.acceptance.messages_api import SECRET, MessagesApi
from tests.acceptance.receiver import Receiver, receiving


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    with running() as sim:
        yield sim


@pytest.fixture
def sim(simulator: Running) -> Control:
    simulator.control.behave(Behaviour())
    simulator.control.agree(simulator.plan)
    simulator.control.vonage.agree(simulator.application)
    simulator.control.reset()
    return simulator.control


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="session")
def private_key() -> str:
    return make_private_key()


@pytest.fixture(scope="session")
def public_key(private_key: str) -> str:
    return public_key_of(private_key)


@pytest.fixture(scope="module")
def vonage_http(simulator: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def messages_api(sim: Control, vonage_http: httpx.Client, private_key: str, public_key: str) -> MessagesApi:
    settings = ApplicationSettings(public_key=public_key)
    sim.vonage.agree(settings)
    return MessagesApi(vonage_http, private_key, settings.id, (settings.api_key, settings.api_secret))


@pytest.fixture
def vonage_webhook(sim: Control, messages_api: MessagesApi, public_key: str) -> Iterator[Receiver]:
    """Receives signed webhooks, and answers 200."""
    with receiving() as receiver:
        sim.vonage.agree(
            ApplicationSettings(
                public_key=public_key,
                signature_secrets=(SECRET,),
                status_url=f"{receiver.url}/webhooks/vonage/status",
                inbound_url=f"{receiver.url}/webhooks/vonage/inbound",
            )
        )
        yield receiver
