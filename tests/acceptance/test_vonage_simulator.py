"""The Vonage simulator over HTTP: who may send, what is refused, what is recorded, and requests that fail."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from sandbox.local.processes import wait_until
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Behaviour, Fault, ReportFaults, VonageBehaviour
from sandbox.simulator.control import Control
from sandbox.simulator.outcomes import Rule
from sandbox.simulator.server import Running, process
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.tokens import make_private_key
from tests.acceptance.messages_api import ONE, SENDER, TWO, MessagesApi, mms, sms, token
from tests.acceptance.receiver import Receiver


class TestAccess:
    @pytest.mark.parametrize(
        "claims",
        [
            {"application_id": "00000000-0000-4000-8000-00000000dead"},
            {"iat": int(time.time()) + 3600, "exp": int(time.time()) + 4500},
            {"exp": int(time.time()) - 1, "iat": int(time.time()) - 900},
            {"exp": int(time.time()) + 100_000},
            {"jti": None},
            {"jti": ""},
            {"iat": None},
        ],
    )
    def test_token_with_wrong_claims_gets_401(self, sim: Control, messages_api: MessagesApi, claims: dict[str, Any]) -> None:
        bearer = token(messages_api.private_key, **{"application_id": messages_api.application_id, **claims})

        answer = messages_api.post(sms(), headers={"Authorization": f"Bearer {bearer}"})

        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "detail", "instance"} == set(answer.json())
        assert UUID(answer.headers["x-request-id"]).version == 4
        assert sim.summary().messages == 0

    @pytest.mark.parametrize("authorization", ["", "Bearer x.y.z", "Bearer", "Basic !", "Basic eDp5", "Digest x"])
    def test_other_credentials_get_401(self, messages_api: MessagesApi, authorization: str) -> None:
        assert messages_api.post(sms(), headers={"Authorization": authorization}).status_code == 401

    def test_token_signed_with_another_key_gets_401(self, messages_api: MessagesApi) -> None:
        bearer = token(make_private_key(), messages_api.application_id)

        assert messages_api.post(sms(), headers={"Authorization": f"Bearer {bearer}"}).status_code == 401

    def test_application_without_a_key_takes_any_signature(self, sim: Control, messages_api: MessagesApi) -> None:
        sim.vonage.agree(ApplicationSettings())
        bearer = token(make_private_key(), messages_api.application_id)

        assert messages_api.post(sms(), headers={"Authorization": f"Bearer {bearer}"}).status_code == 202

    def test_key_and_secret_are_taken_as_well(self, messages_api: MessagesApi) -> None:
        assert messages_api.post(sms(), headers={}, auth=messages_api.account).status_code == 202


class TestLimits:
    @pytest.mark.parametrize(
        ("fields", "title", "name"),
        [
            (sms(channel="pigeon"), "Unsupported channel", "channel"),
            (sms(to=None), "Invalid params", "to"),
            (sms("+12025550123"), "Invalid recipient", "to"),
            (sms("0012025550123"), "Invalid recipient", "to"),
            (sms("123456"), "Invalid recipient", "to"),
            (sms("12029990001"), "Invalid recipient", "to"),
            (sms(to=12025550123), "Invalid recipient", "to"),
            (sms(**{"from": "a name that is too long"}), "Invalid sender", "from"),
            (mms(**{"from": "Acme"}), "Invalid sender", "from"),
            (sms(message_type="image"), "Invalid message type", "message_type"),
            (sms(text=""), "Invalid params", "text"),
            (sms(text="x" * 3201), "Invalid params", "text"),
            (sms(client_ref="x" * 101), "Invalid client reference", "client_ref"),
            (sms(ttl=19), "Invalid params", "ttl"),
            (sms(ttl=604_801), "Invalid params", "ttl"),
            (mms(ttl=299), "Invalid params", "ttl"),
            (sms(ttl="soon"), "Invalid params", "ttl"),
            (sms(webhook_url="ftp://example.com"), "Invalid params", "webhook_url"),
            (sms(sms={"encoding_type": "morse"}), "Invalid channel parameters", "sms.encoding_type"),
            (sms(channel="mms", message_type="image"), "Invalid params", "image"),
            (sms(failover=[sms(text="")]), "Invalid params", "text"),
        ],
    )
    def test_content_beyond_the_limits_gets_422(
        self, sim: Control, messages_api: MessagesApi, fields: dict[str, Any], title: str, name: str
    ) -> None:
        answer = messages_api.post(fields)

        assert (answer.status_code, answer.json()["title"]) == (422, title)
        assert [wrong["name"] for wrong in answer.json()["invalid_parameters"]] == [name]
        assert answer.headers["x-request-id"].replace("-", "") == answer.json()["instance"]
        assert sim.summary().messages == 0

    def test_numbers_follow_the_list_or_the_examples(self, sim: Control, messages_api: MessagesApi) -> None:
        kinds = []
        for example_types in (False, True):
            sim.vonage.change(example_types=example_types)
            kinds += [messages_api.post(fields).json()["type"].rpartition("#")[2] for fields in (sms("1"), sms(to=None))]

        assert kinds == ["1430", "1010", "110", "1150"]

    def test_body_that_is_no_json_gets_422(self, messages_api: MessagesApi) -> None:
        answer = messages_api.post({}, content=b"{", json=None)

        assert (answer.status_code, answer.json()["type"].rpartition("#")[2]) == (422, "invalid-json")

    @pytest.mark.parametrize(
        "fields",
        [
            sms(text="x" * 3200, client_ref="x" * 100, ttl=20, unknown="field", sms={"encoding_type": "text"}),
            sms(**{"from": "Acme"}),
            mms(ttl=300),
            sms(channel="mms", message_type="content", text=None, content=[{"type": "image", "url": "https://a.example/b"}]),
        ],
    )
    def test_content_within_the_limits_is_accepted(self, messages_api: MessagesApi, fields: dict[str, Any]) -> None:
        answer = messages_api.post(fields)

        assert answer.status_code == 202
        assert UUID(answer.json()["message_uuid"]).version == 4

    def test_requests_beyond_the_rate_are_throttled(self, sim: Control, messages_api: MessagesApi) -> None:
        sim.vonage.agree(ApplicationSettings(rate=2))

        answers = [messages_api.post(sms()) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[-1].headers["retry-after"] == "1"

    def test_other_paths_are_not_found(self, messages_api: MessagesApi) -> None:
        answers = [messages_api.http.get("/v1/messages"), messages_api.http.get("/v1/messages/other")]

        assert [(answer.status_code, "x-request-id" in answer.headers) for answer in answers] == [(405, True), (404, True)]


class TestBooks:
    def test_two_requests_with_one_reference_are_two(self, sim: Control, messages_api: MessagesApi) -> None:
        ids = [messages_api.send(client_ref="dispatch-1") for _ in range(2)]
        messages_api.post(mms(client_ref="dispatch-2"))
        sim.settle()

        entries = list(sim.accepted(provider="vonage"))
        assert [(entry.batch_id, entry.reference) for entry in entries[:2]] == [(name, "dispatch-1") for name in ids]
        assert (entries[2].reference, entries[2].media) == ("dispatch-2", ("https://example.com/a.png",))
        assert [(tally.recipient, tally.body, tally.accepted) for tally in sim.tallies(least=2)] == [(ONE, "Hello", 2)]

    def test_books_keep_the_providers_apart(self, sim: Control, messages_api: MessagesApi, api: httpx.Client) -> None:
        messages_api.send()
        api.post("/batches", json={"to": [ONE, TWO], "from": SENDER, "body": "Hello"})

        both, vonage, sinch = sim.summary(), sim.summary(provider="vonage"), sim.summary(provider="sinch")
        assert (both.messages, vonage.messages, sinch.messages) == (3, 1, 2)
        assert (vonage.answers, sinch.answers, both.requests) == ({"202": 1}, {"201": 1}, {"send": 2})
        assert (vonage.sent_twice, sinch.sent_twice, both.sent_twice) == (0, 0, 1)
        assert [asked.provider for asked in sim.asked(provider="vonage")] == ["vonage"]

    def test_texts_stopped_before_the_network_are_excused(self, sim: Control, messages_api: MessagesApi) -> None:
        for number in ("12029991000", "12029991330"):
            for _ in range(2):
                messages_api.send(number)
        sim.settle()

        assert [(tally.recipient, tally.accepted) for tally in sim.tallies(least=2)] == [("12029991330", 2)]


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "error", "accepted"),
        [
            (faults.reset_after_accepting(), httpx.ReadError, 1),
            (faults.reset_before_accepting(), httpx.ReadError, 0),
            (faults.close_after_accepting(), httpx.RemoteProtocolError, 1),
            (Fault(effect="cut", times=1), httpx.RemoteProtocolError, 1),
        ],
    )
    def test_dropped_connection_may_have_been_accepted(
        self, sim: Control, messages_api: MessagesApi, fault: Fault, error: type[Exception], accepted: int
    ) -> None:
        sim.add(fault)

        with pytest.raises(error):
            messages_api.post(sms())

        assert sim.wait(kind="send", requests=1)
        assert sim.summary(provider="vonage").messages == accepted

    @pytest.mark.parametrize(
        ("fault", "status", "accepted"),
        [
            (faults.error_after_accepting(), 500, 1),
            (faults.error_after_accepting(503), 503, 1),
            (faults.error_after_accepting(408), 408, 1),
            (faults.unreadable_after_accepting(status=202), 202, 1),
            (faults.throttle(), 429, 0),
            (faults.throttle(retry_after="7"), 429, 0),
            (faults.problem(401, "You did not provide correct credentials."), 401, 0),
            (faults.problem(402, "Low balance"), 402, 0),
            (faults.problem(404, "Not found"), 404, 0),
            (faults.problem(422, "Invalid params", contains=ONE), 422, 0),
        ],
    )
    def test_an_answer_may_say_anything(
        self, sim: Control, messages_api: MessagesApi, fault: Fault, status: int, accepted: int
    ) -> None:
        sim.add(fault)

        answer = messages_api.post(sms())

        assert (answer.status_code, sim.summary().messages) == (status, accepted)
        assert answer.headers["x-request-id"]
        assert answer.headers.get("retry-after") == fault.headers.get("retry-after")
        if fault.page == "problem":
            assert answer.json()["title"] == fault.code
        else:
            with pytest.raises(ValueError, match=r"char|column"):
                answer.json()
        assert messages_api.post(sms()).status_code == 202

    def test_fault_of_one_provider_spares_the_other(self, sim: Control, messages_api: MessagesApi, api: httpx.Client) -> None:
        sim.add(Fault(effect="answer", status=503, provider="sinch"))

        assert messages_api.post(sms()).status_code == 202
        assert api.post("/batches", json={}).status_code == 503

    def test_numbers_can_be_refused_by_rule(self, sim: Control, messages_api: MessagesApi) -> None:
        sim.vonage.change(rules=(Rule(suffix=TWO, refused=True),))

        assert [messages_api.post(sms(number)).status_code for number in (ONE, TWO)] == [202, 422]

    def test_callback_may_come_before_the_answer(
        self, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
    ) -> None:
        sim.change(dispatch_delay=0)
        sim.add(faults.callback_before_answer())

        answer = messages_api.post(sms(client_ref="mine"))

        (first, *_) = vonage_webhook.deliveries
        assert first.json["message_uuid"] == answer.json()["message_uuid"]
        assert first.json["client_ref"] == "mine"

    def test_change_of_vonage_keeps_its_other_fields(self, sim: Control) -> None:
        sim.behave(Behaviour(reports=ReportFaults(lost=1), vonage=VonageBehaviour(unsigned=0.5)))
        sim.vonage.change(records_lag=0)

        behaviour = sim.behaviour().behaviour
        assert (behaviour.vonage.unsigned, behaviour.vonage.records_lag, behaviour.reports.lost) == (0.5, 0, 1)


def test_refused_connections_end_after_their_time() -> None:
    with process() as sim:
        sim.control.refuse(0.5)

        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{sim.url}/_sim/health", trust_env=False)

        assert wait_until(lambda: answers(sim), 20)
        assert sim.control.summary().messages == 0


def test_command_takes_a_key_the_user_made(tmp_path: Path) -> None:
    private_key, key_file = make_private_key(), tmp_path / "vonage.key"
    key_file.write_text(private_key)
    with process("--vonage-application", "app", "--vonage-key", str(key_file), "--vonage-signature-secret", "one,two") as sim:
        headers = {"Authorization": f"Bearer {token(private_key, 'app')}"}
        answer = httpx.post(f"{sim.url}/v1/messages", json=sms(), headers=headers, trust_env=False)

        assert answer.status_code == 202
        assert (sim.application.id, sim.application.signature_secrets) == ("app", ("one",))


def test_unreadable_key_exits_2_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox.simulator", "--port", "0", "--vonage-key", str(tmp_path / "none")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr.count("\n"), "--vonage-key" in ended.stderr) == (2, 1, True)


def answers(sim: Running) -> bool:
    try:
        return httpx.get(f"{sim.url}/_sim/health", trust_env=False).is_success
    except httpx.ConnectError:
        return False
