"""Fixtures every test may ask for."""

import os
import signal

from hypothesis import settings

from jobs.runtime.settings import names
from tests import nightly
from tests.engine import clocks, gateway, make_rig, rig, sinch
from tests.stack import baseline, db, local_stack, other, stack

__all__ = ["baseline", "clocks", "db", "gateway", "local_stack", "make_rig", "other", "rig", "sinch", "stack"]

# Whatever is set where the tests run, in a file too, is meant for another project than theirs.
os.environ.update(dict.fromkeys(names(), ""))

# Speed is for benchmarks/: a busy machine must not fail a test.
settings.register_profile("outbox", deadline=None, max_examples=100 * nightly.FACTOR)
settings.load_profile("outbox")

# A shell ignores Ctrl-C for what it starts in the background, and so would all that a test presses it on.
signal.signal(signal.SIGINT, signal.default_int_handler)
