"""The provider's own Python package, unchanged, works with the simulator."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.providers.base import Submission
from jobs.providers.sinch.wire import submission_body
from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.control import Control, throttle
from sandbox.simulator.server import Running, running
from sandbox.simulator.sinch.plans import PlanSettings
from tests.acceptance.receiver import Receiver, receiving

SENDER = "+14155550000"
ONE = "+14155551234"
TWO = "+14155551235"
SECRET = "one of ours"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    with running() as sim:
        yield sim


@pytest.fixture
def sim(simulator: Running) -> Control:
    simulator.control.behave(Behaviour())
    simulator.control.agree(simulator.plan)
    simulator.control.reset()
    return simulator.control


@pytest.fixture
def sinch(simulator: Running, sim: Control) -> Iterator[Any]:
    # Every worker imports this file, and the package takes as long as all that the other tests import.
    from sinch import SinchClient

    client = SinchClient(service_plan_id=simulator.plan.id, sms_api_token=simulator.plan.token, sms_region="us")
    client.configuration.sms_domain_with_service_plan_id = simulator.url
    session: Any = client.configuration.transport
    session.http_session.trust_env = False
    yield client
    session.http_session.close()


@pytest.fixture
def webhook(sim: Control) -> Iterator[Receiver]:
    with receiving() as receiver:
        sim.agree(PlanSettings(callback_url=receiver.url, webhook_secret=SECRET))
        yield receiver


def send(sinch: Any, *to: str, **fields: Any) -> Any:
    return sinch.sms.batches.send_sms(to=list(to or (ONE,)), from_=SENDER, **{"body": "Hello", **fields})


def test_it_sends_reads_and_cancels(sim: Control, sinch: Any) -> None:
    expiry = datetime.now(UTC) + timedelta(hours=1)

    sent = send(sinch, ONE, TWO, client_reference="r", expire_at=expiry, parameters={"name": {ONE: "Ann", "default": "you"}})
    read = sinch.sms.batches.get(batch_id=sent.id)
    cancelled = sinch.sms.batches.cancel(batch_id=sent.id)

    assert sent.to == ["14155551234", "14155551235"]
    assert abs(sent.expire_at - expiry) < timedelta(seconds=1)
    assert read == sent
    assert (cancelled.id, cancelled.canceled) == (sent.id, True)


def test_it_sends_mms_as_our_client_does(sim: Control, sinch: Any) -> None:
    mms = Submission("r", SENDER, "Our menu", [ONE], media_url="https://example.com/menu.jpg")
    ours = json.loads(submission_body(mms, sender=None, callback_url=None, reports=False))

    sent = sinch.sms.batches.send_mms(
        to=[ONE],
        from_=SENDER,
        body={"url": mms.media_url, "message": mms.body},
        client_reference="r",
        delivery_report="none",
    )
    sim.settle()

    assert sent.body.model_dump(exclude_none=True) == ours["body"]
    assert (sent.type, sent.delivery_report, sent.client_reference) == ("mt_media", ours["delivery_report"], "r")
    report = sinch.sms.delivery_reports.get_for_number(batch_id=sent.id, recipient="14155551234")
    assert (report.status, report.type) == ("Delivered", "recipient_delivery_report_mms")


def test_it_pages_through_lists(sim: Control, sinch: Any) -> None:
    ids = [send(sinch, client_reference="r").id for _ in range(5)]
    send(sinch, client_reference="other")

    listed = sinch.sms.batches.list(
        page_size=2,
        client_reference="r",
        from_=[SENDER],
        start_date=datetime.now(UTC) - timedelta(hours=1),
        end_date=datetime.now(UTC) + timedelta(hours=1),
    )

    assert [batch.id for batch in listed.iterator()] == ids[::-1]


def test_it_counts_before_sending(sim: Control, sinch: Any) -> None:
    counted = sinch.sms.batches.dry_run_sms(
        to=[ONE, TWO], from_=SENDER, body="x" * 161, per_recipient=True, number_of_recipients=1
    )

    assert (counted.number_of_recipients, counted.number_of_messages) == (2, 4)
    assert [(each.recipient, each.number_of_parts) for each in counted.per_recipient] == [("14155551234", 2)]


def test_it_updates_and_replaces_a_waiting_batch(sim: Control, sinch: Any) -> None:
    batch = send(sinch, send_at=datetime.now(UTC) + timedelta(hours=1))

    updated = sinch.sms.batches.update_sms(batch_id=batch.id, to_add=[TWO], body="New")
    replaced = sinch.sms.batches.replace_sms(batch_id=batch.id, to=[TWO], from_=SENDER, body="Newest")

    assert (updated.id, updated.to, updated.body) == (batch.id, ["14155551234", "14155551235"], "New")
    assert (replaced.id, replaced.to, replaced.body) == (batch.id, ["14155551235"], "Newest")


def test_it_gives_feedback(sim: Control, sinch: Any) -> None:
    batch = send(sinch, feedback_enabled=True)

    sinch.sms.batches.send_delivery_feedback(batch_id=batch.id, recipients=[ONE])

    assert sim.summary().requests["feedback"] == 1


def test_sdk_reads_batch_and_recipient_reports(sim: Control, sinch: Any) -> None:
    batch = send(sinch, ONE, "+14159990402")
    sim.settle()

    summary = sinch.sms.delivery_reports.get(batch_id=batch.id)
    full = sinch.sms.delivery_reports.get(batch_id=batch.id, report_type="full", status=["DELIVERED"], code=[0])
    single = sinch.sms.delivery_reports.get_for_number(batch_id=batch.id, recipient="14159990402")

    assert (summary.total_message_count, len(summary.statuses)) == (2, 2)
    assert [(status.status, status.recipients) for status in full.statuses] == [("Delivered", ["14155551234"])]
    assert (single.status, single.code, single.type) == ("Aborted", 402, "recipient_delivery_report_sms")


def test_it_reads_the_feed_of_finished_reports(sim: Control, sinch: Any) -> None:
    send(sinch, *(f"+1415555{i:04d}" for i in range(120)))
    send(sinch, "+14159990402")
    sim.settle()

    every = list(sinch.sms.delivery_reports.list(page_size=50).iterator())
    aborted = list(sinch.sms.delivery_reports.list(status=["Aborted"], code=[402, 404]).iterator())

    assert len({report.recipient for report in every}) == 121
    assert [report.recipient for report in aborted] == ["14159990402"]


def test_it_reads_inbounds(sim: Control, sinch: Any) -> None:
    stop = sim.text_in(sender=ONE, to=SENDER, body="STOP")
    sim.text_in(sender=ONE, to="12345", body="hi")

    listed = list(sinch.sms.inbounds.list(to=["14155550000"]).iterator())
    single = sinch.sms.inbounds.get(inbound_id=stop.id)

    assert [(inbound.id, inbound.body, inbound.from_) for inbound in listed] == [(stop.id, "STOP", "14155551234")]
    assert single.received_at == listed[0].received_at


def test_it_understands_refusals_and_waits_out_a_429(sim: Control, sinch: Any) -> None:
    from sinch.domains.sms.api.v1.exceptions import SmsException

    with pytest.raises(SmsException) as refused:
        send(sinch, "+1415call")
    sim.add(throttle(retry_after="0"))
    send(sinch)

    assert refused.value.http_response.body["code"] == "syntax_invalid_parameter_format"
    assert sim.summary().answers == {"400": 1, "429": 1, "201": 1}


@pytest.mark.parametrize("mode", ["summary", "full", "per_recipient", "per_recipient_final"])
def test_it_validates_and_parses_every_report_we_sign(sim: Control, sinch: Any, webhook: Receiver, mode: str) -> None:
    events = sinch.sms.sinch_events(SECRET)
    batch = send(sinch, delivery_report=mode, client_reference="réf")
    assert sim.settle()

    assert webhook.deliveries
    for delivery in webhook.deliveries:
        assert events.validate_authentication_header(delivery.headers, delivery.body)
        assert not events.validate_authentication_header(delivery.headers, delivery.body + b" ")
        event = events.parse_event(delivery.body)
        assert (event.batch_id, event.client_reference) == (batch.id, "réf")


def test_it_validates_and_parses_inbounds(sim: Control, sinch: Any, webhook: Receiver) -> None:
    sim.text_in(sender=ONE, to=SENDER, body="Schön, danke")
    assert sim.wait(acknowledged=1)

    (delivery,) = webhook.deliveries
    events = sinch.sms.sinch_events(SECRET)
    assert events.validate_authentication_header(delivery.headers, delivery.body)
    assert events.parse_event(delivery.body).body == "Schön, danke"
