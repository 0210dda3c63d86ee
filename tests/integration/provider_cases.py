"""What each provider's API says where the protocol says the same: the cases of the conformance tests.

Both clients get the same requests, and servers that answer in the provider's own words.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.providers.base import Provider, Refusal, Submission
from jobs.providers.sinch.client import SinchClient
from jobs.providers.vonage.client import VonageClient
from tests.integration.provider_servers import answer
from tests.keys import private_key

REFERENCE = "b6f5c1de-0000-4000-8000-000000000001"
RECIPIENT, SENDER = "+14155550123", "+14155550100"
SUBMISSION = Submission(REFERENCE, None, "Your table is ready", [RECIPIENT])
SINCE = datetime(2026, 11, 24, 12, tzinfo=UTC)
UNTIL = SINCE.replace(hour=14)
IDS = ("aaaaaaaa-bbbb-cccc-dddd-000000000001", "aaaaaaaa-bbbb-cccc-dddd-000000000002")
_numbers = itertools.count(100)

Build = Callable[..., Provider]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One provider. ``accepts`` is the answer that accepts :data:`SUBMISSION` under an id; the others take their items."""

    name: str
    build: Build
    line: str
    authorization: str
    accepted: int
    accepts: Callable[[str], bytes]
    of_another: bytes
    """An answer that accepts, given to each request: it can be no second request's."""
    reference: str
    """The field of a request that carries the reference."""
    refusals: Sequence[tuple[bytes, Refusal]]
    unreadable: Sequence[bytes]
    """Answers that accept, without saying what."""
    sent: Row
    """A listed request: :data:`SUBMISSION`, under the first of :data:`IDS`."""
    lists: Callable[..., bytes]
    """The answer to a lookup that shows these requests."""
    report: Row
    """A report that the first of :data:`IDS` was delivered."""
    reports: Callable[..., bytes]
    """The answer to a question for reports that shows these."""
    knows_nothing: bytes
    """The same, of a batch that the provider does not know."""
    inbound: Row
    """STOP from :data:`RECIPIENT` to :data:`SENDER`."""
    inbounds: Callable[..., bytes]
    stops_the_plan: bool
    """Whether a question that is refused for the account's sake stops the plan: Vonage's reports have another credential."""

    @asynccontextmanager
    async def talking_to(self, origin: str, **options: Any) -> AsyncIterator[Provider]:
        client = self.build(origin, **options)
        try:
            yield client
        finally:
            await client.aclose()

    def fresh(self) -> bytes:
        """An answer that accepts, under an id of its own."""
        return self.accepts(f"aaaaaaaa-bbbb-cccc-dddd-{next(_numbers):012}")


def _sinch(origin: str, **options: Any) -> Provider:
    return SinchClient(plan="plan-1", token="secret-token", host=origin, sender=SENDER, **options)


def _created(batch_id: str, **fields: Any) -> bytes:
    return answer(201, {"id": batch_id, "to": [RECIPIENT[1:]], "client_reference": REFERENCE, **fields})


def _sinch_error(status: int, code: str, text: str, **headers: Any) -> bytes:
    return answer(status, {"code": code, "text": text}, **headers)


def _sinch_listing(name: str) -> Callable[..., bytes]:
    return lambda *items: answer(200, {"count": len(items), "page": 0, "page_size": len(items), name: list(items)})


