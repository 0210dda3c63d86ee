"""Fixtures every test may ask for."""

import gc
import logging
import os
import signal
from collections.abc import Iterator
from functools import cache

import httpx._transports.default
import pytest
import structlog
from hypothesis import settings

from jobs.runtime.settings import names
from tests import commands, nightly
from tests.changes import app, user
from tests.engine import clocks, gateway, make_rig, project, rig, simulator_of_the_worker, sinch
from tests.stack import cleaner, db, lender, local_stack, other, stack

__all__ = [
    "app",
    "cleaner",
    "clocks",
    "db",
    "gateway",
    "lender",
    "local_stack",
    "make_rig",
    "other",
    "project",
    "rig",
    "simulator_of_the_worker",
    "sinch",
    "stack",
    "user",
]

# The variables and .env file of the machine that runs the tests belong to another project.
os.environ.update(dict.fromkeys(names(), ""))
# pytest-xdist gives its workers the width of the terminal, and commands would fold their output to it.
os.environ.pop("COLUMNS", None)

# Speed is measured in benchmarks/: a busy machine must not fail a test.
settings.register_profile("outbox", deadline=None, max_examples=100 * nightly.FACTOR)
settings.load_profile("outbox")

# Each client of a test would read the certificate authorities anew, in 30 ms, to speak with a server of this machine.
setattr(httpx._transports.default, "create_ssl_context", cache(httpx.create_ssl_context))  # noqa: B010  # as the name is private

pytest_plugins = ["tests.progress"]

# A shell makes background processes ignore Ctrl-C, and their children inherit that. Tests need to send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def private_key() -> str:
    """A key of an application at Vonage, as its dashboard gives it. Made anew, so that none lies in the repository."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="session", autouse=True)
def server_of_commands() -> Iterator[None]:
    """It starts with the first command that a test runs."""
    yield
    commands.close()


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """A command that a test runs in this process configures the log, for a stream that is closed after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--again", type=int, default=1, help="run each test so many times: make test ARGS='--again 20 tests/unit'")


@pytest.fixture(autouse=True)
def again() -> None:
    """The number of the run, from ``--again``."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (count := metafunc.config.getoption("again")) > 1:
        metafunc.parametrize("again", range(count))


def pytest_collection_finish() -> None:
    """What was imported and collected stays until the end, so the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()
