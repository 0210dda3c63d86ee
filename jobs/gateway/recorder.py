"""The calls that the webhook app makes to the database.

The gateway fulfils :class:`Recorder`. Tests may use one that lives in memory and fails on demand.
"""

from collections.abc import Sequence
from typing import Protocol

from jobs.providers.base import Inbound, Report, Summary, Unusable


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
