"""The client on a real socket, against servers that answer, break off, stall and hang up."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.providers.base import Accepted, Ambiguous, Provider, ProviderError, Refusal, Refused, Submission
from jobs.providers.sinch.client import SinchClient

SUBMISSION = Submission("reference-1", None, "Your table is ready", ["+14155551234"])
SINCE = datetime(2026, 11, 24, 12, tzinfo=UTC)
Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: object = None, *, length: int | None = None, **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    fields = {"content-length": str(len(raw) if length is None else length), **headers}
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


class Server:
    """Says the same to every request and keeps what it heard."""

    def __init__(self, speak: Speak | bytes) -> None:
        self.connections = 0
        self.requests: list[tuple[str, bytes]] = []
        self.heard = asyncio.Event()
        self.reset = asyncio.Event()
        self._speak = speak
        self.origin = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                self.requests.append((head.decode(), await reader.readexactly(length)))
                self.heard.set()
                if isinstance(self._speak, bytes):
                    writer.write(self._speak)
                else:
                    await self._speak(reader, writer)
        except ConnectionResetError:
            self.reset.set()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    @property
    def line(self) -> str:
        return self.requests[-1][0].partition("\r\n")[0]


@asynccontextmanager
async def serving(speak: Speak | bytes) -> AsyncIterator[Server]:
    server = Server(speak)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listener:
        server.origin = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield server
        listener.close()


@asynccontextmanager
async def talking_to(origin: str, **options: Any) -> AsyncIterator[SinchClient]:
    client = SinchClient(plan="plan-1", token="secret-token", host=origin, **options)
    try:
        yield client
    finally:
        await client.aclose()


async def stall(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 201 X\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def abort(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def test_it_is_a_provider() -> None:
    client: Provider = SinchClient(plan="p", token="t", host="https://us.sms.api.sinch.com")

    assert (client.name, client.max_recipients) == ("sinch", 1000)


def test_the_credential_changes_with_the_token_and_does_not_show_it() -> None:
    one, other = (SinchClient(plan="p", token=token, host="http://h").credential for token in ("token-1", "token-2"))

    assert one != other
    assert "token" not in one


async def test_a_submission_is_one_request() -> None:
    async with serving(answer(201, {"id": "batch-1"})) as server, talking_to(server.origin) as client:
        assert await client.submit(SUBMISSION, deadline=5) == Accepted("batch-1")

    ((head, body),) = server.requests
    assert server.line == "POST /xms/v1/plan-1/batches HTTP/1.1"
    assert "authorization: bearer secret-token" in head.lower()
    assert json.loads(body)["client_reference"] == "reference-1"


async def test_connections_are_used_again() -> None:
    async with serving(answer(201, {"id": "batch-1"})) as server, talking_to(server.origin) as client:
        for _ in range(3):
            await client.submit(SUBMISSION, deadline=5)

    assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with serving(answer(status, location="/elsewhere")) as server, talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=5), Ambiguous)

    assert len(server.requests) == 1


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(201, {"id": "batch-1"})) as server, serving(answer(201, {"id": "proxied"})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.setenv("ALL_PROXY", proxy.origin)
        async with talking_to(server.origin) as client:
            assert await client.submit(SUBMISSION, deadline=5) == Accepted("batch-1")


@pytest.mark.parametrize(
    "speak", [hang_up, abort, answer(503, b"<html>", retry_after="1"), b"nonsense\r\n\r\n", b"HTTP/1.1 201 X\r\n"]
)
async def test_an_answer_that_breaks_off_is_ambiguous_and_not_asked_for_again(speak: Speak | bytes) -> None:
    async with serving(speak) as server, talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=0.5), Ambiguous)

    assert len(server.requests) == 1


async def test_a_201_whose_body_breaks_off_is_ambiguous() -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(201, b'{"id":"batch-1"', length=100))
        writer.close()

    async with serving(speak) as server, talking_to(server.origin) as client:
        assert await client.submit(SUBMISSION, deadline=5) == Ambiguous("a 201 that could not be read", 201)


async def test_a_400_whose_body_breaks_off_is_refused_all_the_same() -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(400, b'{"code":', length=100))
        writer.close()

    async with serving(speak) as server, talking_to(server.origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(outcome, Refused)
    assert outcome.http_status == 400


@pytest.mark.parametrize("speak", [stall, drip])
async def test_the_deadline_is_total_and_resets_the_connection(speak: Speak) -> None:
    async with serving(speak) as server, talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=0.1), Ambiguous)
        await asyncio.wait_for(server.reset.wait(), 5)


async def test_data_that_the_peer_did_not_take_is_dropped_at_the_deadline() -> None:
    heard = bytearray()
    finished = asyncio.Event()
    go_on = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        try:
            while part := await reader.read(65536):
                heard.extend(part)
        except ConnectionResetError:
            pass
        finally:
            writer.close()
            finished.set()

    big = Submission("reference-1", None, "x" * 2000, [f"+1415{number:07}" for number in range(1_000_000, 2_000_000)])
    async with await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024) as listener:
        async with talking_to(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
            assert isinstance(await client.submit(big, deadline=1), Ambiguous)
        go_on.set()
        await asyncio.wait_for(finished.wait(), 5)

    assert len(heard) < 8_000_000  # of 15 MB: what the kernels had between them at most


async def test_many_deadlines_leave_no_connection_behind() -> None:
    async with serving(stall) as server, talking_to(server.origin) as client:
        for _ in range(3):
            outcomes = await asyncio.gather(*(client.submit(SUBMISSION, deadline=0.2) for _ in range(8)))
            assert all(isinstance(outcome, Ambiguous) for outcome in outcomes)

    assert server.connections == 24


async def test_when_all_connections_are_busy_nothing_was_sent() -> None:
    async with serving(stall) as server, talking_to(server.origin) as client:
        outcomes = await asyncio.gather(*(client.submit(SUBMISSION, deadline=0.4) for _ in range(9)))

    assert len(server.requests) == 8
    assert [outcome.why for outcome in outcomes if isinstance(outcome, Refused)] == [Refusal.UNREACHABLE]


async def test_without_a_connection_nothing_was_sent() -> None:
    async with serving(b"") as server:
        origin = server.origin
    async with talking_to(origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=5)
        with pytest.raises(ProviderError) as raised:
            await client.find("reference-1", since=SINCE, page=0, deadline=5)

    assert isinstance(outcome, Refused)
    assert outcome.why is raised.value.why is Refusal.UNREACHABLE


async def test_without_time_left_nothing_is_begun() -> None:
    async with serving(answer(201, {"id": "b"})) as server, talking_to(server.origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=0)

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.UNREACHABLE
    assert server.requests == []


async def test_a_failed_tls_handshake_sent_nothing() -> None:
    async with serving(hang_up) as server, talking_to(server.origin.replace("http:", "https:")) as client:
        outcome = await client.submit(SUBMISSION, deadline=2)

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.UNREACHABLE


async def test_cancelling_a_submission_resets_its_connection() -> None:
    async with serving(stall) as server, talking_to(server.origin) as client:
        task = asyncio.create_task(client.submit(SUBMISSION, deadline=30))
        await server.heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.reset.wait(), 5)


async def test_after_a_missing_callback_url_reports_are_not_asked_for_any_more() -> None:
    body = {"code": "missing_callback_url", "text": "no URL"}
    async with serving(answer(403, body)) as server, talking_to(server.origin, callback_url="https://example.com") as client:
        first = await client.submit(SUBMISSION, deadline=5)
        assert client.callbacks_refused
        second = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(first, Refused)
    assert first.why is Refusal.NO_CALLBACK
    assert isinstance(second, Refused)
    assert second.why is Refusal.ACCOUNT
    assert json.loads(server.requests[1][1])["delivery_report"] == "none"


BATCH = {
    "id": "batch-1",
    "to": ["14155551234", "a-group"],
    "client_reference": "reference-1",
    "created_at": "2026-11-24T12:00:00Z",
}


async def test_a_look_names_the_reference_and_how_far_back_it_goes() -> None:
    page_of_one = answer(200, {"count": 1, "page": 0, "page_size": 1, "batches": [BATCH]})
    async with serving(page_of_one) as server, talking_to(server.origin) as client:
        page = await client.find("reference-1", since=SINCE, page=0, deadline=5)

    assert server.line == (
        "GET /xms/v1/plan-1/batches?client_reference=reference-1&start_date=2026-11-24T12%3A00%3A00.000Z"
        "&page=0&page_size=100 HTTP/1.1"
    )
    (batch,) = page.items
    assert page.last
    assert (batch.batch_id, batch.reference, batch.recipients, batch.created_at) == (
        "batch-1",
        "reference-1",
        ("+14155551234",),
        SINCE,
    )


@pytest.mark.parametrize(
    ("number", "listing", "last"),
    [
        (0, {"count": 0, "page": 0, "page_size": 0, "batches": []}, True),
        (0, {"count": 0}, True),
        (0, {"count": 1, "batches": [BATCH]}, True),
        (0, {"count": 2, "batches": [BATCH]}, False),
        (0, {"batches": [BATCH]}, False),  # nobody says that this was all
        (1, {"count": 2, "batches": [BATCH]}, False),  # a server may give shorter pages than it was asked for
        (1, {"count": 2, "batches": []}, True),
    ],
)
async def test_only_what_proves_the_end_is_the_last_page(number: int, listing: object, last: bool) -> None:
    async with serving(answer(200, listing)) as server, talking_to(server.origin) as client:
        page = await client.find("reference-1", since=SINCE, page=number, deadline=5)

    assert page.last is last


async def test_one_unreadable_item_does_not_spoil_the_page() -> None:
    listing = {"count": 3, "batches": [BATCH, {"id": 7}, {"no": "id"}]}
    async with serving(answer(200, listing)) as server, talking_to(server.origin) as client:
        page = await client.find("reference-1", since=SINCE, page=0, deadline=5)

    assert [batch.batch_id for batch in page.items] == ["batch-1"]
    assert [json.loads(item.raw) for item in page.unusable] == [{"id": 7}, {"no": "id"}]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(200, b"<html>"), None),
        (answer(200, {}), None),
        (answer(200, []), None),
        (answer(200, {"count": 5}), None),
        (answer(200, b'{"count": 0', length=100), None),
        (answer(204), None),
        (answer(302, location="/login"), None),
        (answer(404), Refusal.ACCOUNT),
        (answer(401), Refusal.ACCOUNT),
        (answer(429, retry_after="3"), Refusal.THROTTLED),
        (answer(503, b"<html>"), None),
    ],
)
async def test_whatever_is_no_readable_page_is_no_look(said: bytes, why: Refusal | None) -> None:
    async with serving(said) as server, talking_to(server.origin) as client:
        with pytest.raises(ProviderError) as raised:
            await client.find("reference-1", since=SINCE, page=0, deadline=0.5)

    assert raised.value.why is why


async def test_a_full_report_gives_every_recipient() -> None:
    report = {
        "type": "delivery_report_sms",
        "batch_id": "batch-1",
        "total_message_count": 2,
        "statuses": [
            {"code": 0, "status": "Delivered", "count": 1, "recipients": ["14155551234"]},
            {"code": 9, "status": "Teleported", "count": 1, "recipients": ["14155551235"]},
        ],
    }
    async with serving(answer(200, report)) as server, talking_to(server.origin) as client:
        reports = await client.batch_reports("batch/1", deadline=5)

    assert server.line == "GET /xms/v1/plan-1/batches/batch%2F1/delivery_report?type=full HTTP/1.1"
    assert reports is not None
    assert [(report.recipient, report.status) for report in reports] == [("+14155551234", "delivered")]


async def test_a_batch_that_sinch_does_not_know_has_no_report() -> None:
    async with serving(answer(404)) as server, talking_to(server.origin) as client:
        assert await client.batch_reports("batch-1", deadline=5) is None


@pytest.mark.parametrize("said", [answer(500), answer(200, b"<html>"), answer(200, {"type": "mo_tomorrow"})])
async def test_a_report_that_cannot_be_read_is_no_report(said: bytes) -> None:
    async with serving(said) as server, talking_to(server.origin) as client:
        with pytest.raises(ProviderError):
            await client.batch_reports("batch-1", deadline=5)


async def test_the_feed_of_finished_reports_is_asked_for_a_window() -> None:
    report = {"type": "recipient_delivery_report_sms", "batch_id": "batch-1", "recipient": "14155551234", "status": "Failed"}
    summary = {"type": "delivery_report_sms", "batch_id": "batch-1", "statuses": []}
    listing = {"count": 2, "delivery_reports": [report, summary]}
    async with serving(answer(200, listing)) as server, talking_to(server.origin) as client:
        page = await client.finished_reports(start=SINCE, end=SINCE.replace(hour=13), page=2, deadline=5)

    assert server.line == (
        "GET /xms/v1/plan-1/delivery_reports?start_date=2026-11-24T12%3A00%3A00.000Z"
        "&end_date=2026-11-24T13%3A00%3A00.000Z&page=2&page_size=100 HTTP/1.1"
    )
    assert [(item.recipient, item.status) for item in page.items] == [("+14155551234", "failed")]
    assert len(page.unusable) == 1


async def test_inbound_messages_are_asked_for_a_window() -> None:
    inbound = {
        "type": "mo_text",
        "id": "in-1",
        "from": "14155551234",
        "to": "12345",
        "body": "STOP",
        "received_at": "2026-11-24T12:00:00Z",
    }
    listing = {"count": 1, "inbounds": [inbound]}
    async with serving(answer(200, listing)) as server, talking_to(server.origin) as client:
        page = await client.inbounds(start=SINCE, end=SINCE.replace(hour=13), page=0, deadline=5)

    assert server.line.startswith("GET /xms/v1/plan-1/inbounds?start_date=")
    assert [(item.sender, item.recipient, item.body) for item in page.items] == [("+14155551234", "12345", "STOP")]
    assert page.last
