"""The simulator over HTTP: requests that fail, inbounds, its records and its command."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import httpx
import pytest

from sandbox.local.processes import wait_until
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Behaviour, Fault
from sandbox.simulator.control import Control
from sandbox.simulator.controls import control_routes
from sandbox.simulator.guide import EXAMPLES, curl
from sandbox.simulator.server import Running, process
from sandbox.simulator.sinch.plans import PlanSettings
from tests.acceptance.receiver import Receiver
from tests.acceptance.xms import ONE, SENDER, TWO, instant, refused, send


class TestRequestFaults:
    def test_new_fault_does_not_rearm_spent_faults(self, sim: Control, api: httpx.Client) -> None:
        sim.add(faults.unavailable_page(times=1))
        assert api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x"}).status_code == 503

        sim.add(faults.throttle(times=1))
        sim.change(latency=0.0)

        assert api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x"}).status_code == 429
        send(api)

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
    def test_unanswered_request_may_have_been_accepted(
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

    @pytest.mark.parametrize(
        ("page", "body"),
        [
            ("json", {"text": "Not allowed"}),
            ("description", {"description": "Not allowed"}),
            ("numeric", {"code": 40000, "message": "Not allowed"}),
            ("envelope", {"error": {"code": 400, "message": "Not allowed", "details": []}}),
        ],
    )
    def test_text_without_a_code_is_answered(
        self,
        sim: Control,
        api: httpx.Client,
        page: Literal["json", "description", "numeric", "envelope"],
        body: dict[str, object],
    ) -> None:
        sim.add(Fault(effect="answer", status=400, page=page, text="Not allowed"))

        assert api.post("/batches", json={}).json() == body

    @pytest.mark.parametrize("status", [99, 101, 600])
    def test_status_that_is_no_answer_is_refused(self, simulator: Running, status: int) -> None:
        fault = {"effect": "answer", "status": status}

        answer = httpx.post(f"{simulator.url}/_sim/faults", json=fault, trust_env=False)

        assert (answer.status_code, "$.status" in answer.text) == (400, True)

    def test_controls_answer_with_what_they_changed(self, simulator: Running) -> None:
        """The whole behaviour takes 10 kB."""
        controls = f"{simulator.url}/_sim/faults"

        added = httpx.post(controls, json={"effect": "reset", "times": 1, "provider": "vonage"}, trust_env=False)
        changed = httpx.patch(controls, json={"requests": [], "vonage": {"records_lag": 0}}, trust_env=False)

        assert {key: added.json()[key] for key in ("effect", "times", "provider")} == {
            "effect": "reset",
            "times": 1,
            "provider": "vonage",
        }
        assert len(added.content) < 1000
        assert changed.json() == {"requests": [], "vonage": {"records_lag": 0}}

    def test_late_request_counts_after_the_client_timed_out(self, sim: Control, api: httpx.Client) -> None:
        sim.add(faults.late_request(0.3))

        with pytest.raises(httpx.ReadTimeout):
            api.post("/batches", json={"to": [ONE], "from": SENDER, "body": "x"}, timeout=0.05)

        assert sim.summary().messages == 0
        assert sim.wait(messages=1)

    def test_retry_after_comes_along(self, sim: Control, api: httpx.Client) -> None:
        sim.add(faults.throttle(retry_after="7"))

        assert api.post("/batches", json={}).headers["retry-after"] == "7"

    def test_fault_limits_its_strikes_by_match_and_count(self, sim: Control, api: httpx.Client) -> None:
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

    def test_missing_callback_url_spares_requests_without_reports(self, sim: Control, api: httpx.Client) -> None:
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
    def test_inbound_text_is_listed_and_delivered(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        inbound = sim.text_in(sender=ONE, to=SENDER, body="STOP")
        sim.text_in(sender=TWO, to="12345", body="hello")

        assert sim.wait(acknowledged=2)
        assert ("mo_text", "STOP", "14155551234", "14155550000") in webhook.received("type", "body", "from", "to")
        page = api.get("/inbounds", params={"to": f"{SENDER},999"}).json()
        assert [entry["id"] for entry in page["inbounds"]] == [inbound.id]
        assert api.get(f"/inbounds/{inbound.id}").json()["body"] == "STOP"
        assert api.get("/inbounds/none").status_code == 404
        assert api.get("/inbounds").json()["inbounds"][0]["body"] == "hello"

    def test_inbound_text_may_be_repeated_or_old(self, sim: Control, api: httpx.Client, webhook: Receiver) -> None:
        sim.text_in(sender=ONE, to=SENDER, body="x", times=2, received_at=instant(days=-2))

        assert sim.wait(acknowledged=2)
        assert api.get("/inbounds").json()["count"] == 0
        assert api.get("/inbounds", params={"start_date": instant(days=-3)}).json()["count"] == 1


class TestBooks:
    def test_books_count_duplicate_sends_except_undelivered_texts(self, sim: Control, api: httpx.Client) -> None:
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

    def test_late_request_takes_no_effect_after_a_reset(self, sim: Control, api: httpx.Client) -> None:
        sim.add(faults.late_request(0.5))
        with ThreadPoolExecutor() as threads:
            late = threads.submit(api.post, "/batches", json={"to": [ONE], "from": SENDER, "body": "x"})
            assert wait_until(lambda: sim.behaviour().struck == [1], 10)
            sim.reset()
            assert late.result().status_code == 503

        assert sim.summary().messages == 0

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

    @pytest.mark.parametrize("unanswered", ["hang", "delay", None])
    def test_simulator_stops_cleanly_on_request(self, unanswered: Literal["hang", "delay"] | None) -> None:
        command = [sys.executable, "-m", "sandbox.simulator", "--port", "0"]
        with (
            ThreadPoolExecutor(1) as sender,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child,
        ):
            assert child.stdout is not None
            url = child.stdout.readline().strip().removeprefix("SINCH_BASE_URL=")
            with Control(url) as control:
                if unanswered is not None:
                    control.add(Fault(effect=unanswered, accept=True, seconds=600))
                    sender.submit(send_to, url)
                    assert wait_until(lambda: control.summary().messages == 1, 20)
            child.terminate()
            _, errors = child.communicate(timeout=20)

        assert (child.returncode, errors) == (0, "")

    def test_taken_port_exits_2_with_one_line(self) -> None:
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


def send_to(url: str) -> None:
    httpx.post(
        f"{url}/xms/v1/demo-plan/batches",
        headers={"Authorization": "Bearer demo-token"},
        json={"to": [ONE], "from": SENDER, "body": "x"},
        timeout=60,
        trust_env=False,
    )


def test_control_page_lists_working_examples_and_failing_numbers(sim: Control, simulator: Running) -> None:
    base = f"{simulator.url}/_sim"
    page = httpx.get(base, trust_env=False).text
    documented = {(method, f"/_sim{path}") for method, path, _, _ in EXAMPLES}

    assert documented == {(next(iter(route.methods - {"HEAD"})), route.path) for route in control_routes() if route.methods}
    with httpx.Client(trust_env=False) as client:
        for method, path, does, body in EXAMPLES:
            assert f"{does}\n  {curl(base + path, method, body)}\n" in page
            assert client.request(method, base + path, content=body).is_success
    assert {"  9990001  refused when sent", "  9990402  Aborted with code 402"} <= set(page.splitlines())
