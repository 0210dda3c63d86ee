"""One PostgreSQL for all simulations of a test process, and a scratch database for each test that asks."""

from collections.abc import Iterator

import pytest

from tests.simulation import server
from tests.simulation.database import Database


@pytest.fixture(scope="session")
def simulation_server() -> Iterator[str]:
    with server.running() as url:
        yield url


@pytest.fixture(scope="session")
def database(simulation_server: str) -> Iterator[Database]:
    """Its migrations are as they are in the folder; each history forgets the one before."""
    with server.scratch(simulation_server) as opened:
        yield opened
