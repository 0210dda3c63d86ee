"""The simulator over HTTP: sending, listing and changing batches."""

import re
from typing import Any

import httpx
import pytest

from sandbox.simulator.control import Control
from sandbox.simulator.sinch.plans import PlanSettings
from tests.acceptance.xms import LONG_LIFE, ONE, SENDER, TWO, instant, refused, send


class TestSending:
    def test_accepted_batch_has_sinch_format(self, sim: Control, api: httpx.Client) -> None:
        """Numbers are digits, times are UTC with milliseconds and nulls are left out."""
        batch = send(api, "+1 (415) 555-1234", "0014155551235", client_reference="r")

        assert batch["to"] == ["14155551234", "14155551235"]
        assert batch["from"] == "14155550000"
        assert batch["canceled"] is False
        assert batch["delivery_report"] == "none"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", batch["created_at"])
        assert None not in batch.values()

    def test_repeated_number_is_dropped(self, sim: Control, api: httpx.Client) -> None:
        assert send(api, ONE, TWO, "14155551234")["to"] == ["14155551234", "14155551235"]

    def test_bad_number_refuses_batch_and_is_named(self, sim: Control, api: httpx.Client) -> None:
        answer = api.post("/batches", json={"to": [ONE, "+1415call"], "from": SENDER, "body": "x"})

        assert refused(answer) == (400, "syntax_invalid_parameter_format")
        assert "to[1]" in answer.json()["text"]
        assert sim.summary().messages == 0

    def test_number_with_refused_suffix_is_named_by_position(self, sim: Control, api: httpx.Client) -> None:
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
    def test_values_beyond_documented_limits_are_refused(
        self, sim: Control, api: httpx.Client, fields: dict[str, Any], code: str
    ) -> None:
        answer = api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x", **fields})

        assert refused(answer) == (400, code)

    def test_values_at_the_limits_are_accepted(self, sim: Control, api: httpx.Client) -> None:
        numbers = [f"+1415{i:07d}" for i in range(1000)]

        batch = send(api, *numbers, body="x" * 2000, client_reference="r" * 2048, no_such_field=1)

        assert len(batch["to"]) == 1000

    def test_each_wrong_request_has_its_own_answer(self, sim: Control, api: httpx.Client) -> None:
        """Wrong are the token, plan, path, method, content type or JSON."""
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

    def test_default_originator_replaces_a_missing_sender(self, sim: Control, api: httpx.Client) -> None:
        sim.agree(PlanSettings(default_originator="12345"))

        assert send(api, **{"from": None})["from"] == "12345"


class TestParameters:
    def test_missing_parameter_fails_only_its_recipient(self, sim: Control, api: httpx.Client) -> None:
        """A recipient without a value of its own gets the default, if there is one."""
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
    def test_pages_are_newest_first_with_a_count(self, sim: Control, api: httpx.Client) -> None:
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

    def test_batch_list_reaches_back_at_most_two_weeks(self, sim: Control, api: httpx.Client) -> None:
        """Without a start date the list covers one day."""
        send(api)
        early = instant(days=-1)

        sim.advance(25 * 3600)
        assert api.get("/batches").json()["count"] == 0
        assert api.get("/batches", params={"start_date": early}).json()["count"] == 1

        sim.advance(14 * 24 * 3600)
        assert api.get("/batches", params={"start_date": early}).json()["count"] == 0

    def test_start_is_inclusive_and_end_exclusive(self, sim: Control, api: httpx.Client) -> None:
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

    def test_replacement_keeps_id_and_cancels_queued_messages(self, sim: Control, api: httpx.Client) -> None:
        sim.change(**LONG_LIFE)
        batch = send(api)

        answer = api.put(f"/batches/{batch['id']}", json={"to": [TWO], "from": SENDER, "body": "Better"})

        assert (answer.status_code, answer.json()["id"]) == (200, batch["id"])
        assert api.get(f"/batches/{batch['id']}").json()["body"] == "Better"
        assert [(m.body, m.status) for m in sim.accepted()] == [("Hello", "Cancelled"), ("Better", "Queued")]

    def test_cancelling_stops_queued_messages_and_is_idempotent(self, sim: Control, api: httpx.Client) -> None:
        sim.change(**LONG_LIFE)
        batch = send(api, ONE, TWO)

        first = api.delete(f"/batches/{batch['id']}").json()
        second = api.delete(f"/batches/{batch['id']}").json()

        assert first["canceled"] is True
        assert second == first
        assert api.get(f"/batches/{batch['id']}/delivery_report").json()["statuses"] == [
            {"code": 407, "status": "Cancelled", "count": 2}
        ]

    def test_cancelled_scheduled_batch_has_an_empty_report(self, sim: Control, api: httpx.Client) -> None:
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
