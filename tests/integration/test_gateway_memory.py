"""Calls leave no garbage behind, and search for nothing."""

import gc
import sys
from importlib.machinery import ModuleSpec

import pytest

from jobs.gateway.gateway import Gateway

CALLS = 10


async def test_calls_are_freed_without_the_garbage_collector(gateway: Gateway) -> None:
    """The webhook app sends megabytes a second and collects garbage rarely."""
    await gateway.ping()
    gc.collect()
    gc.disable()
    try:
        for _ in range(CALLS):
            await gateway.ping()
        left = gc.collect()
    finally:
        gc.enable()

    assert left < CALLS


async def test_calls_search_for_no_module(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python searches all folders for a module that is missing, each time that a library tries to import it."""
    searched: list[str] = []

    class Noting:
        def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
            searched.append(name)
            return None

    await gateway.ping()
    monkeypatch.setattr(sys, "meta_path", [Noting(), *sys.meta_path])
    await gateway.ping()

    assert searched == []
