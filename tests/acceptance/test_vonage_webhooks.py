"""The Vonage simulator over HTTP: statuses, the signatures and retries of webhooks, and messages from phones."""

import hashlib
from collections import Counter
from typing import Any

import jwt
import pytest
from msgspec.structs import replace

from sandbox.simulator.behaviour import ReportFaults
from sandbox.simulator.control import Control
from sandbox.simulator.outcomes import Outcome, Share
from sandbox.simulator.vonage.timeline import DELAYS
from sandbox.simulator.vonage_controls import Attachment
from tests.acceptance.messages_api import ONE, SECRET, SENDER, TWO, MessagesApi, mms, sms
from tests.acceptance.receiver import Delivery, Receiver


def claims(delivery: Delivery, secret: str = SECRET) -> dict[str, Any]:
    scheme, _, token = delivery.headers["authorization"].partition(" ")
    assert scheme == "Bearer"
    decoded: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"])
    return decoded


def signed(delivery: Delivery) -> bool:
    return "authorization" in delivery.headers


class TestStatuses:
    @pytest.mark.parametrize(
        ("number", "expected"),
        [
            (ONE, [("submitted", None), ("delivered", None)]),
            ("12029990002", [("submitted", None)]),
            ("12029990003", [("undeliverable", None)]),
            ("12029991000", [("rejected", "1000")]),
            ("12029991240", [("rejected", "1240")]),
            ("12029991330", [("submitted", None), ("rejected", "1330")]),
            ("12029991490", [("submitted", None), ("rejected", "1490")]),
        ],
    )
    def test_magic_numbers_end_as_their_digits_say(
        self,
        sim: Control,
        messages_api: MessagesApi,
        vonage_webhook: Receiver,
        number: str,
        expected: list[tuple[str, str | None]],
    ) -> None:
        name = messages_api.send(number, client_ref="r")
        sim.settle()

        bodies = sorted(
            (delivery.json for delivery in vonage_webhook.deliveries), key=lambda body: body["status"] != "submitted"
        )
        assert [(body["status"], body["error"]["title"] if "error" in body else None) for body in bodies] == expected
        assert {(body["message_uuid"], body["client_ref"], body["to"], body["channel"]) for body in bodies} == {
            (name, "r", number, "sms")
        }

    def test_numbers_are_strings_and_segments_are_counted(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        messages_api.send(text="x" * 161)
        messages_api.send("12029991490", text="x" * 161)
        sim.settle()

        final = {body["status"]: body for body in (d.json for d in vonage_webhook.deliveries) if body["status"] != "submitted"}
        assert final["delivered"]["usage"] == {"currency": "EUR", "price": "0.0666"}
        assert final["delivered"]["sms"]["count_total"] == "2"
        assert [len(final[status]["sms"]["segments"]) for status in ("delivered", "rejected")] == [2, 1]

    def test_expiry_comes_before_or_after_submitted(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        sim.change(dispatch_delay=100, final_delay=100)
        messages_api.send(client_ref="early", ttl=50)
        messages_api.send(client_ref="late", ttl=150)
        sim.settle()

        received = Counter(vonage_webhook.received("client_ref", "status"))
        assert received == {("early", "rejected"): 1, ("late", "submitted"): 1, ("late", "rejected"): 1}

    def test_share_of_messages_ends_otherwise(self, sim: Control, messages_api: MessagesApi) -> None:
        sim.vonage.change(outcomes=[Share(outcome=Outcome("rejected", 1330), share=1)])
        messages_api.send()
        sim.settle()

        assert [(entry.status, entry.code) for entry in sim.accepted()] == [("rejected", 1330)]

    def test_message_may_name_its_own_url(self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver) -> None:
        url = f"{vonage_webhook.url}/own?x=1".replace("://", "://user:password@")
        messages_api.send("12029990002", webhook_url=url)
        sim.settle()

        (delivery,) = vonage_webhook.deliveries
        assert delivery.path == "/own?x=1"
        assert claims(delivery)["iss"] == "Vonage"

    def test_failover_sends_the_next_when_rejected(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        fields = sms("12029991230", failover=[sms(TWO, text="Again"), sms(ONE, text="Never")])
        workflow = messages_api.post(fields).json()["workflow_id"]
        sim.settle()
        sim.settle()

        assert [(entry.recipient, entry.body) for entry in sim.accepted()] == [("12029991230", "Hello"), (TWO, "Again")]
        flows = {(delivery.json["to"], *delivery.json["workflow"].values()) for delivery in vonage_webhook.deliveries}
        assert flows == {("12029991230", workflow, "1", "3"), (TWO, workflow, "2", "3")}


class TestSignatures:
    def test_webhooks_are_signed_over_their_raw_body(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        messages_api.send()
        sim.settle()

        assert len(vonage_webhook.deliveries) == 2
        for delivery in vonage_webhook.deliveries:
            said = claims(delivery)
            assert said["payload_hash"] == hashlib.sha256(delivery.body).hexdigest()
            assert (said["api_key"], said["application_id"]) == (messages_api.account[0], messages_api.application_id)
        assert len({claims(delivery)["jti"] for delivery in vonage_webhook.deliveries}) == 2

    def test_basic_requests_have_webhooks_without_application(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        for url in (None, f"{vonage_webhook.url}/own"):
            messages_api.post(sms("12029990002", webhook_url=url), headers={}, auth=messages_api.account)
        sim.settle()

        (delivery,) = vonage_webhook.deliveries
        assert "application_id" not in claims(delivery)

    def test_rotation_signs_with_either_secret(self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver) -> None:
        (settings,) = sim.vonage.applications()
        both = (SECRET, "the secret that comes after it, 32")
        sim.vonage.agree(replace(settings, signature_secrets=both))
        for _ in range(3):
            messages_api.send()
        sim.settle()

        def verifies(delivery: Delivery, secret: str) -> bool:
            try:
                return bool(claims(delivery, secret))
            except jwt.InvalidSignatureError:
                return False

        used = Counter(secret for delivery in vonage_webhook.deliveries for secret in both if verifies(delivery, secret))
        assert set(used) == set(both)
        assert sum(used.values()) == 6

    def test_unsigned_webhook_comes_signed_after_a_503(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        sim.vonage.change(unsigned=1)
        vonage_webhook.answers[:] = [503]
        messages_api.send("12029990002")
        sim.settle()
        sim.settle(retries=True)

        assert [signed(delivery) for delivery in vonage_webhook.deliveries] == [False, True]
        assert len({delivery.body for delivery in vonage_webhook.deliveries}) == 1


class TestRetries:
    @pytest.mark.parametrize(("status", "tries"), [(500, 2), (429, 2), (400, 1), (404, 1), (200, 1), (205, 1), (206, 1)])
    def test_only_429_and_5xx_are_tried_again(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver, status: int, tries: int
    ) -> None:
        vonage_webhook.answers[:] = [status]
        messages_api.send("12029990002")
        sim.settle()
        sim.settle(retries=True)

        assert len(vonage_webhook.deliveries) == tries
        assert sim.callbacks().acknowledged == (status not in (400, 404, 206))

    def test_retries_double_to_fifteen_minutes_for_a_day(self) -> None:
        assert DELAYS[:10] == (5, 10, 20, 40, 80, 160, 320, 640, 900, 900)
        assert 86_400 - 900 < sum(DELAYS) <= 86_400

    @pytest.mark.parametrize("again", [False, True])
    def test_unanswered_webhooks_are_tried_again_if_set(self, sim: Control, messages_api: MessagesApi, again: bool) -> None:
        sim.vonage.change(retry_unanswered=again)
        messages_api.send("12029990002", webhook_url="http://127.0.0.1:9/")
        sim.settle()

        figures = sim.callbacks()
        assert (figures.unreachable, figures.to_be_retried, figures.given_up) == (1, again, not again)


class TestReportFaults:
    def test_statuses_may_be_repeated_and_lost(self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver) -> None:
        for faults in (ReportFaults(repeated=1), ReportFaults(lost=1)):
            sim.change(reports=faults)
            messages_api.send()
            sim.settle()

        assert Counter(vonage_webhook.received("status")) == {("submitted",): 2, ("delivered",): 2}

    def test_statuses_may_come_in_reverse_and_days_late(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        sim.change(reports=ReportFaults(reordered=1, late=1, late_by=72 * 3600), dispatch_delay=10, final_delay=10)
        messages_api.send()

        sim.advance(72 * 3600 - 60)
        assert sim.callbacks().tries == 0
        sim.advance(71)
        assert sim.wait(acknowledged=1)
        assert vonage_webhook.received("status") == [("delivered",)]
        sim.advance(10)
        assert sim.wait(acknowledged=2)


class TestInbounds:
    def test_text_from_a_phone_has_its_keyword(self, sim: Control, vonage_webhook: Receiver) -> None:
        inbound = sim.vonage.text_in(sender=f"+{ONE}", to=SENDER, text="hello there", times=2)
        assert sim.wait(acknowledged=2)

        first, second = vonage_webhook.deliveries
        assert (first.path, first.body) == ("/webhooks/vonage/inbound", second.body)
        assert claims(first)["payload_hash"] == hashlib.sha256(first.body).hexdigest()
        body = first.json
        assert (body["message_uuid"], body["from"], body["to"], body["text"]) == (
            inbound.message_uuid,
            ONE,
            SENDER,
            "hello there",
        )
        assert body["sms"] == {"num_messages": "1", "keyword": "HELLO"}

    def test_pictures_from_a_phone_are_an_mms(self, sim: Control, vonage_webhook: Receiver) -> None:
        pictures = [Attachment(url=f"https://example.com/{name}.png", caption="See") for name in "ab"]
        sim.vonage.text_in(sender=ONE, to=SENDER, media=pictures)
        assert sim.wait(acknowledged=1)

        body = vonage_webhook.deliveries[0].json
        assert (body["channel"], body["message_type"], body["image"]["caption"]) == ("mms", "image", "See")
        assert [part["url"] for part in body["content"]] == [picture.url for picture in pictures]

    def test_stop_holds_for_one_of_our_numbers(self, sim: Control, messages_api: MessagesApi) -> None:
        sim.vonage.text_in(sender=ONE, to=SENDER, text="Stop please")
        for number, sender in ((ONE, SENDER), (TWO, SENDER), (ONE, "12025550101")):
            assert messages_api.post(sms(number, **{"from": sender})).status_code == 202
        sim.vonage.text_in(sender=ONE, to=SENDER, text="START")
        messages_api.send()
        sim.settle()

        assert [(entry.status, entry.code) for entry in sim.accepted()] == [
            ("rejected", 1240),
            ("delivered", 0),
            ("delivered", 0),
            ("delivered", 0),
        ]

    def test_opted_out_phones_are_listed(self, sim: Control, messages_api: MessagesApi) -> None:
        sim.vonage.text_in(sender=ONE, to=SENDER, text="STOP")

        (account,) = sim.vonage.accounts()
        assert account.opted_out == [(SENDER, ONE)]


def test_mms_is_reported_on_its_channel(sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver) -> None:
    assert messages_api.post(mms()).status_code == 202
    sim.settle()

    assert {tuple(sorted(body)) for body in vonage_webhook.received("channel")} == {("mms",)}
