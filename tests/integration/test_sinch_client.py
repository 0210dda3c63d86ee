"""The client on a real socket: how each way in which a request can end is classified."""

import asyncio
import json

import pytest

from jobs.providers.base import Accepted, Ambiguous, Provider, ProviderError, Refusal, Refused, Submission
from jobs.providers.http import CONNECTIONS
from jobs.providers.sinch.client import SinchClient
from tests.integration.sinch_servers import (
    CREATED,
    SINCE,
    SUBMISSION,
    Speak,
    abort,
    answer,
    drip,
    hang_up,
    serving,
    stall,
    talking_to,
)

LONG_ENOUGH_TO_CONNECT = 1.0
"""Seconds. A request that timed out before it had a connection was not sent, and its error states that."""


def test_sinch_client_is_a_provider() -> None:
    client: Provider = SinchClient(plan="p", token="t", host="https://us.sms.api.sinch.com")

    assert (client.name, client.max_recipients) == ("sinch", 1000)


def test_credential_changes_with_the_token_without_revealing_it() -> None:
    one, other = (SinchClient(plan="p", token=token, host="http://h").credential for token in ("token-1", "token-2"))

    assert one != other
    assert "token" not in one


async def test_a_submission_is_one_request() -> None:
    async with serving(answer(201, CREATED)) as server, talking_to(server.origin) as client:
        assert await client.submit(SUBMISSION, deadline=5) == Accepted("batch-1")

    ((head, body),) = server.requests
    assert server.line == "POST /xms/v1/plan-1/batches HTTP/1.1"
    assert "authorization: bearer secret-token" in head.lower()
    assert json.loads(body)["client_reference"] == "reference-1"


async def test_connections_are_used_again() -> None:
    async with serving(answer(201, CREATED)) as server, talking_to(server.origin) as client:
        for _ in range(3):
            await client.submit(SUBMISSION, deadline=5)

    assert (server.connections, len(server.requests)) == (1, 3)


async def test_connection_with_anothers_answer_is_closed() -> None:
    """Each later answer on it would belong to the request before, refusals too."""
    async with serving(answer(201, CREATED | {"client_reference": "another"})) as server, talking_to(server.origin) as client:
        for _ in range(2):
            outcome = await client.submit(SUBMISSION, deadline=5)
            assert isinstance(outcome, Ambiguous)
            assert "another request" in outcome.error

    assert (server.connections, len(server.requests)) == (2, 2)


async def test_each_lookup_has_its_own_connection() -> None:
    """On a kept one, an empty list may answer the lookup before."""
    async with serving(answer(200, {"count": 0})) as server, talking_to(server.origin) as client:
        for _ in range(2):
            await client.find("reference-1", since=SINCE, page=0, deadline=5)

    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with serving(answer(status, location="/elsewhere")) as server, talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=5), Ambiguous)

    assert len(server.requests) == 1


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(201, CREATED)) as server, serving(answer(201, CREATED | {"id": "proxied"})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.setenv("ALL_PROXY", proxy.origin)
        async with talking_to(server.origin) as client:
            assert await client.submit(SUBMISSION, deadline=5) == Accepted("batch-1")


@pytest.mark.parametrize(
    "speak", [hang_up, abort, answer(503, b"<html>", retry_after="1"), b"nonsense\r\n\r\n", b"HTTP/1.1 201 X\r\n"]
)
async def test_broken_answer_is_ambiguous_and_not_retried(speak: Speak | bytes) -> None:
    async with serving(speak) as server, talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=0.5), Ambiguous)

    assert len(server.requests) == 1


async def test_a_201_whose_body_breaks_off_is_ambiguous() -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(201, b'{"id":"batch-1"', length=100))
        writer.close()

    async with serving(speak) as server, talking_to(server.origin) as client:
        assert await client.submit(SUBMISSION, deadline=5) == Ambiguous("a 201 that could not be read", 201)


async def test_refusal_with_a_broken_body_is_refused() -> None:
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
        assert isinstance(await client.submit(SUBMISSION, deadline=LONG_ENOUGH_TO_CONNECT), Ambiguous)
        await asyncio.wait_for(server.reset.wait(), 5)


async def test_data_unread_at_the_deadline_is_dropped() -> None:
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
        for _ in range(2):
            outcomes = await asyncio.gather(*(client.submit(SUBMISSION, deadline=LONG_ENOUGH_TO_CONNECT) for _ in range(8)))
            assert all(isinstance(outcome, Ambiguous) for outcome in outcomes)

    assert server.connections == 16


async def test_when_all_connections_are_busy_nothing_was_sent() -> None:
    async with serving(stall) as server, talking_to(server.origin) as client:
        busy = [asyncio.create_task(client.submit(SUBMISSION, deadline=60)) for _ in range(CONNECTIONS)]
        async with asyncio.timeout(30):
            while len(server.requests) < CONNECTIONS:  # noqa: ASYNC110  # the server has no event for it
                await asyncio.sleep(0.001)
        outcome = await client.submit(SUBMISSION, deadline=0.1)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)

    assert len(server.requests) == CONNECTIONS
    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.UNREACHABLE


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
    async with serving(answer(201, CREATED)) as server, talking_to(server.origin) as client:
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


async def test_missing_callback_url_stops_asking_for_reports() -> None:
    body = {"code": "missing_callback_url", "text": "no URL"}
    async with serving(answer(403, body)) as server, talking_to(server.origin, callback_url="https://example.com") as client:
        first = await client.submit(SUBMISSION, deadline=5)
        assert client.callbacks_refused
        second = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(first, Refused)
    assert first.why is Refusal.NO_CALLBACK
    assert isinstance(second, Refused)
    assert second.why is Refusal.SETTING
    assert json.loads(server.requests[1][1])["delivery_report"] == "none"


async def test_slow_lookups_delay_no_message() -> None:
    release = asyncio.Event()

    async def slow_to_answer_questions(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.line.startswith("GET"):
            await release.wait()
            writer.write(answer(200, {"count": 0}))
        else:
            writer.write(answer(201, CREATED))

    async with serving(slow_to_answer_questions) as server, talking_to(server.origin) as client:
        lookups = [asyncio.create_task(client.find("r", since=SINCE, page=0, deadline=20)) for _ in range(20)]
        await server.heard.wait()

        outcomes = await asyncio.gather(*(client.submit(SUBMISSION, deadline=4) for _ in range(8)))

        release.set()
        await asyncio.gather(*lookups)
    assert outcomes == [Accepted("batch-1")] * 8
