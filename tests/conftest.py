"""Fixtures every test may ask for."""

from hypothesis import settings

from tests.engine import clocks, gateway, make_rig, rig, sinch
from tests.stack import baseline, db, local_stack, stack

__all__ = ["baseline", "clocks", "db", "gateway", "local_stack", "make_rig", "rig", "sinch", "stack"]

# Speed is for benchmarks/: a busy machine must not fail a test.
settings.register_profile("outbox", deadline=None)
settings.load_profile("outbox")
