"""Fixtures every test may ask for."""

from tests.stack import baseline, db, local_stack, stack

__all__ = ["baseline", "db", "local_stack", "stack"]
