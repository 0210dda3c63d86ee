"""The simulator over HTTP: reports, polled and by callback."""

import socket
from collections import Counter
from typing import Any

import httpx
import pytest

from sandbox.simulator.behaviour import Behaviour, ReportFaults
from sandbox.simulator.control import Control
from sandbox.simulator.outcomes import Outcome, Share
from sandbox.simulator.sinch.plans import PlanSettings
from tests.acceptance.receiver import Receiver
from tests.acceptance.xms import LONG_LIFE, ONE, TWO, instant, send


class TestReports:
    def test_a_message_is_queued_then_dispatched_then_final(self, sim: Control, api: httpx.Client) -> None:
        sim.change(dispatch_delay=10, final_delay=10)
        batch = send(api)
        seen = []

        for _ in range(3):
            report = api.get(f"/batches/{batch['id']}/delivery_report/{ONE}").json()
            seen.append((report["status"], report["code"]))
            sim.advance(11)

        assert seen == [("Queued", 400), ("Dispatched", 401), ("Delivered", 0)]

    @pytest.mark.parametrize(
        ("number", "status", "code"),
        [
            ("+14159990402", "Aborted", 402),
            ("+14159990413", "Aborted", 413),
            ("+14159990060", "Failed", 60),
            ("+14159990257", "Deleted", 257),
            ("+14159990152", "Rejected", 152),
            ("+14159990003", "Unknown", 0),
            ("+14159990002", "Dispatched", 401),
        ],
    )
    def test_magic_numbers_end_as_their_digits_say(
        self, sim: Control, api: httpx.Client, number: str, status: str, code: int
    ) -> None:
        batch = send(api, number)
        sim.settle()

        report = api.get(f"/batches/{batch['id']}/delivery_report/{number}").json()

        assert (report["status"], report["code"]) == (status, code)

    def test_a_temporary_failure_passes(self, sim: Control, api: httpx.Client) -> None:
        for _ in range(2):
            send(api, "+14159991404")
            sim.settle()

        assert [(m.status, m.code) for m in sim.accepted()] == [("Aborted", 404), ("Delivered", 0)]

    def test_batch_reports_count_and_full_ones_name_recipients(self, sim: Control, api: httpx.Client) -> None:
        batch = send(api, ONE, TWO, "+14159990402", client_reference="r")
        sim.settle()
        path = f"/batches/{batch['id']}/delivery_report"

        summary, full = (
            api.get(path).json(),
            api.get(path, params={"type": "full", "status": "Aborted", "code": "402,404"}).json(),
        )

        assert summary["total_message_count"] == 3
        assert {"code": 0, "status": "Delivered", "count": 2} in summary["statuses"]
        assert full["client_reference"] == "r"
        assert full["statuses"] == [{"code": 402, "status": "Aborted", "count": 1, "recipients": ["14159990402"]}]

    def test_reports_of_strangers_are_not_found(self, sim: Control, api: httpx.Client) -> None:
        batch = send(api)

        assert api.get(f"/batches/{batch['id']}/delivery_report/{TWO}").status_code == 404
        assert api.get("/batches/none/delivery_report").status_code == 404

    def test_the_feed_pages_through_everything_final(self, sim: Control, api: httpx.Client) -> None:
        send(api, *(f"+1415555{i:04d}" for i in range(250)))
        send(api, "+14159990402", "+14159990002", client_reference="r")
        sim.settle()

        def page(**params: Any) -> dict[str, Any]:
            answer: dict[str, Any] = api.get("/delivery_reports", params={"page_size": 100, **params}).json()
            return answer

        numbers = [report["recipient"] for index in range(4) for report in page(page=index)["delivery_reports"]]
        times = [report["at"] for report in page()["delivery_reports"]]

        assert page()["count"] == 251
        assert len(set(numbers)) == len(numbers) == 251
        assert times == sorted(times, reverse=True)
        assert page(status="Aborted,Failed")["count"] == 1
        assert page(code="402")["count"] == 1
        assert page(client_reference="r")["count"] == 1
        assert page(client_reference="r", status="Delivered")["count"] == 0
        assert page(end_date=instant(hours=-1), start_date=instant(hours=-2))["count"] == 0

    def test_expiry_in_queue_aborts_and_after_dispatch_expires(self, sim: Control, api: httpx.Client) -> None:
        sim.change(dispatch_delay=100)
        send(api, expire_at=instant(seconds=50))
        sim.change(dispatch_delay=1, final_delay=100)
        send(api, expire_at=instant(seconds=50))
        sim.advance(60)

        assert [(m.status, m.code) for m in sim.accepted()] == [("Aborted", 406), ("Expired", 34)]

    def test_share_of_messages_fails_repeatably(self, sim: Control, api: httpx.Client) -> None:
        failed = Outcome("Failed", 62)
        sim.behave(Behaviour(outcomes=(Share(outcome=failed, share=0.5),)))
        seen = []

        for _ in range(2):
            sim.reset()
            send(api, *(f"+1415555{i:04d}" for i in range(200)))
            sim.settle()
            seen.append([m.status for m in sim.accepted()])

        assert seen[0] == seen[1]
        assert 50 < Counter(seen[0])["Failed"] < 150

    def test_a_plan_with_a_rate_is_one_queue(self, sim: Control, api: httpx.Client) -> None:
        sim.agree(PlanSettings(rate=10))
        sim.change(dispatch_delay=0, final_delay=0)
        send(api, *(f"+1415555{i:04d}" for i in range(100)), body="campaign")
        send(api, body="urgent")

        sim.advance(9)
        assert {m.status for m in sim.accepted() if m.body == "urgent"} == {"Queued"}
        sim.advance(2)
        assert {m.status for m in sim.accepted()} == {"Delivered"}


