"""Each client and reader of callbacks with the simulator of its provider: both must behave alike to the engine.

What a provider's own answers look like on the wire is in `tests/integration/test_providers_conform.py`.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.providers.base import (
    Accepted,
    Ambiguous,
    Batch,
    Inbound,
    Provider,
    ProviderError,
    Refusal,
    Refused,
    Report,
    Submission,
)
from jobs.providers.callbacks import CallbackReader, Verdict
from jobs.providers.sinch.client import SinchClient
from jobs.providers.sinch.reader import SinchCallbacks
from jobs.providers.vonage.client import VonageClient
from jobs.providers.vonage.reader import VonageCallbacks
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Behaviour, Fault, ProviderName, VonageBehaviour
from sandbox.simulator.control import Control
from sandbox.simulator.server import Running
from sandbox.simulator.sinch.plans import PlanSettings
from sandbox.simulator.vonage.applications import ApplicationSettings
from tests.acceptance.messages_api import SECRET
from tests.acceptance.receiver import Receiver, receiving

SENDER, PHONE = "+12025550100", "+12025550123"
NO_NUMBER = "+12029990001"
_requests = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Side:
    """One provider: its client, its reader of callbacks, and what its simulator answers instead of accepting."""

    name: ProviderName
    client: Callable[[Running, str], Provider]
    reader: CallbackReader
    accepted: int
    errors: Mapping[Refusal, Fault]
    """Answers that refuse a request."""
    text_in: Callable[[Control], object]
    stops_the_plan: bool
    """Whether a question that is refused for the account's sake stops the plan."""


def _sinch_error(status: int, code: str, text: str) -> Fault:
    return Fault(effect="answer", status=status, code=code, text=text, times=1)


SINCH = Side(
    name="sinch",
    client=lambda running, _: SinchClient(plan=running.plan.id, token=running.plan.token, host=running.url, sender=SENDER),
    reader=SinchCallbacks([SECRET]),
    accepted=201,
    errors={
        Refusal.ACCOUNT: _sinch_error(401, "unauthorized", "no"),
        Refusal.SHARED: _sinch_error(400, "syntax_constraint_violation", "not this text"),
        Refusal.SETTING: _sinch_error(400, "syntax_invalid_parameter_format", "from must be a number"),
    },
    text_in=lambda sim: sim.text_in(sender=PHONE, to=SENDER, body="STOP"),
    stops_the_plan=True,
)
VONAGE = Side(
    name="vonage",
    client=lambda running, key: VonageClient(
        application=running.application.id,
        private_key=key,
        host=running.url,
        api_key=running.application.api_key,
        api_secret=running.application.api_secret,
        sender=SENDER,
    ),
    reader=VonageCallbacks([SECRET]),
    accepted=202,
    errors={
        Refusal.ACCOUNT: faults.problem(401, "You did not provide correct credentials."),
        Refusal.SHARED: faults.problem(422, "Invalid params"),
        Refusal.SETTING: faults.problem(422, "Invalid sender"),
    },
    text_in=lambda sim: sim.vonage.text_in(sender=PHONE, to=SENDER, text="STOP"),
    # The Reports API has a credential of its own.
    stops_the_plan=False,
)

pytestmark = pytest.mark.parametrize("side", [SINCH, VONAGE], ids=lambda side: side.name)


@pytest.fixture
def webhook(simulator: Running, public_key: str) -> Any:
    """Both simulators sign what they send to it. The tokens of Vonage's client are checked."""
    with receiving() as receiver:
        url = receiver.url
        simulator.control.agree(
            PlanSettings(callback_url=f"{url}/reports", inbound_url=f"{url}/inbound", webhook_secret=SECRET)
        )
        simulator.control.vonage.agree(
            ApplicationSettings(
                public_key=public_key, signature_secrets=(SECRET,), status_url=f"{url}/status", inbound_url=f"{url}/inbound"
            )
        )
        simulator.control.behave(Behaviour(vonage=VonageBehaviour(records_lag=0)))
        simulator.control.reset()
        yield receiver


@pytest.fixture
async def client(side: Side, webhook: Receiver, simulator: Running, private_key: str) -> Any:
    client = side.client(simulator, private_key)
    yield client
    await client.aclose()


def request(*recipients: str) -> Submission:
    reference = f"b6f5c1de-0000-4000-8000-{next(_requests):012}"
    return Submission(reference, None, "Your table is ready", recipients or [PHONE])


async def look_up(client: Provider, submission: Submission) -> list[Batch]:
    now = datetime.now(UTC)
    found = await client.find(
        submission.reference,
        recipients=submission.recipients,
        since=now - timedelta(hours=1),
        until=now + timedelta(hours=1),
        page=0,
        deadline=10,
    )
    assert found.last
    return [batch for batch in found.items if batch.reference == submission.reference]


