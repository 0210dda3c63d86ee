"""Sinch's SMS API as a :class:`jobs.providers.base.Provider`, for one service plan.

Nothing is repeated here: no retries, no redirects, no proxies from the environment (a proxy could repeat a request, and would
answer in Sinch's name). A request that runs out of time has its socket reset, so that what was not sent by then never is.
"""

import asyncio
import hashlib
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx
import structlog

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
from jobs.providers.sinch import acceptance, listed, listings, refusals
from jobs.providers.sinch.callbacks import NAME
from jobs.providers.sinch.listings import Item
from jobs.providers.sinch.refusals import Answer, Sent
from jobs.providers.sinch.wire import (
    LONGEST_VALUE,
    MAX_RECIPIENTS,
    PAGE_SIZE,
    submission_body,
    timestamp,
)
from jobs.runtime.clocks import Clocks, monotonic
from jobs.runtime.tls import trust

log = structlog.get_logger()

# No request waits for a connection: the dispatch job's small requests may be this many. For every request httpx walks through
# its connections, which are no more than are open at once.
_CONNECTIONS = 64
# Idle for longer, the other side may close a connection just as we write to it, and the outcome would be ambiguous.
_KEEP_IDLE_SECONDS = 3.0
# Lingering for zero seconds makes close() a reset: data that the peer did not take yet is dropped, not delivered late.
_SOCKET_OPTIONS: list[tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
]
# As SETTLE_SECONDS is by default: Sinch lists a request within seconds.
_SETTLING = timedelta(seconds=20)
_NEVER_ESTABLISHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class SinchClient:
    """One service plan. Close it with :meth:`aclose`."""

    name = NAME
    max_recipients = MAX_RECIPIENTS
    longest_value = LONGEST_VALUE
    has_feed = True
    batches_a_question = 1

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
        self._clocks = clocks or Clocks()
        base_url = f"{host}/xms/v1/{quote(plan, safe='')}/"
        self._http = _http_client(base_url, token)
        # Connections of their own, so that slow answers to questions delay no message.
        self._questions = _http_client(base_url, token)
        # An empty list says nothing of the question that it answers. On a connection of its own it answers no other.
        self._lookups = _http_client(base_url, token, kept=0)

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
            answer = await self._exchange(self._http, "POST", "batches", content=body, deadline=deadline, is_ours=is_ours)
        except _NEVER_ESTABLISHED as error:
            return Refused(Refusal.UNREACHABLE, f"no connection: {_describe(error)}")
        except Exception as error:  # noqa: BLE001  # whatever went wrong went wrong after we may have been heard
            return Ambiguous(f"no answer: {_describe(error)}")

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
            return await self._exchange(http, "GET", path, params=params, deadline=deadline)
        except _NEVER_ESTABLISHED as error:
            raise ProviderError(f"{path}: no connection: {_describe(error)}", why=Refusal.UNREACHABLE) from error
        except Exception as error:
            raise ProviderError(f"{path}: no answer: {_describe(error)}") from error

    def _note_date(self, answer: Answer, sent: float) -> None:
        date = refusals.http_date(answer.headers.get("date", ""))
        if date is not None:
            self._clocks.provider_says(date, sent=sent, received=monotonic())

    async def _exchange(
        self,
        http: httpx.AsyncClient,
        method: str,
        path: str,
        *,
        deadline: float,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        is_ours: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        """One request, ``deadline`` seconds in all. Once the status is known its answer counts, even if the body breaks off.

        After an answer that ``is_ours`` disowns the connection is closed: the next answer on it may be another's, too.
        """
        if deadline <= 0:
            raise httpx.PoolTimeout("no time left to begin")
        # Waiting for a connection, connecting and the TLS handshake end well before the deadline does. So a deadline that
        # passes always means that a request was in flight, and the three errors for the others that none was.
        phases = httpx.Timeout(None, pool=deadline / 4, connect=deadline / 4)
        request = http.build_request(method, path, content=content, params=params, timeout=phases)

        answer: Answer | None = None
        try:
            async with asyncio.timeout(deadline):
                sent = monotonic()
                response = await http.send(request, stream=True)
                answer = Answer(response.status_code, response.headers, None)
                self._note_date(answer, sent)
                answer = Answer(answer.status, answer.headers, await _read(response))
                if is_ours is not None and not is_ours(answer):
                    await response.extensions["network_stream"].aclose()
        except Exception:
            if answer is None:
                raise
        return answer


def _http_client(base_url: str, token: str, *, kept: int = _CONNECTIONS) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=kept, keepalive_expiry=_KEEP_IDLE_SECONDS)
    return httpx.AsyncClient(
        base_url=base_url,
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "supabase-outbox",
        },
        transport=httpx.AsyncHTTPTransport(
            verify=trust(trust_env=False), limits=limits, retries=0, trust_env=False, socket_options=_SOCKET_OPTIONS
        ),
        follow_redirects=False,
        trust_env=False,
    )


async def _read(response: httpx.Response) -> bytes:
    try:
        return await response.aread()
    finally:
        await response.aclose()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()[:200]


def _window(start: datetime, end: datetime) -> dict[str, str]:
    return {"start_date": timestamp(start), "end_date": timestamp(end)}
