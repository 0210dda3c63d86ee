"""Vonage's Messages API as a :class:`jobs.providers.base.Provider`, for one application."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from jobs.providers.answers import Answer
from jobs.providers.base import (
    Accepted,
    Ambiguous,
    Batch,
    BatchReports,
    Inbound,
    ListedReference,
    Outcome,
    Page,
    Refusal,
    Refused,
    Report,
    SentBatch,
    Submission,
)
from jobs.providers.http import NeverSent, describe
from jobs.providers.vonage import refusals
from jobs.providers.vonage.acceptance import Acceptances
from jobs.providers.vonage.callbacks import NAME
from jobs.providers.vonage.posts import Posts
from jobs.providers.vonage.refusals import Sent
from jobs.providers.vonage.reports import MOST_IDS, Reports
from jobs.providers.vonage.tokens import Tokens
from jobs.providers.vonage.wire import submission_body
from jobs.runtime.clocks import Clocks, monotonic

_PATH = "/v1/messages"


class VonageClient:
    """One application. Close it with :meth:`aclose`.

    ``private_key`` is PEM text. Without ``api_key`` and ``api_secret``, the account's, the Reports API is never asked: missing
    reports and replies come by callbacks alone, and a lookup finds nothing.
    """

    name = NAME
    max_recipients = 1
    longest_value = 0
    absence_proof = None
    has_feed = False
    batches_a_question = MOST_IDS
    # Each record costs money, and is read twice this way. Replies come by callback; this makes up for lost ones.
    inbounds_every = timedelta(hours=1)
    inbounds_lag = timedelta(hours=1)

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
        self._sender = sender
        self._callback_url = callback_url
        self._clocks = clocks or Clocks()
        self._tokens = Tokens(application, private_key, self._clocks)
        self._acceptances = Acceptances()
        self._posts = Posts(f"{host}{_PATH}", clocks=self._clocks)
        self._reports = Reports(host, key=api_key, secret=api_secret, clocks=self._clocks) if api_key and api_secret else None

    async def submit(self, submission: Submission, *, deadline: float) -> Outcome:
        sender = submission.sender or self._sender
        if sender is None:
            return Refused(Refusal.SETTING, "the message names no sender, and VONAGE_FROM_NUMBER is not set")
        now = self._clocks.reached_by_provider(monotonic())
        body = submission_body(submission, sender=sender, callback_url=self._callback_url, now=now)
        headers = {"Authorization": f"Bearer {self._tokens.new()}"}
        accepted: list[Outcome] = []

        def is_ours(answer: Answer) -> bool:
            if answer.status != 202:
                return True
            accepted.append(self._acceptances.outcome(answer))
            return isinstance(accepted[0], Accepted)

        try:
            answer = await self._posts.post(body, headers=headers, deadline=deadline, is_ours=is_ours)
        except NeverSent as error:
            return Refused(Refusal.UNREACHABLE, f"no connection: {error}")
        except Exception as error:  # noqa: BLE001  # whatever went wrong went wrong after we may have been heard
            return Ambiguous(f"no answer: {describe(error)}")
        if answer.status == 202:
            return accepted[0] if accepted else self._acceptances.outcome(answer)
        sent = Sent(default_sender=submission.sender is None, callback_url=self._callback_url is not None)
        return refusals.outcome(answer, sent)

    async def find(
        self,
        reference: str,
        *,
        recipients: Sequence[str],
        since: datetime,
        until: datetime | None = None,
        page: int,
        deadline: float,
    ) -> Page[Batch]:
        if self._reports is None or not recipients:
            # The number is gone where the message was deleted since.
            return Page((), last=True)
        return await self._reports.find(reference, recipients[0], since=since, until=until, page=page, deadline=deadline)

    async def references(self, *, start: datetime, page: int, deadline: float) -> Page[ListedReference]:  # noqa: ARG002
        """Vonage has no such list, and a record of every message would cost money."""
        return Page((), last=True)

    async def sent_batches(
        self,
        *,
        start: datetime,  # noqa: ARG002
        end: datetime | None,  # noqa: ARG002
        page: int,  # noqa: ARG002
        deadline: float,  # noqa: ARG002
    ) -> Page[SentBatch]:
        """As :meth:`references`."""
        return Page((), last=True)

    async def batch(self, batch_id: str, *, deadline: float) -> SentBatch | None:
        return None if self._reports is None else await self._reports.sent(batch_id, deadline=deadline)

    async def batch_reports(self, batch_ids: Sequence[str], *, deadline: float) -> BatchReports:
        """Empty without reports: the question then counts as answered, so that messages end a day after their expiry."""
        if self._reports is None:
            return BatchReports(())
        return await self._reports.of_messages(batch_ids, deadline=deadline)

    async def finished_reports(
        self,
        *,
        start: datetime,  # noqa: ARG002
        end: datetime,  # noqa: ARG002
        page: int,  # noqa: ARG002
        deadline: float,  # noqa: ARG002
    ) -> Page[Report]:
        """Vonage has no such list."""
        return Page((), last=True)

    async def inbounds(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Inbound]:
        if self._reports is None:
            return Page((), last=True)
        return await self._reports.inbounds(start=start, end=end, page=page, deadline=deadline)

    async def aclose(self) -> None:
        await self._posts.aclose()
        if self._reports is not None:
            await self._reports.aclose()
