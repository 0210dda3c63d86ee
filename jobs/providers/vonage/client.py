"""Vonage's Messages API as a :class:`jobs.providers.base.Provider`, for one application."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from jobs.providers.base import (
    Batch,
    BatchReports,
    Inbound,
    ListedReference,
    Outcome,
    Page,
    ProviderError,
    Refusal,
    Refused,
    Report,
    SentBatch,
    Submission,
)
from jobs.runtime.clocks import Clocks


class VonageClient:
    """One application. Close it with :meth:`aclose`."""

    name = "vonage"
    max_recipients = 1
    longest_value = 0
    absence_proof = None
    has_feed = False
    batches_a_question = 20

    def __init__(
        self,
        *,
        application: str,
        private_key: str,
        host: str,
        api_key: str | None = None,
        api_secret: str | None = None,
        sender: str | None = None,
        callback_url: str | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self.plan = application
        self.host = host
        self.credential = hashlib.sha256(private_key.encode()).hexdigest()[:16]

    async def submit(self, submission: Submission, *, deadline: float) -> Outcome:
        return Refused(Refusal.SETTING, "not built yet")

    async def find(
        self,
        reference: str,
        *,
        recipients: Sequence[str],
        since: datetime,
        until: datetime | None,
        page: int,
        deadline: float,
    ) -> Page[Batch]:
        raise ProviderError("not built yet")

    async def references(self, *, start: datetime, page: int, deadline: float) -> Page[ListedReference]:
        return Page((), last=True)

    async def sent_batches(self, *, start: datetime, end: datetime | None, page: int, deadline: float) -> Page[SentBatch]:
        return Page((), last=True)

    async def batch(self, batch_id: str, *, deadline: float) -> SentBatch | None:
        return None

    async def batch_reports(self, batch_ids: Sequence[str], *, deadline: float) -> BatchReports:
        raise ProviderError("not built yet")

    async def finished_reports(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Report]:
        return Page((), last=True)

    async def inbounds(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Inbound]:
        return Page((), last=True)

    async def aclose(self) -> None: ...
