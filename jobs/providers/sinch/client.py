"""Sinch's SMS API as a :class:`jobs.providers.base.Provider`, for one service plan."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

import structlog

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
    ProviderError,
    Refusal,
    Refused,
    Report,
    SentBatch,
    Submission,
)
from jobs.providers.http import HttpClient, NeverSent, describe
from jobs.providers.sinch import acceptance, listed, listings, refusals
from jobs.providers.sinch.callbacks import NAME
from jobs.providers.sinch.listings import Item
from jobs.providers.sinch.refusals import Sent
from jobs.providers.sinch.wire import (
    LONGEST_VALUE,
    MAX_RECIPIENTS,
    PAGE_SIZE,
    submission_body,
    timestamp,
)
from jobs.runtime.clocks import Clocks

log = structlog.get_logger()

# As SETTLE_SECONDS is by default: Sinch lists a request within seconds.
_SETTLING = timedelta(seconds=20)


class SinchClient:
    """One service plan. Close it with :meth:`aclose`."""

    name = NAME
    max_recipients = MAX_RECIPIENTS
    longest_value = LONGEST_VALUE
    has_feed = True
    batches_a_question = 1
    inbounds_every = timedelta(0)
    inbounds_lag = timedelta(minutes=10)

    def __init__(
        self,
        *,
        plan: str,
        token: str,
        host: str,
        absence_proof: timedelta = _SETTLING,
        sender: str | None = None,
        callback_url: str | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self.plan = plan
        self.host = host
        self.absence_proof = absence_proof
        self.credential = hashlib.sha256(token.encode()).hexdigest()[:16]
        self.callbacks_refused = False
        """Note that Sinch has no URL for callbacks: later requests ask for none, and reports come by polling."""
        self._sender = sender
        self._callback_url = callback_url
        self._path = f"/xms/v1/{quote(plan, safe='')}"
        clocks = clocks or Clocks()
        headers = {"Authorization": f"Bearer {token}"}
        self._http = HttpClient(host, headers=headers, clocks=clocks)
        # Connections of their own, so that slow answers to questions delay no message.
        self._questions = HttpClient(host, headers=headers, clocks=clocks)
        # An empty list says nothing of the question that it answers. On a connection of its own it answers no other.
        self._lookups = HttpClient(host, headers=headers, clocks=clocks, keeps_connections=False)

    async def submit(self, submission: Submission, *, deadline: float) -> Outcome:
        sent = Sent(
            default_sender=submission.sender is None and self._sender is not None,
            callback_url=self._callback_url is not None,
            reports=not self.callbacks_refused,
        )
        body = submission_body(submission, sender=self._sender, callback_url=self._callback_url, reports=sent.reports)

        acceptances: list[Outcome] = []

        def is_ours(answer: Answer) -> bool:
            if answer.status != 201:
                return True
            acceptances.append(acceptance.outcome(answer, submission))
            return isinstance(acceptances[0], Accepted)

        try:
            answer = await self._http.post(f"{self._path}/batches", body, deadline=deadline, is_ours=is_ours)
        except NeverSent as error:
            return Refused(Refusal.UNREACHABLE, f"no connection: {error}")
        except Exception as error:  # noqa: BLE001  # whatever went wrong went wrong after we may have been heard
            return Ambiguous(f"no answer: {describe(error)}")

        if answer.status == 201:
            return acceptances[0] if acceptances else acceptance.outcome(answer, submission)
        outcome = refusals.outcome(answer, sent)
        if isinstance(outcome, Refused) and outcome.why is Refusal.NO_CALLBACK:
            self._do_without_callbacks()
        return outcome

    async def find(
        self,
        reference: str,
        *,
        recipients: Sequence[str] = (),  # noqa: ARG002  # the list is filtered by the reference alone
        since: datetime,
        until: datetime | None = None,  # noqa: ARG002
        page: int,
        deadline: float,
    ) -> Page[Batch]:
        params = {"client_reference": reference, "start_date": timestamp(since)}
        return await self._list("batches", params, page, deadline, listings.batch)

    async def references(self, *, start: datetime, page: int, deadline: float) -> Page[ListedReference]:
        return await self._list("batches", {"start_date": timestamp(start)}, page, deadline, listed.reference)

    async def sent_batches(self, *, start: datetime, end: datetime | None, page: int, deadline: float) -> Page[SentBatch]:
        window = {"start_date": timestamp(start)} if end is None else _window(start, end)
        return await self._list("batches", window, page, deadline, listed.batch)

    async def batch(self, batch_id: str, *, deadline: float) -> SentBatch | None:
        path = f"batches/{quote(batch_id, safe='')}"
        answer = await self._ask(path, {}, deadline)
        return None if answer.status == 404 else listings.one_batch(answer, path, batch_id)

    async def batch_reports(self, batch_ids: Sequence[str], *, deadline: float) -> BatchReports:
        (batch_id,) = batch_ids
        path = f"batches/{quote(batch_id, safe='')}/delivery_report"
        answer = await self._ask(path, {"type": "full"}, deadline)
        return BatchReports((), unknown=(batch_id,)) if answer.status == 404 else listings.batch_reports(answer, path)

    async def finished_reports(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Report]:
        return await self._list("delivery_reports", _window(start, end), page, deadline, listings.report)

    async def inbounds(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Inbound]:
        return await self._list("inbounds", _window(start, end), page, deadline, listings.inbound)

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._questions.aclose()
        await self._lookups.aclose()

    def _do_without_callbacks(self) -> None:
        if not self.callbacks_refused:
            self.callbacks_refused = True
            log.warning("callbacks.unavailable", plan=self.plan, hint="set SINCH_CALLBACK_URL, or a URL on the service plan")

    async def _list(
        self, what: str, params: Mapping[str, str], page: int, deadline: float, read: Callable[[bytes], Item]
    ) -> Page[Item]:
        answer = await self._ask(what, {**params, "page": str(page), "page_size": str(PAGE_SIZE)}, deadline)
        return listings.page_of(answer, what, number=page, read=read)

    async def _ask(self, path: str, params: Mapping[str, str], deadline: float) -> Answer:
        http = self._lookups if "client_reference" in params else self._questions
        try:
            return await http.get(f"{self._path}/{path}", params, deadline=deadline)
        except NeverSent as error:
            raise ProviderError(f"{refusals.asked_for(path)}: no connection: {error}", why=Refusal.UNREACHABLE) from error
        except Exception as error:
            raise ProviderError(f"{refusals.asked_for(path)}: no answer: {describe(error)}") from error


def _window(start: datetime, end: datetime) -> dict[str, str]:
    return {"start_date": timestamp(start), "end_date": timestamp(end)}
