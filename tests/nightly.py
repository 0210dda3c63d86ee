"""What `make test` leaves to `make nightly`: the marker `nightly`, and larger numbers of random examples.

pyproject.toml deselects the marker, so that pytest by itself runs what `make test` runs, and ``-m nightly`` only the rest.
`make nightly` runs both, with NIGHTLY set.
"""

import os
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

_IS_NIGHT: Final = bool(os.environ.get("NIGHTLY"))
FACTOR: Final = 10 if _IS_NIGHT else 1
"""How many times as many random examples hypothesis makes up."""


def by_day(count: int, values: Iterable[Any]) -> list[Any]:
    """Parameters of a test: `make test` runs the first ``count``, `make nightly` runs all of them."""
    rest = iter(values)
    return [*islice(rest, count), *map(at_night, rest)]


def at_night(*values: Any) -> Any:
    """One set of a test's parameters, for `make nightly` alone."""
    return pytest.param(*values, marks=pytest.mark.nightly)


def size(by_day: int, by_night: int) -> int:
    """The number of rows in a table, or of anything else that makes a test slow."""
    return by_night if _IS_NIGHT else by_day


def amount(name: str, default: int) -> int:
    """This number, unless the environment variable gives another one."""
    return int(os.environ.get(name) or default)


def examples(count: int) -> settings:
    """This many random examples of a test that uses a database, and ten times as many in `make nightly`."""
    return settings(max_examples=count * FACTOR, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
