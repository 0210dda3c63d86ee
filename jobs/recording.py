"""What the webhook app needs from the database, and the two ways a call to the database can fail.

The gateway fulfils :class:`Recorder`. Tests may use one that lives in memory and fails on demand.
"""

from collections.abc import Sequence
from typing import Protocol

from jobs.providers.base import Inbound, Report, Summary, Unusable


class GatewayError(Exception):
    """A call to the database did not do what it was asked to. Nothing of it was committed, as far as we know."""


class GatewayUnavailable(GatewayError):
    """Passing trouble: the network, a 5xx, a timeout, a function that is not there yet. The same call may work later."""


class FunctionMissing(GatewayUnavailable):
    """The database has no such function: our schema is not in it, or an older version of it."""


class KeyNotAccepted(GatewayUnavailable):
    """The project does not know the key, or it is no secret one. Passing trouble for who waits until it was mended."""


class GatewayRefused(GatewayError):
    """The database refuses these very values (a NUL character, an impossible date). Asking again cannot help.

    ``code`` is the SQLSTATE where one is known.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Recorder(Protocol):
    """Takes what callbacks say into the database.

    Each method is one database call that commits everything or nothing and may be repeated with the same arguments without a
    second effect. Each raises :class:`GatewayUnavailable` or :class:`GatewayRefused`, nothing else.
    """

    async def record_reports(self, reports: Sequence[Report], *, source: str) -> None:
        """Take reports on recipients. ``source`` is ``webhook`` or ``reconcile``."""
        ...

    async def record_inbounds(self, inbounds: Sequence[Inbound], *, source: str) -> None:
        """Take messages from phones. ``source`` is ``webhook`` or ``reconcile``."""
        ...

    async def keep_callbacks(self, items: Sequence[Unusable]) -> None:
        """Keep what could not be read or stored, byte for byte, and raise an alarm."""
        ...

    async def request_full_report(self, summaries: Sequence[Summary]) -> None:
        """Have reconciliation ask for the full report of these batches soon."""
        ...

    async def note_rejected_callback(self, count: int) -> None:
        """``count`` callbacks that carried a provider's signature were turned away: have reconciliation run now.

        The caller limits how often this is called.
        """
        ...

    async def ping(self) -> None:
        """Return if the database answers and its functions are there."""
        ...
