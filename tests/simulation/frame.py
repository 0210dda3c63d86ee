"""What surrounds a history: random numbers and ids of its seed, and the log of the code under test."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest import mock
from uuid import UUID

import structlog

from tests.simulation.chaos import Chaos
from tests.simulation.witness import Witness


class Calm(Chaos):
    """For a process that neither dies nor stalls: the webhook app answers each call alone, a death is a call that fails."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self.profile = chaos.profile

    def happens(self, fault: str) -> bool:
        return not fault.startswith("process.") and self._chaos.happens(fault)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The code under test draws its jitter and its ids from the seed."""
    ids = Random(f"ids {seed}")
    random.seed(seed)

    def uuid4() -> UUID:
        return UUID(int=ids.getrandbits(128), version=4)

    with mock.patch("jobs.dispatching.claims.uuid4", uuid4):
        yield


@contextmanager
def logs_to(witness: Witness) -> Iterator[None]:
    before = structlog.get_config()

    def keep(_logger: Any, _level: str, event: Any) -> Any:
        witness.log(event)
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    try:
        yield
    finally:
        structlog.configure(**before)
