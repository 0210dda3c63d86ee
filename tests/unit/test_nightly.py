"""Which tests run only at night, and that the nightly run has all tests."""

from collections.abc import Iterator

import pytest
from _pytest.mark import ParameterSet

from tests.nightly import amount, by_day


def marked(parameters: list[object]) -> Iterator[tuple[object, bool]]:
    for parameter in parameters:
        if isinstance(parameter, ParameterSet):
            [value] = parameter.values
            yield value, "nightly" in {getattr(mark, "name", None) for mark in parameter.marks}
        else:
            yield parameter, False


def test_later_parameters_are_left_to_the_night() -> None:
    assert list(marked(by_day(2, range(4)))) == [(0, False), (1, False), (2, True), (3, True)]


def test_fewer_parameters_than_requested_run_by_day() -> None:
    assert list(marked(by_day(3, "ab"))) == [("a", False), ("b", False)]


def test_pytest_deselects_the_marker_by_default(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getini("addopts")[-2:] == ["-m", "not nightly"]


@pytest.mark.parametrize(("value", "count"), [(None, 7), ("", 7), ("12", 12)])
def test_the_environment_changes_an_amount(monkeypatch: pytest.MonkeyPatch, value: str | None, count: int) -> None:
    monkeypatch.delenv("CROWDS", raising=False)
    if value is not None:
        monkeypatch.setenv("CROWDS", value)

    assert amount("CROWDS", 7) == count
