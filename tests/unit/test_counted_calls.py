"""The calls that the paired measurement counts between a process and the Supabase API."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from benchmarks.calls import Call, Calls, counted


class Echo(BaseHTTPRequestHandler):
    """Echoes what it is sent, over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as it is called there
        pass


@pytest.fixture
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_calls_are_passed_on_and_named_in_order(api: str) -> None:
    large = "x" * 1_000_000
    with counted(api) as calls, httpx.Client(base_url=calls.url, trust_env=False) as client:
        for function in ("outbox_claim", "outbox_accept", "outbox_claim"):
            assert client.post(f"/rest/v1/rpc/{function}", content=large).text == large
        client.post("/rest/v1/outbox", content="a table is no function")

    assert [call.function for call in calls.made] == ["outbox_claim", "outbox_accept", "outbox_claim"]
    assert all(call.began < call.ended for call in calls.made)
    assert calls.made[0].ended <= calls.made[1].began


def test_calls_are_found_by_how_their_names_begin() -> None:
    calls = Calls(
        "", [Call(name, 0, 1) for name in ("outbox_claim", "outbox_claim_lookups", "outbox_claim_2", "outbox_accept")]
    )

    assert [call.function for call in calls.of(r"outbox_claim(?!_look)")] == ["outbox_claim", "outbox_claim_2"]
