"""What a process has seen of its database. A database that lacks it was restored from a backup."""

import asyncio
from collections.abc import Iterable
from typing import Final

from jobs.gateway.values import Claim, Dispatch, Lookup

RESTORED: Final = "restored"
"""The kind of pause of a restored database."""

_KNOWN_SECONDS: Final = 86_400.0
"""Retention deletes dispatches after 15 days at the earliest. A process that idles longer names no dispatch."""


class Seen:
    """The highest lease token that the database issued to this process, its newest dispatch, and its last heartbeat.

    All of this counts in ``timeline``: another one begins when an operator has adopted what a restored database lacked.
    """

    def __init__(self) -> None:
        self.heartbeat_at: str | None = None
        self.timeline: str | None = None
        self._token = 0
        self._dispatch: str | None = None
        self._dispatch_at = 0.0

    @property
    def highest_lease_token(self) -> str | None:
        """As text, like the tokens themselves. None before the first."""
        return str(self._token) if self._token else None

    @property
    def known_dispatch(self) -> str | None:
        """None before the first, and a day after the latest."""
        return self._dispatch if _now() - self._dispatch_at < _KNOWN_SECONDS else None

    def given(self, dispatches: Iterable[Dispatch]) -> None:
        """The database gave these to the process, so it has committed them."""
        for dispatch in dispatches:
            if int(dispatch.lease_token) > self._token or self._dispatch is None:
                self._dispatch, self._dispatch_at = dispatch.dispatch_id, _now()
            self._token = max(self._token, int(dispatch.lease_token))

    def looks_up(self, lookups: Iterable[Lookup]) -> None:
        """The database gave the process these lookups."""
        self._token = max(self._token, *(int(lookup.lease_token) for lookup in lookups), 0)

    def claimed(self, claim: Claim) -> None:
        """Record the answer to a claim.

        A pause that was committed needs no more proof, but the database still has to draw the tokens up to this process's. An
        adoption may leave out the dispatch: it may never have arrived.
        """
        self.heartbeat_at = claim.heartbeat_at
        if claim.paused == RESTORED:
            self._dispatch = None
        if claim.timeline is not None and claim.unbound is None:
            if claim.timeline != self.timeline and claim.paused != RESTORED:
                self._token, self._dispatch = 0, None
            self.timeline = claim.timeline
        self.given(claim.dispatches)


def _now() -> float:
    return asyncio.get_running_loop().time()
