"""Fixtures every test may ask for."""

from tests.engine import clocks, gateway, make_rig, rig, sinch
from tests.stack import baseline, db, local_stack, stack

__all__ = ["baseline", "clocks", "db", "gateway", "local_stack", "make_rig", "rig", "sinch", "stack"]
