"""The simulator over HTTP, as a customer's program and a test meet it."""

import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Behaviour, Fault, Outcome, ReportFaults, Share
from sandbox.simulator.control import Control
from sandbox.simulator.plans import PlanSettings
from sandbox.simulator.server import Running, process, running
from tests.acceptance.receiver import Receiver, receiving

SENDER = "+14155550000"
ONE = "+14155551234"
TWO = "+14155551235"
LONG_LIFE = {"dispatch_delay": 1000, "final_delay": 1000}


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
def api(simulator: Running) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"{simulator.url}/xms/v1/{simulator.plan.id}",
        headers={"Authorization": f"Bearer {simulator.plan.token}"},
        timeout=20,
        trust_env=False,
    ) as client:
        yield client


@pytest.fixture
def webhook(simulator: Running, sim: Control) -> Iterator[Receiver]:
    with receiving() as receiver:
        sim.agree(PlanSettings(callback_url=f"{receiver.url}/reports"))
        yield receiver


def send(api: httpx.Client, *to: str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/batches", json={"to": list(to or (ONE,)), "from": SENDER, "body": "Hello", **fields})
    assert answer.status_code == 201, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def instant(**ago: float) -> str:
    return (datetime.now(UTC) + timedelta(**ago)).isoformat()


class TestSending:
    def test_an_accepted_batch_shows_digits_utc_milliseconds_and_no_nulls(self, sim: Control, api: httpx.Client) -> None:
        batch = send(api, "+1 (415) 555-1234", "0014155551235", client_reference="r")

        assert batch["to"] == ["14155551234", "14155551235"]
        assert batch["from"] == "14155550000"
        assert batch["canceled"] is False
        assert batch["delivery_report"] == "none"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", batch["created_at"])
        assert None not in batch.values()

    def test_of_a_number_that_stands_twice_the_second_vanishes(self, sim: Control, api: httpx.Client) -> None:
        assert send(api, ONE, TWO, "14155551234")["to"] == ["14155551234", "14155551235"]

    def test_one_bad_number_refuses_the_batch_and_is_named(self, sim: Control, api: httpx.Client) -> None:
        answer = api.post("/batches", json={"to": [ONE, "+1415call"], "from": SENDER, "body": "x"})

        assert refused(answer) == (400, "syntax_invalid_parameter_format")
        assert "to[1]" in answer.json()["text"]
        assert sim.summary().messages == 0

    def test_a_number_with_the_magic_ending_is_refused_where_it_stands(self, sim: Control, api: httpx.Client) -> None:
        answer = api.post("/batches", json={"to": [ONE, ONE, "+14159990001"], "from": SENDER, "body": "x"})

        assert "to[2]" in answer.json()["text"]

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"to": []}, "syntax_constraint_violation"),
            ({"to": [f"+1415{i:07d}" for i in range(1001)]}, "syntax_constraint_violation"),
            ({"to": None}, "syntax_constraint_violation"),
            ({"body": "x" * 2001}, "syntax_constraint_violation"),
            ({"body": None}, "syntax_constraint_violation"),
            ({"body": 7}, "syntax_invalid_parameter_format"),
            ({"from": None}, "syntax_constraint_violation"),
            ({"from": "much too long a name"}, "syntax_invalid_parameter_format"),
            ({"client_reference": "x" * 2049}, "syntax_constraint_violation"),
            ({"delivery_report": "sometimes"}, "syntax_invalid_parameter_format"),
            ({"callback_url": "nowhere"}, "syntax_invalid_parameter_format"),
            ({"parameters": {"k" * 17: {}}}, "syntax_constraint_violation"),
            ({"parameters": {"name": {ONE: "x" * 161}}}, "syntax_constraint_violation"),
            ({"expire_at": instant(hours=-1)}, "syntax_constraint_violation"),
            ({"expire_at": instant(days=3, hours=1)}, "syntax_constraint_violation"),
            ({"send_at": instant(hours=2), "expire_at": instant(hours=1)}, "syntax_constraint_violation"),
            ({"expire_at": "tomorrow"}, "syntax_invalid_parameter_format"),
            ({"from_ton": 7}, "syntax_constraint_violation"),
            ({"type": "mt_binary", "body": "AAAA"}, "syntax_constraint_violation"),
            ({"type": "mt_media", "body": "AAAA"}, "syntax_constraint_violation"),
        ],
    )
    def test_what_breaks_a_documented_limit_is_refused(
        self, sim: Control, api: httpx.Client, fields: dict[str, Any], code: str
    ) -> None:
        answer = api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x", **fields})

        assert refused(answer) == (400, code)

    def test_what_just_keeps_the_limits_is_accepted(self, sim: Control, api: httpx.Client) -> None:
        numbers = [f"+1415{i:07d}" for i in range(1000)]

        batch = send(api, *numbers, body="x" * 2000, client_reference="r" * 2048, no_such_field=1)

        assert len(batch["to"]) == 1000

    def test_wrong_tokens_plans_paths_methods_and_types_have_their_own_answers(self, sim: Control, api: httpx.Client) -> None:
        plain = httpx.URL(api.base_url)
        wrong = {"Authorization": "Bearer wrong"}

        assert api.get("/batches", headers=wrong).status_code == 401
        assert api.get(str(plain).replace("demo-plan", "other") + "batches").status_code == 401
        assert api.get("/nothing").status_code == 404
        assert api.get("/batches/01ARZ3NDEKTSV4RRFFQ69G5FAV").status_code == 404
        assert api.patch("/batches").status_code == 405
        assert api.post("/batches", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
        assert refused(api.post("/batches", content=b"{", headers={"Content-Type": "application/json"})) == (
            400,
            "syntax_invalid_json",
        )

    def test_reports_without_an_address_are_forbidden(self, sim: Control, api: httpx.Client) -> None:
        answer = api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x", "delivery_report": "full"})

        assert refused(answer) == (403, "missing_callback_url")

    def test_an_unknown_group_is_forbidden(self, sim: Control, api: httpx.Client) -> None:
        answer = api.post("/batches", json={"to": ["01ARZ3NDEKTSV4RRFFQ69G5FAV"], "from": SENDER, "body": "x"})

        assert refused(answer) == (403, "unknown_group")

    def test_a_default_originator_stands_in_for_a_missing_sender(self, sim: Control, api: httpx.Client) -> None:
        sim.agree(PlanSettings(default_originator="12345"))

        assert send(api, **{"from": None})["from"] == "12345"


class TestParameters:
    def test_each_recipient_gets_its_own_value_the_default_or_fails_alone(self, sim: Control, api: httpx.Client) -> None:
        send(api, ONE, TWO, body="Hi ${name}", parameters={"name": {ONE: "Ann", "default": "you"}})
        send(api, ONE, TWO, body="Dear ${name}", parameters={"name": {ONE: "Ann"}})
        sim.settle()

        assert [(m.recipient[-1], m.body, m.status, m.code) for m in sim.accepted()] == [
            ("4", "Hi Ann", "Delivered", 0),
            ("5", "Hi you", "Delivered", 0),
            ("4", "Dear Ann", "Delivered", 0),
            ("5", "Dear ${name}", "Aborted", 405),
        ]

    def test_a_literal_placeholder_is_taken_for_one(self, sim: Control, api: httpx.Client) -> None:
        send(api, body="costs ${price}")
        send(api, body="costs ${d}{price}", parameters={"d": {"default": "$"}})
        sim.settle()

        assert [(m.body, m.code) for m in sim.accepted()] == [("costs ${price}", 405), ("costs ${price}", 0)]


class TestListing:
    def test_pages_are_newest_first_and_say_how_many_there_are(self, sim: Control, api: httpx.Client) -> None:
        ids = [send(api, body=str(number))["id"] for number in range(5)]

        page = api.get("/batches", params={"page": 1, "page_size": 2}).json()

        assert (page["page"], page["page_size"], page["count"]) == (1, 2, 5)
        assert [batch["id"] for batch in page["batches"]] == [ids[2], ids[1]]
        assert api.get("/batches", params={"page": 9}).json() == {"page": 9, "page_size": 0, "count": 5, "batches": []}

    def test_senders_and_references_filter(self, sim: Control, api: httpx.Client) -> None:
        send(api, client_reference="a")
        send(api, client_reference="a", **{"from": "Shop"})
        send(api, client_reference="b")

        def count(**params: str) -> int:
            total: int = api.get("/batches", params=params).json()["count"]
            return total

        assert count(client_reference="a") == 2
        assert count(client_reference="c") == 0
        assert count(**{"from": "Shop,12345"}) == 1
        assert count(**{"from": SENDER, "client_reference": "a"}) == 1

    def test_it_reaches_a_day_back_unless_told_and_never_more_than_two_weeks(self, sim: Control, api: httpx.Client) -> None:
        send(api)
        early = instant(days=-1)

        sim.advance(25 * 3600)
        assert api.get("/batches").json()["count"] == 0
        assert api.get("/batches", params={"start_date": early}).json()["count"] == 1

        sim.advance(14 * 24 * 3600)
        assert api.get("/batches", params={"start_date": early}).json()["count"] == 0

    def test_the_end_is_exclusive_and_the_start_is_not(self, sim: Control, api: httpx.Client) -> None:
        created = send(api)["created_at"]

        assert api.get("/batches", params={"start_date": created}).json()["count"] == 1
        assert api.get("/batches", params={"end_date": created}).json()["count"] == 0

    @pytest.mark.parametrize("params", [{"page_size": "101"}, {"page_size": "0"}, {"page": "-1"}, {"start_date": "soon"}])
    def test_impossible_questions_are_refused(self, sim: Control, api: httpx.Client, params: dict[str, str]) -> None:
        assert api.get("/batches", params=params).status_code == 400

    def test_a_new_batch_may_show_up_only_later(self, sim: Control, api: httpx.Client) -> None:
        sim.change(list_lag=60)
        batch = send(api, client_reference="slow")

        assert api.get("/batches", params={"client_reference": "slow"}).json()["count"] == 0
        assert api.get(f"/batches/{batch['id']}").status_code == 200

        sim.advance(61)
        assert api.get("/batches", params={"client_reference": "slow"}).json()["count"] == 1


class TestChanging:
    def test_a_dry_run_counts_and_sends_nothing(self, sim: Control, api: httpx.Client) -> None:
        wanted = {"to": [ONE, TWO], "from": SENDER, "body": "${t}", "parameters": {"t": {ONE: "a" * 160, TWO: "ж" * 71}}}

        counted = api.post("/batches/dry_run", params={"per_recipient": "true"}, json=wanted).json()
        short = api.post("/batches/dry_run", json=wanted).json()

        assert (counted["number_of_recipients"], counted["number_of_messages"]) == (2, 3)
        assert [(each["number_of_parts"], each["encoding"]) for each in counted["per_recipient"]] == [
            (1, "text"),
            (2, "unicode"),
        ]
        assert "per_recipient" not in short
        assert sim.summary().batches == 0

    def test_a_waiting_batch_can_be_changed(self, sim: Control, api: httpx.Client) -> None:
        batch = send(api, ONE, send_at=instant(hours=1), client_reference="a")

        changed = api.post(f"/batches/{batch['id']}", json={"body": "New", "to_add": [TWO], "to_remove": [ONE]}).json()

        assert (changed["id"], changed["body"], changed["to"]) == (batch["id"], "New", ["14155551235"])
        assert changed["client_reference"] == "a"
        assert [(m.recipient, m.body) for m in sim.accepted()] == [("14155551235", "New")]

    def test_a_batch_on_its_way_cannot(self, sim: Control, api: httpx.Client) -> None:
        batch = send(api)
        sim.settle()

        answer = api.post(f"/batches/{batch['id']}", json={"body": "New"})

        assert refused(answer) == (403, "batch_already_dispatched")

    def test_a_replacement_keeps_the_id_and_takes_back_what_was_waiting(self, sim: Control, api: httpx.Client) -> None:
        sim.change(**LONG_LIFE)
        batch = send(api)

        answer = api.put(f"/batches/{batch['id']}", json={"to": [TWO], "from": SENDER, "body": "Better"})

        assert (answer.status_code, answer.json()["id"]) == (200, batch["id"])
        assert api.get(f"/batches/{batch['id']}").json()["body"] == "Better"
        assert [(m.body, m.status) for m in sim.accepted()] == [("Hello", "Cancelled"), ("Better", "Queued")]

    def test_cancelling_stops_what_is_queued_and_twice_changes_nothing(self, sim: Control, api: httpx.Client) -> None:
        sim.change(**LONG_LIFE)
        batch = send(api, ONE, TWO)

        first = api.delete(f"/batches/{batch['id']}").json()
        second = api.delete(f"/batches/{batch['id']}").json()

        assert first["canceled"] is True
        assert second == first
        assert api.get(f"/batches/{batch['id']}/delivery_report").json()["statuses"] == [
            {"code": 407, "status": "Cancelled", "count": 2}
        ]

    def test_cancelling_a_batch_for_later_leaves_an_empty_report(self, sim: Control, api: httpx.Client) -> None:
        batch = send(api, send_at=instant(hours=1))
        api.delete(f"/batches/{batch['id']}")

        report = api.get(f"/batches/{batch['id']}/delivery_report").json()

        assert (report["total_message_count"], report["statuses"]) == (0, [])

    def test_cancelling_a_finished_batch_changes_no_report(self, sim: Control, api: httpx.Client) -> None:
        batch = send(api)
        sim.settle()
        api.delete(f"/batches/{batch['id']}")

        assert api.get(f"/batches/{batch['id']}/delivery_report/{ONE}").json()["status"] == "Delivered"

    def test_feedback_needs_to_be_enabled(self, sim: Control, api: httpx.Client) -> None:
        enabled, plain = send(api, feedback_enabled=True)["id"], send(api)["id"]

        assert api.post(f"/batches/{enabled}/delivery_feedback", json={"recipients": [ONE]}).status_code == 202
        assert api.post(f"/batches/{plain}/delivery_feedback", json={"recipients": [ONE]}).status_code == 400


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

    def test_batch_reports_count_and_a_full_one_names_numbers(self, sim: Control, api: httpx.Client) -> None:
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

    def test_what_expires_in_the_queue_is_aborted_and_later_expired(self, sim: Control, api: httpx.Client) -> None:
        sim.change(dispatch_delay=100)
        send(api, expire_at=instant(seconds=50))
        sim.change(dispatch_delay=1, final_delay=100)
        send(api, expire_at=instant(seconds=50))
        sim.advance(60)

        assert [(m.status, m.code) for m in sim.accepted()] == [("Aborted", 406), ("Expired", 34)]

    def test_shares_of_messages_end_badly_and_the_same_ones_again(self, sim: Control, api: httpx.Client) -> None:
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
        ("mode", "told"),
        [
            ("none", []),
            ("summary", [("delivery_report_sms", None, None)]),
            ("full", [("delivery_report_sms", None, None)]),
            ("per_recipient_final", [("recipient_delivery_report_sms", "Aborted", 402)]),
            ("per_recipient", [("recipient_delivery_report_sms", "Aborted", 402)]),
        ],
    )
    def test_each_mode_tells_what_it_promises(
        self, sim: Control, api: httpx.Client, webhook: Receiver, mode: str, told: list[tuple[Any, ...]]
    ) -> None:
        send(api, "+14159990402", delivery_report=mode)

        assert sim.settle()
        assert webhook.told("type", "status", "code") == told

    def test_per_recipient_tells_each_change_and_final_only_the_last(
        self, sim: Control, api: httpx.Client, webhook: Receiver
    ) -> None:
        send(api, delivery_report="per_recipient", client_reference="all")
        send(api, delivery_report="per_recipient_final", client_reference="last")
        sim.settle()

        assert sorted(webhook.told("client_reference", "status")) == [
            ("all", "Delivered"),
            ("all", "Dispatched"),
            ("last", "Delivered"),
        ]

    def test_they_come_by_themselves_when_due(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.change(dispatch_delay=0.01, final_delay=0.02)
        send(api, ONE, TWO, delivery_report="per_recipient")

        assert sim.wait(acknowledged=4)
        assert Counter(webhook.told("status")) == {("Dispatched",): 2, ("Delivered",): 2}

    def test_a_batch_may_name_its_own_address_with_a_password(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
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

        assert webhook.told("status", "code") == [("Cancelled", 407)]

    @pytest.mark.parametrize("status", [500, 503, 429])
    def test_trouble_is_tried_again(self, sim: Control, api: httpx.Client, webhook: Receiver, status: int) -> None:
        webhook.answers[:] = [status, status]
        sim.change(retry_scale=0.001)
        send(api, delivery_report="full")
        sim.settle()

        assert sim.wait(acknowledged=1)
        assert len({delivery.body for delivery in webhook.deliveries}) == 1
        assert sim.callbacks().tries == 3

    def test_retries_wait_longer_each_time_until_they_are_given_up(
        self, sim: Control, api: httpx.Client, webhook: Receiver
    ) -> None:
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

    def test_a_webhook_that_is_down_hears_of_it_later(self, sim: Control, api: httpx.Client) -> None:
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
        assert len(set(webhook.told("recipient", "status"))) == len(webhook.deliveries) == 2000


class TestReportFaults:
    def told(self, sim: Control, api: httpx.Client, webhook: Receiver, reports: ReportFaults) -> list[tuple[Any, ...]]:
        sim.change(reports=reports)
        batch = send(api, delivery_report="per_recipient")
        assert sim.settle()
        assert api.get(f"/batches/{batch['id']}/delivery_report/{ONE}").json()["status"] == "Delivered"
        return webhook.told("status")

    def test_lost_reports_never_come_but_can_be_asked_for(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        assert self.told(sim, api, webhook, ReportFaults(lost=1)) == []

    def test_repeated_reports_come_twice(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        told = self.told(sim, api, webhook, ReportFaults(repeated=1))

        assert Counter(told) == {("Dispatched",): 2, ("Delivered",): 2}
        assert len({delivery.body for delivery in webhook.deliveries}) == 2

    def test_reordered_reports_bring_the_end_first(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.change(reports=ReportFaults(reordered=1), dispatch_delay=10, final_delay=10)
        send(api, delivery_report="per_recipient")

        sim.advance(11)
        assert sim.wait(acknowledged=1)
        assert webhook.told("status") == [("Delivered",)]
        sim.advance(10)
        assert sim.wait(acknowledged=2)
        assert webhook.told("status") == [("Delivered",), ("Dispatched",)]

    def test_contradictory_reports_say_something_else_too(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        assert ("Expired",) in self.told(sim, api, webhook, ReportFaults(contradictory=1))

    def test_late_reports_come_after_the_truth_can_be_asked_for(
        self, sim: Control, api: httpx.Client, webhook: Receiver
    ) -> None:
        sim.change(reports=ReportFaults(late=1, late_by=1000), dispatch_delay=0, final_delay=0)
        batch = send(api, delivery_report="per_recipient_final")
        sim.advance(10)

        assert api.get(f"/batches/{batch['id']}/delivery_report/{ONE}").json()["status"] == "Delivered"
        assert webhook.deliveries == []
        sim.advance(1000)
        assert sim.wait(acknowledged=1)


class TestRequestFaults:
    @pytest.mark.parametrize(
        ("fault", "error", "accepted"),
        [
            (faults.timeout_after_accepting(), httpx.ReadTimeout, 1),
            (faults.timeout_before_accepting(), httpx.ReadTimeout, 0),
            (faults.reset_after_accepting(), httpx.ReadError, 1),
            (faults.reset_before_accepting(), httpx.ReadError, 0),
            (Fault(effect="cut", times=1), httpx.RemoteProtocolError, 1),
        ],
    )
    def test_a_request_without_an_answer_may_have_been_accepted(
        self, sim: Control, api: httpx.Client, fault: Fault, error: type[Exception], accepted: int
    ) -> None:
        sim.add(fault)

        with pytest.raises(error):
            api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x"}, timeout=0.5)

        assert sim.wait(kind="send", requests=1)
        assert sim.summary().messages == accepted
        assert [asked.status for asked in sim.asked()] == [0]
        send(api)

    @pytest.mark.parametrize(
        ("fault", "status", "accepted"),
        [
            (faults.error_after_accepting(), 500, 1),
            (faults.error_after_accepting(408), 408, 1),
            (faults.throttle(), 429, 0),
            (faults.unavailable_page(), 503, 0),
            (faults.redirect("http://127.0.0.1:9/"), 307, 0),
            (faults.account_error(402, times=1), 402, 0),
            (faults.unreadable_after_accepting(), 201, 1),
        ],
    )
    def test_an_answer_may_say_anything(
        self, sim: Control, api: httpx.Client, fault: Fault, status: int, accepted: int
    ) -> None:
        sim.add(fault)

        answer = api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x"})

        assert answer.status_code == status
        with pytest.raises(ValueError, match=r"char|column"):
            answer.json()
        assert sim.summary().messages == accepted

    def test_a_late_request_takes_effect_although_its_sender_has_gone(self, sim: Control, api: httpx.Client) -> None:
        sim.add(faults.late_request(0.3))

        with pytest.raises(httpx.ReadTimeout):
            api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x"}, timeout=0.05)

        assert sim.summary().messages == 0
        assert sim.wait(messages=1)

    def test_retry_after_comes_along(self, sim: Control, api: httpx.Client) -> None:
        sim.add(faults.throttle(retry_after="7"))

        assert api.post("/batches", json={}).headers["retry-after"] == "7"

    def test_a_fault_strikes_as_often_as_it_was_told_and_whom_it_was_told(self, sim: Control, api: httpx.Client) -> None:
        sim.add(Fault(effect="answer", status=500, contains="5551235", times=2))

        answers = [
            api.post("/batches", json={"to": [number], "from": SENDER, "body": "x"}).status_code
            for number in (ONE, TWO, TWO, TWO)
        ]

        assert answers == [201, 500, 500, 201]
        assert sim.behaviour().struck == [2]

    def test_the_same_seed_brings_the_same_faults(self, sim: Control, api: httpx.Client) -> None:
        behaviour = Behaviour(seed=7, requests=(Fault(effect="answer", on="list", probability=0.5),))
        seen = []

        for _ in range(2):
            sim.behave(behaviour)
            seen.append([api.get("/batches").status_code for _ in range(30)])

        assert seen[0] == seen[1]
        assert set(seen[0]) == {200, 500}

    def test_missing_callback_url_spares_requests_that_want_no_reports(self, sim: Control, api: httpx.Client) -> None:
        sim.add(faults.missing_callback_url())
        wanted = {"to": [ONE], "from": SENDER, "body": "x", "callback_url": "http://127.0.0.1:9/"}

        assert refused(api.post("/batches", json={**wanted, "delivery_report": "per_recipient"})) == (
            403,
            "missing_callback_url",
        )
        assert api.post("/batches", json={**wanted, "delivery_report": "none"}).status_code == 201

    def test_too_many_at_once_are_throttled(self, sim: Control, api: httpx.Client) -> None:
        sim.change(max_outstanding=0)

        assert api.get("/batches").status_code == 429

    def test_nonsense_for_a_behaviour_is_refused(self, sim: Control) -> None:
        with pytest.raises(ValueError, match="latencies"):
            sim.change(latencies=3)


class TestInbounds:
    def test_a_text_from_a_phone_is_listed_and_told(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        inbound = sim.text_in(sender=ONE, to=SENDER, body="STOP")
        sim.text_in(sender=TWO, to="12345", body="hello")

        assert sim.wait(acknowledged=2)
        assert ("mo_text", "STOP", "14155551234", "14155550000") in webhook.told("type", "body", "from", "to")
        page = api.get("/inbounds", params={"to": f"{SENDER},999"}).json()
        assert [entry["id"] for entry in page["inbounds"]] == [inbound.id]
        assert api.get(f"/inbounds/{inbound.id}").json()["body"] == "STOP"
        assert api.get("/inbounds/none").status_code == 404
        assert api.get("/inbounds").json()["inbounds"][0]["body"] == "hello"

    def test_one_may_be_told_twice_or_have_come_long_ago(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.text_in(sender=ONE, to=SENDER, body="x", times=2, received_at=instant(days=-2))

        assert sim.wait(acknowledged=2)
        assert api.get("/inbounds").json()["count"] == 0
        assert api.get("/inbounds", params={"start_date": instant(days=-3)}).json()["count"] == 1


class TestBooks:
    def test_they_know_what_was_sent_twice_and_excuse_what_no_phone_saw(self, sim: Control, api: httpx.Client) -> None:
        for number in (ONE, ONE, "+14159990404", "+14159990404"):
            send(api, number)
        sim.settle()

        assert [(tally.recipient, tally.accepted) for tally in sim.tallies(least=2)] == [("14155551234", 2)]
        summary = sim.summary()
        assert (summary.messages, summary.texts, summary.sent_twice) == (4, 2, 1)
        assert summary.statuses == {"Delivered": 2, "Aborted": 2}

    def test_they_count_requests_and_the_busiest_times(self, sim: Control, api: httpx.Client) -> None:
        send(api, ONE, TWO)
        sim.advance(120)
        api.get("/batches")
        api.get("/batches")

        summary = sim.summary()
        assert summary.requests == {"send": 1, "list": 2}
        assert (summary.busiest_minute, summary.busiest_second) == (2, 2)

    def test_a_reset_forgets_all_but_plans_and_behaviour(self, sim: Control, api: httpx.Client) -> None:
        sim.change(seed=9)
        send(api)
        sim.reset()

        assert sim.summary().batches == 0
        assert sim.behaviour().behaviour.seed == 9
        assert api.get("/batches").json()["count"] == 0

    def test_plans_know_nothing_of_each_other(self, simulator: Running, sim: Control, api: httpx.Client) -> None:
        sim.agree(PlanSettings(id="second", token="other"))
        send(api)

        answer = httpx.get(f"{simulator.url}/xms/v1/second/batches", headers={"Authorization": "Bearer other"}, trust_env=False)

        assert answer.json()["count"] == 0


class TestTheCommand:
    def test_it_announces_its_address_and_takes_its_options(self) -> None:
        with process("--plan", "p", "--token", "t", "--rate", "5", "--latency", "0.001-0.002", "--seed", "3") as sim:
            assert (sim.plan.id, sim.plan.token, sim.plan.rate) == ("p", "t", 5)
            assert sim.control.behaviour().behaviour.seed == 3
            assert sim.control.behaviour().behaviour.latency == (0.001, 0.002)

    def test_a_taken_port_is_one_line_and_exit_code_2(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            ended = subprocess.run(
                [sys.executable, "-m", "sandbox.simulator", "--port", str(port)], capture_output=True, text=True, check=False
            )

        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1
        assert "--port" in ended.stderr