async def test_accepted_request_is_in_the_books_once(side: Side, client: Provider, simulator: Running) -> None:
    sent = replace(request(), expire_at=datetime.now(UTC) + timedelta(hours=1))

    outcome = await client.submit(sent, deadline=10)

    (entry,) = simulator.control.accepted(provider=side.name)
    assert outcome == Accepted(entry.batch_id)
    assert (entry.reference, f"+{entry.recipient.removeprefix('+')}", entry.body) == (sent.reference, PHONE, sent.body)


@pytest.mark.parametrize("why", [Refusal.ACCOUNT, Refusal.SHARED, Refusal.SETTING])
async def test_refused_request_is_in_no_book(side: Side, client: Provider, simulator: Running, why: Refusal) -> None:
    simulator.control.add(side.errors[why])

    outcome = await client.submit(request(), deadline=10)

    assert isinstance(outcome, Refused)
    assert (outcome.why, simulator.control.summary().messages) == (why, 0)


async def test_refused_number_and_rate_are_told_apart(side: Side, client: Provider, simulator: Running) -> None:
    refused = [await client.submit(request(NO_NUMBER), deadline=10)]
    simulator.control.add(faults.throttle(retry_after="7"))
    refused.append(await client.submit(request(), deadline=10))

    assert [one.why for one in refused if isinstance(one, Refused)] == [Refusal.RECIPIENT, Refusal.THROTTLED]
    assert simulator.control.summary(provider=side.name).messages == 0


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        (faults.reset_after_accepting(), 1),
        (faults.reset_before_accepting(), 0),
        (faults.close_after_accepting(), 1),
        (Fault(effect="cut", times=1), 1),
        (faults.error_after_accepting(), 1),
        (faults.error_after_accepting(503), 1),
        (faults.error_after_accepting(408), 1),
        (faults.unreadable_after_accepting(), 1),
        (faults.stale_answer(accept=True), 1),
    ],
    ids=["reset", "reset before", "close", "cut", "500", "503", "408", "unreadable", "stale"],
)
async def test_ambiguous_request_is_made_once_and_found(
    side: Side, client: Provider, simulator: Running, fault: Fault, accepted: int
) -> None:
    """A record that is there is a fact at both. Only Sinch's empty list also proves something."""
    assert isinstance(await client.submit(request("+12025550124"), deadline=10), Accepted)
    if fault.page == "truncated":
        fault = faults.unreadable_after_accepting(status=side.accepted)
    simulator.control.add(fault)
    sent = request()

    outcome = await client.submit(sent, deadline=10)

    assert isinstance(outcome, Ambiguous)
    taken = [one.batch_id for one in simulator.control.accepted() if one.reference == sent.reference]
    assert len(taken) == accepted
    assert [(batch.batch_id, batch.recipients) for batch in await look_up(client, sent)] == [(one, (PHONE,)) for one in taken]
    assert await look_up(client, request()) == []


async def test_reports_say_how_a_message_ended(side: Side, client: Provider, simulator: Running) -> None:
    outcome = await client.submit(request(), deadline=10)
    assert isinstance(outcome, Accepted)
    assert simulator.control.settle()

    asked = await client.batch_reports([outcome.batch_id], deadline=10)

    assert {(one.batch_id, one.recipient, one.status) for one in asked.items} == {(outcome.batch_id, PHONE, "delivered")}
    assert (asked.unusable, asked.unknown) == ((), ())


async def test_replies_are_listed_with_their_text(side: Side, client: Provider, simulator: Running) -> None:
    side.text_in(simulator.control)
    now = datetime.now(UTC)

    page = await client.inbounds(start=now - timedelta(hours=1), end=now + timedelta(hours=1), page=0, deadline=10)

    assert [(one.sender, one.recipient, one.body) for one in page.items] == [(PHONE, SENDER, "STOP")]


async def test_refused_questions_raise_an_error(side: Side, client: Provider, simulator: Running) -> None:
    simulator.control.add(faults.account_error(401))

    with pytest.raises(ProviderError) as raised:
        await client.batch_reports(["b6f5c1de-0000-4000-8000-000000000000"], deadline=10)

    assert (raised.value.why is Refusal.ACCOUNT) is side.stops_the_plan


async def test_callbacks_verify_and_say_what_happened(
    side: Side, client: Provider, simulator: Running, webhook: Receiver
) -> None:
    """A message and a reply. The same token or signature over another body is forged."""
    sent = request()
    outcome = await client.submit(sent, deadline=10)
    side.text_in(simulator.control)
    assert isinstance(outcome, Accepted)
    assert simulator.control.settle()

    verdicts = {side.reader.authenticate(one.headers, one.body) for one in webhook.deliveries}
    forged = {side.reader.authenticate(one.headers, one.body + b" ") for one in webhook.deliveries}
    items = [item for one in webhook.deliveries for item in side.reader.parse(one.body)]
    assert (verdicts, forged) == ({Verdict.VERIFIED}, {Verdict.FORGED})
    assert ("delivered", outcome.batch_id, PHONE, sent.reference) in {
        (one.status, one.batch_id, one.recipient, one.reference) for one in items if isinstance(one, Report)
    }
    assert [(one.provider, one.sender, one.body) for one in items if isinstance(one, Inbound)] == [(side.name, PHONE, "STOP")]
