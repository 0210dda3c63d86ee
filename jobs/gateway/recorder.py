"""The calls that the webhook app makes to the database.

The gateway fulfils :class:`Recorder`. Tests may use one that lives in memory and fails on demand.
"""

from collections.abc import Sequence
from typing import Protocol

from jobs.gateway.auth_codes import CodeRefused
from jobs.providers.base import Inbound, Report, Summary, Unusable


class Recorder(Protocol):
    """Records what callbacks say.

    Each method is one database call. It commits everything or nothing, and may be repeated with the same arguments without a
    second effect. It raises :class:`~jobs.gateway.errors.GatewayUnavailable` or :class:`~jobs.gateway.errors.GatewayRefused`.
    """

    async def record_reports(self, reports: Sequence[Report], *, source: str) -> frozenset[int]:
        """Record reports on recipients. ``source`` is ``webhook`` or ``reconcile``.

        Returns the places of those that were recorded before.
        """
        ...

    async def record_inbounds(self, inbounds: Sequence[Inbound], *, source: str) -> None:
        """Record messages from phones. ``source`` is ``webhook`` or ``reconcile``."""
        ...

    async def keep_callbacks(self, items: Sequence[Unusable]) -> None:
        """Keep items that could not be read or stored, byte for byte, and raise an alarm."""
        ...

    async def reconcile_soon(self, summaries: Sequence[Summary]) -> None:
        """Have the reconcile job ask for the full reports of these batches soon."""
        ...

    async def record_rejected_callbacks(self, count: int) -> None:
        """Record that ``count`` callbacks with a provider's signature were rejected, and have the reconcile job run now.

        The caller limits how often it calls this.
        """
        ...

    async def send_sms_over_http(self, body: str, digest: str) -> CodeRefused | None:
        """Put the one-time code of an event of Supabase Auth into the outbox. None: it is there."""
        ...

    async def ping(self) -> None:
        """Return if the database answers and its functions are there."""
        ...
