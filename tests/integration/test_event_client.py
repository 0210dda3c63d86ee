"""One request with an event, to servers on real sockets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.eventing import client as event_client
from jobs.eventing.addresses import PublicNetwork, any_address
from jobs.eventing.client import EventClient
from jobs.gateway.eventing import AddedEndpoint, EventDelivery, EventResult
from sandbox.receiver.app import Receiver
from sandbox.receiver.server import receiving
from tests import keys
from tests.integration.provider_servers import Server, abort, answer, drip, hang_up, serving, stall

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLDER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PAYLOAD = json.dumps(
    {"type": "message.delivered", "timestamp": "2027-01-15T09:00:04.120Z", "data": {"id": 1, "name": "Édouard"}}
)
PUBLIC = "93.184.216.34"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[EventClient]:
    made = EventClient(allows_private=True)
    yield made
    await made.aclose()


def event(url: str, **changed: Any) -> EventDelivery:
    usual: dict[str, Any] = {
        "id": 7,
        "lease": 9,
        "endpoint": "orders",
        "secrets": (SECRET,),
        "event_id": "evt_42",
        "attempt": 1,
    }
    return EventDelivery(**{**usual, "type": "message.delivered", "payload": PAYLOAD, "url": url, **changed})


async def test_official_library_verifies_each_secret(client: EventClient, receiver: Receiver) -> None:
    result = await client.deliver(event(f"{receiver.url}/hook?key=1", secrets=(SECRET, OLDER)))

    assert result == EventResult(7, 9, 204)
    (received,) = receiver.received
    assert received.body == PAYLOAD.encode()
    assert received.headers["content-type"] == "application/json"
    for secret in (SECRET, OLDER):
        assert Webhook(secret).verify(received.body, received.headers)["data"] == {"id": 1, "name": "Édouard"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(received.body + b" ", received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(received.body, received.headers)


async def test_ipv6_host_is_in_brackets(receiver: Receiver) -> None:
    async def loopback(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    client = EventClient(allows_private=True, network=PublicNetwork(refuses=any_address, look_up=loopback))
    port = receiver.url.rpartition(":")[2]
    result = await client.deliver(event(f"http://[2606:4700::1]:{port}/hook"))
    await client.aclose()

    assert result.status == 204
    assert receiver.received[0].headers["host"] == f"[2606:4700::1]:{port}"


async def test_event_without_a_key_is_not_sent(client: EventClient, receiver: Receiver) -> None:
    for secrets in ((), ("whsec_",), ("whsec_no base64",)):
        result = await client.deliver(event(f"{receiver.url}/hook", secrets=secrets))
        assert (result.status, result.error) == (None, "the endpoint has no secret: outbox events rotate makes one")
    assert receiver.received == []


def test_secrets_and_payload_are_not_shown() -> None:
    shown = repr([event("https://a.example"), AddedEndpoint("a", "https://a.example", SECRET)])
    assert SECRET not in shown
    assert "Édouard" not in shown


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/status/200", EventResult(7, 9, 200)),
        ("/status/299", EventResult(7, 9, 299)),
        ("/status/500?after=9", EventResult(7, 9, 500, "HTTP 500")),
        ("/status/410", EventResult(7, 9, 410, "HTTP 410")),
        ("/status/429?after=9", EventResult(7, 9, 429, "HTTP 429", 9.0)),
        ("/status/503?after=999999", EventResult(7, 9, 503, "HTTP 503", 86400.0)),
        ("/redirect", EventResult(7, 9, 302, "HTTP 302: redirects are not followed")),
    ],
)
async def test_status_decides_and_nothing_is_repeated(
    path: str, expected: EventResult, client: EventClient, receiver: Receiver
) -> None:
    assert await client.deliver(event(receiver.url + path)) == expected
    assert len(receiver.received) == 1


@pytest.mark.parametrize("speak", [stall, hang_up, abort, b"no HTTP\r\n\r\n"])
async def test_server_without_an_answer_fails(speak: Any, client: EventClient) -> None:
    async with serving(speak) as server:
        result = await client.deliver(event(server.origin), deadline=0.5)

    assert result.status is None
    assert result.error
    assert len(server.requests) == 1


@pytest.mark.parametrize("speak", [drip, answer(201, b"x" * 300_000), answer(201, b"", length=50)])
async def test_status_counts_whatever_body_follows(speak: Any, client: EventClient) -> None:
    async with serving(speak) as server:
        results = [await client.deliver(event(server.origin), deadline=0.5) for _ in range(2)]

    assert results == [EventResult(7, 9, 201)] * 2
    assert server.connections == 2


async def test_connection_is_used_again(client: EventClient, receiver: Receiver) -> None:
    async with serving(answer(204)) as server:
        for _ in range(3):
            await client.deliver(event(server.origin))

    assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_private_address_gets_no_request(host: str) -> None:
    async with serving(answer(204)) as server:
        port = server.origin.rpartition(":")[2]
        result = await (guarded := EventClient(allows_private=False)).deliver(event(f"https://{host}:{port}/"))
        await guarded.aclose()

    assert result.status is None
    assert "address" in str(result.error)
    assert server.connections == 0


async def test_unknown_host_is_said(client: EventClient) -> None:
    result = await client.deliver(event("http://nowhere.invalid/"))

    assert "nowhere.invalid has no address" in str(result.error)


class Network(PublicNetwork):
    """Gives the next of ``answers`` to each lookup. All connections reach this machine; ``connected`` were asked for."""

    def __init__(self, answers: Sequence[Sequence[str]], **rules: Any) -> None:
        super().__init__(look_up=self._next, **rules)
        self.looked_up: list[str] = []
        self.connected: list[str] = []
        self._answers = list(answers)
        self._connections = self._Here(self)  # type: ignore[assignment]

    async def _next(self, host: str, _port: int) -> Sequence[str]:
        self.looked_up.append(host)
        return self._answers.pop(0)

    class _Here:
        def __init__(self, network: "Network") -> None:
            self._network = network

        async def connect_tcp(self, host: str, port: int, **options: Any) -> httpcore.AsyncNetworkStream:
            self._network.connected.append(host)
            if host == "93.184.216.35":
                raise httpcore.ConnectError("refused")
            return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", port, **options)


@asynccontextmanager
async def secure(network: Network, monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncIterator[tuple[Server, EventClient]]:
    """A server called localhost with a certificate, and a client that trusts it. ``names`` are those asked for by TLS."""
    server_side, client_side = keys.tls(folder)
    monkeypatch.setattr(event_client, "trust", lambda **_: client_side)
    names: list[str | None] = []

    def note(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name)

    server_side.sni_callback = note
    client = EventClient(allows_private=False, network=network)
    async with serving(answer(204), tls=server_side) as server:
        server.names = names  # type: ignore[attr-defined]
        yield server, client
        await client.aclose()


async def test_checked_address_keeps_name_for_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = Network([["10.0.0.1", "93.184.216.35", PUBLIC], [PUBLIC]])
    async with secure(network, monkeypatch, tmp_path) as (server, client):
        port = server.origin.rpartition(":")[2]
        right = await client.deliver(event(f"https://localhost:{port}/hook"))
        other = await client.deliver(event(f"https://hooks.example:{port}/hook"))

    assert right == EventResult(7, 9, 204)
    assert "certificate" in str(other.error).lower()
    assert network.connected == ["93.184.216.35", PUBLIC, PUBLIC]
    assert server.names == ["localhost", "hooks.example"]  # type: ignore[attr-defined]
    ((head, _),) = server.requests
    assert f"Host: localhost:{port}\r\n" in head


async def test_second_answer_of_dns_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = Network([[PUBLIC], ["127.0.0.1"], []])
    async with secure(network, monkeypatch, tmp_path) as (server, client):
        first, second, third = [await _on_new_connection(client, server) for _ in range(3)]

    assert first == EventResult(7, 9, 204)
    assert (second.error, third.error) == (
        "address refused: 127.0.0.1 is a loopback address",
        "address refused: it does not exist",
    )
    assert network.looked_up == ["localhost"] * 3
    assert network.connected == [PUBLIC]


async def _on_new_connection(client: EventClient, server: Server) -> EventResult:
    await client._http.aclose()
    return await client.deliver(event(server.origin))


async def test_two_names_share_no_connection() -> None:
    network = Network([[PUBLIC], [PUBLIC]], refuses=any_address)
    client = EventClient(allows_private=True, network=network)
    async with serving(answer(204)) as server:
        port = server.origin.rpartition(":")[2]
        await asyncio.gather(*(client.deliver(event(f"http://{name}.example:{port}/")) for name in "ab"))
        await client.aclose()

    assert server.connections == 2