SINCH = Case(
    name="sinch",
    build=_sinch,
    line="POST /xms/v1/plan-1/batches HTTP/1.1",
    authorization="Bearer secret-token",
    accepted=201,
    accepts=_created,
    of_another=_created(IDS[0], client_reference="another"),
    reference="client_reference",
    refusals=[
        (_sinch_error(401, "unauthorized", "no"), Refusal.ACCOUNT),
        (_sinch_error(402, "", ""), Refusal.ACCOUNT),
        (_sinch_error(403, "blocked_account", "blocked"), Refusal.ACCOUNT),
        (_sinch_error(404, "not_found", "no"), Refusal.ACCOUNT),
        (_sinch_error(429, "too_many_requests", "slow down", retry_after="7"), Refusal.THROTTLED),
        (_sinch_error(400, "syntax_invalid_parameter_format", "to[0] is no MSISDN"), Refusal.RECIPIENT),
        (_sinch_error(400, "syntax_invalid_parameter_format", "The value of from must be a number"), Refusal.SETTING),
        (_sinch_error(400, "syntax_invalid_parameter_format", "callback_url must be a URL"), Refusal.SETTING),
        (_sinch_error(400, "syntax_constraint_violation", "body is too long"), Refusal.SHARED),
    ],
    unreadable=[answer(201), answer(201, b"{"), answer(201, {"to": []}), answer(201, {"id": ""})],
    sent={
        "id": IDS[0],
        "to": [RECIPIENT[1:]],
        "client_reference": REFERENCE,
        "created_at": "2026-11-24T12:00:00Z",
        "body": "Your table is ready",
    },
    lists=_sinch_listing("batches"),
    report={
        "type": "delivery_report_sms",
        "batch_id": IDS[0],
        "client_reference": REFERENCE,
        "statuses": [{"code": 0, "status": "Delivered", "count": 1, "recipients": [RECIPIENT[1:]]}],
    },
    reports=lambda report: answer(200, report),
    knows_nothing=answer(404),
    inbound={
        "type": "mo_text",
        "id": "in-1",
        "from": RECIPIENT[1:],
        "to": SENDER[1:],
        "body": "STOP",
        "received_at": "2026-11-24T12:00:00Z",
    },
    inbounds=_sinch_listing("inbounds"),
    stops_the_plan=True,
)


def _vonage(origin: str, **options: Any) -> Provider:
    return VonageClient(
        application="application-1",
        private_key=private_key(),
        host=origin,
        api_key="abcd1234",
        api_secret="secret",
        sender=SENDER,
        **options,
    )


def _vonage_error(status: int, title: str, *names: str, **headers: Any) -> bytes:
    body: dict[str, Any] = {"type": "https://example.com/#1150", "title": title, "detail": "no", "instance": "1234"}
    if names:
        body["invalid_parameters"] = [{"name": name, "reason": "no"} for name in names]
    return answer(status, body, **headers)


def _records(*items: object, **fields: Any) -> bytes:
    return answer(
        200, {"request_status": "SUCCESS", "product": "MESSAGES", "items_count": len(items), "records": list(items), **fields}
    )


_RECORD: Row = {
    "account_id": "abcd1234",
    "message_id": IDS[0],
    "client_ref": REFERENCE,
    "direction": "outbound",
    "from": SENDER[1:],
    "to": RECIPIENT[1:],
    "provider": "sms",
    "date_received": "2026-11-24T12:00:00+00:00",
    "date_finalized": "2026-11-24T12:00:05+00:00",
    "status": "delivered",
}

VONAGE = Case(
    name="vonage",
    build=_vonage,
    line="POST /v1/messages HTTP/1.1",
    authorization="Bearer eyJ",
    accepted=202,
    accepts=lambda message_id: answer(202, {"message_uuid": message_id}),
    of_another=answer(202, {"message_uuid": IDS[0]}),
    reference="client_ref",
    refusals=[
        (_vonage_error(401, "You did not provide correct credentials."), Refusal.ACCOUNT),
        (_vonage_error(402, "This request could not be performed due to your account balance being low."), Refusal.ACCOUNT),
        (_vonage_error(403, "Your account does not have permission"), Refusal.ACCOUNT),
        (_vonage_error(404, "The requested resource does not exist"), Refusal.ACCOUNT),
        (_vonage_error(429, "Rate Limit Hit", retry_after="7"), Refusal.THROTTLED),
        (_vonage_error(422, "Invalid recipient", "to"), Refusal.RECIPIENT),
        (_vonage_error(422, "Invalid sender", "from"), Refusal.SETTING),
        (_vonage_error(422, "Invalid params", "webhook_url"), Refusal.SETTING),
        (_vonage_error(422, "Invalid params", "text"), Refusal.SHARED),
    ],
    unreadable=[answer(202), answer(202, b"{"), answer(202, {"workflow_id": "w"}), answer(202, {"message_uuid": ""})],
    sent=_RECORD,
    lists=_records,
    report=_RECORD,
    reports=_records,
    knows_nothing=_records(ids_not_found=IDS[0]),
    inbound={
        "message_id": "in-1",
        "direction": "inbound",
        "from": RECIPIENT[1:],
        "to": SENDER[1:],
        "provider": "sms",
        "message_body": "STOP",
        "date_received": "2026-11-24T12:00:00+00:00",
    },
    inbounds=_records,
    stops_the_plan=False,
)

CASES = [SINCH, VONAGE]
each_provider = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