class TestCallbacks:
    @pytest.mark.parametrize(
        ("mode", "received"),
        [
            ("none", []),
            ("summary", [("delivery_report_sms", None, None)]),
            ("full", [("delivery_report_sms", None, None)]),
            ("per_recipient_final", [("recipient_delivery_report_sms", "Aborted", 402)]),
            ("per_recipient", [("recipient_delivery_report_sms", "Aborted", 402)]),
        ],
    )
    def test_each_report_mode_sends_its_documented_reports(
        self, sim: Control, api: httpx.Client, webhook: Receiver, mode: str, received: list[tuple[Any, ...]]
    ) -> None:
        send(api, "+14159990402", delivery_report=mode)

        assert sim.settle()
        assert webhook.received("type", "status", "code") == received

    def test_per_recipient_reports_each_change_and_final_one(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        send(api, delivery_report="per_recipient", client_reference="all")
        send(api, delivery_report="per_recipient_final", client_reference="last")
        sim.settle()

        assert sorted(webhook.received("client_reference", "status")) == [
            ("all", "Delivered"),
            ("all", "Dispatched"),
            ("last", "Delivered"),
        ]

    def test_they_come_by_themselves_when_due(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.change(dispatch_delay=0.01, final_delay=0.02)
        send(api, ONE, TWO, delivery_report="per_recipient")

        assert sim.wait(acknowledged=4)
        assert Counter(webhook.received("status")) == {("Dispatched",): 2, ("Delivered",): 2}

    def test_batch_may_set_a_callback_url_with_password(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        url = webhook.url.replace("://", "://user:pa%20ss@") + "/own?x=1"
        sim.agree(PlanSettings(callback_headers={"X-Webhook-Token": "t"}))
        send(api, delivery_report="full", callback_url=url)
        sim.settle()

        (delivery,) = webhook.deliveries
        assert delivery.path == "/own?x=1"
        assert httpx.BasicAuth("user", "pa ss")._auth_header == delivery.headers["authorization"]
        assert delivery.headers["x-webhook-token"] == "t"
        assert "x-sinch-webhook-signature" not in delivery.headers

    def test_cancelled_messages_say_so_and_nothing_else(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.change(**LONG_LIFE)
        batch = send(api, delivery_report="per_recipient")
        api.delete(f"/batches/{batch['id']}")
        sim.settle()

        assert webhook.received("status", "code") == [("Cancelled", 407)]

    @pytest.mark.parametrize("status", [500, 503, 429])
    def test_trouble_is_tried_again(self, sim: Control, api: httpx.Client, webhook: Receiver, status: int) -> None:
        webhook.answers[:] = [status, status]
        sim.change(retry_scale=0.001)
        send(api, delivery_report="full")
        sim.settle()

        assert sim.wait(acknowledged=1)
        assert len({delivery.body for delivery in webhook.deliveries}) == 1
        assert sim.callbacks().tries == 3

    def test_callback_retries_stop_after_sixteen_tries(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        webhook.answers[:] = [500] * 100
        send(api, delivery_report="full")
        sim.settle()

        assert sim.callbacks().to_be_retried == 1
        for _ in range(16):
            sim.settle(retries=True)
        figures = sim.callbacks()
        assert (figures.tries, figures.given_up, figures.to_be_retried) == (16, 1, 0)

    @pytest.mark.parametrize("status", [400, 401, 404, 413])
    def test_other_refusals_lose_the_event(self, sim: Control, api: httpx.Client, webhook: Receiver, status: int) -> None:
        webhook.answers[:] = [status]
        send(api, delivery_report="full")
        sim.settle()

        assert (sim.callbacks().refused, sim.callbacks().to_be_retried) == (1, 0)

    def test_callback_to_an_unreachable_webhook_is_retried(self, sim: Control, api: httpx.Client) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        sim.agree(PlanSettings(callback_url=f"http://127.0.0.1:{port}/"))
        send(api, delivery_report="full")
        sim.settle()

        assert (sim.callbacks().unreachable, sim.callbacks().to_be_retried) == (1, 1)

    def test_thousands_get_through(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        send(api, *(f"+1415{i:07d}" for i in range(1000)), delivery_report="per_recipient")

        assert sim.settle()
        assert len(set(webhook.received("recipient", "status"))) == len(webhook.deliveries) == 2000


class TestReportFaults:
    def received(self, sim: Control, api: httpx.Client, webhook: Receiver, reports: ReportFaults) -> list[tuple[Any, ...]]:
        sim.change(reports=reports)
        batch = send(api, delivery_report="per_recipient")
        assert sim.settle()
        assert api.get(f"/batches/{batch['id']}/delivery_report/{ONE}").json()["status"] == "Delivered"
        return webhook.received("status")

    def test_lost_reports_never_arrive(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        """The status can still be read."""
        assert self.received(sim, api, webhook, ReportFaults(lost=1)) == []

    def test_repeated_reports_come_twice(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        received = self.received(sim, api, webhook, ReportFaults(repeated=1))

        assert Counter(received) == {("Dispatched",): 2, ("Delivered",): 2}
        assert len({delivery.body for delivery in webhook.deliveries}) == 2

    def test_reordered_reports_bring_the_end_first(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.change(reports=ReportFaults(reordered=1), dispatch_delay=10, final_delay=10)
        send(api, delivery_report="per_recipient")

        sim.advance(11)
        assert sim.wait(acknowledged=1)
        assert webhook.received("status") == [("Delivered",)]
        sim.advance(10)
        assert sim.wait(acknowledged=2)
        assert webhook.received("status") == [("Delivered",), ("Dispatched",)]

    def test_contradictory_reports_say_something_else_too(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        assert ("Expired",) in self.received(sim, api, webhook, ReportFaults(contradictory=1))

    def test_late_reports_arrive_after_status_is_readable(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.change(reports=ReportFaults(late=1, late_by=1000), dispatch_delay=0, final_delay=0)
        batch = send(api, delivery_report="per_recipient_final")
        sim.advance(10)

        assert api.get(f"/batches/{batch['id']}/delivery_report/{ONE}").json()["status"] == "Delivered"
        assert webhook.deliveries == []
        sim.advance(1000)
        assert sim.wait(acknowledged=1)
