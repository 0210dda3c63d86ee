"""All clients on real sockets: how each way in which a request can end is classified.

What only one provider does is in its own file. `test_sinch_client.py`: callbacks that are refused, and requests so big that a
part of them may wait in this process. `test_vonage_client.py`: tokens, and two answers at once, which nothing else could tell
apart; an acceptance of Sinch names its request.
"""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.providers import http
from jobs.providers.base import Accepted, Ambiguous, Refusal, Refused
from jobs.providers.vonage import posts
from jobs.runtime.clocks import Clocks
from tests import keys
from tests.integration.provider_cases import (
    CASES,
    IDS,
    REFERENCE,
    SENDER,
    SINCE,
    SUBMISSION,
    Case,
    each_provider,
)
from tests.integration.provider_servers import (
    Cutting,
    Server,
    Speak,
    abort,
    answer,
    drip,
    hang_up,
    serving,
    stall,
)

LONG_ENOUGH_TO_CONNECT = 1.0
"""Seconds. A request that timed out before it had a connection was not sent, and its error states that."""


pytestmark = each_provider

FEW = 8


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients with eight connections."""
    for module in (http, posts):
        monkeypatch.setattr(module, "CONNECTIONS", FEW)


few_connections = pytest.mark.usefixtures("few")


def accepting(case: Case) -> Speak:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(case.fresh())

    return speak


async def test_credential_changes_without_revealing_anything(case: Case) -> None:
    async with case.talking_to("http://h") as client:
        assert len(client.credential) == 16
        assert client.credential not in case.authorization


async def test_a_submission_is_one_request(case: Case) -> None:
    async with serving(case.accepts(IDS[0])) as server, case.talking_to(server.origin) as client:
        assert await client.submit(SUBMISSION, deadline=5) == Accepted(IDS[0])

    ((head, body),) = server.requests
    assert server.line == case.line
    assert f"authorization: {case.authorization}".lower() in head.lower()
    assert json.loads(body)[case.reference] == REFERENCE


async def test_connections_are_used_again(case: Case) -> None:
    async with serving(accepting(case)) as server, case.talking_to(server.origin) as client:
        for _ in range(3):
            assert isinstance(await client.submit(SUBMISSION, deadline=5), Accepted)

    assert (server.connections, len(server.requests)) == (1, 3)


async def test_tls_is_like_no_tls(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server_side, client_side = keys.tls(tmp_path)
    for module in (http, posts):
        monkeypatch.setattr(module, "trust", lambda **_: client_side)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) <= 3:
            writer.write(case.fresh())
        else:
            await stall(reader, writer)

    async with serving(speak, tls=server_side) as server, case.talking_to(server.origin) as client:
        for _ in range(3):
            assert isinstance(await client.submit(SUBMISSION, deadline=5), Accepted)
        assert isinstance(await client.submit(SUBMISSION, deadline=LONG_ENOUGH_TO_CONNECT), Ambiguous)
        await asyncio.wait_for(server.reset.wait(), 5)

    assert (server.connections, len(server.requests)) == (1, 4)


@pytest.mark.parametrize("number", range(len(CASES[0].refusals)))
async def test_a_refusal_says_what_is_wrong(case: Case, number: int) -> None:
    said, why = case.refusals[number]
    async with serving(said) as server, case.talking_to(server.origin, callback_url="https://example.com") as client:
        outcome = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(outcome, Refused)
    assert outcome.why is why
    assert outcome.retry_after == (7.0 if why is Refusal.THROTTLED else None)
    assert len(server.requests) == 1


async def test_a_rows_own_sender_is_no_setting(case: Case) -> None:
    (said,) = (said for said, why in case.refusals if why is Refusal.SETTING and b"from" in said)
    async with serving(said) as server, case.talking_to(server.origin) as client:
        outcome = await client.submit(replace(SUBMISSION, sender=SENDER), deadline=5)

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.SHARED


@pytest.mark.parametrize("status", [200, 203, 204, 301, 302, 307, 308, 408, 500, 502, 503, 504])
async def test_an_unclear_status_is_ambiguous(case: Case, status: int) -> None:
    """A redirect is not followed either."""
    async with serving(answer(status, location="/elsewhere")) as server, case.talking_to(server.origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(outcome, Ambiguous)
    assert outcome.http_status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("number", range(len(CASES[0].unreadable)))
async def test_an_unreadable_acceptance_is_ambiguous(case: Case, number: int) -> None:
    async with serving(case.unreadable[number]) as server, case.talking_to(server.origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(outcome, Ambiguous)
    assert outcome.http_status == case.accepted


@pytest.mark.parametrize("speak", [hang_up, abort, b"nonsense\r\n\r\n", b"HTTP/1.1 202 X\r\n", b"HTTP/1.1 100 X\r\n\r\n"])
async def test_broken_answer_is_ambiguous_and_not_retried(case: Case, speak: Speak | bytes) -> None:
    async with serving(speak) as server, case.talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=0.5), Ambiguous)

    assert len(server.requests) == 1


@pytest.mark.parametrize("resets", [True, False])
async def test_no_cut_at_any_byte_repeats_anything(case: Case, resets: bool) -> None:
    """Of the request, or of its answer. Whether the provider took it is not known in any case."""
    async with serving(case.accepts(IDS[0])) as server, case.talking_to(server.origin) as client:
        await client.submit(SUBMISSION, deadline=5)
    ((head, body),) = server.requests
    size, said = len(head) + len(body), case.accepts(IDS[0])
    cuts = [(heard, b"") for heard in (*range(0, size, 53), size - 1, size)]
    cuts += [(size, said[:end]) for end in (*range(1, len(said), 11), len(said) - 1)]

    for number, (heard, begun) in enumerate(cuts):
        async with Cutting(heard, begun, resets=resets) as cutting, case.talking_to(cutting.origin) as client:
            assert isinstance(await client.submit(SUBMISSION, deadline=5), Ambiguous), (number, heard, begun)
        assert cutting.connections == 1


async def test_refusal_with_a_broken_body_is_refused(case: Case) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(422, b'{"title":', length=100))
        writer.close()

    async with serving(speak) as server, case.talking_to(server.origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(outcome, Refused)
    assert (outcome.why, outcome.http_status) == (Refusal.SHARED, 422)


async def test_connection_with_anothers_answer_is_closed(case: Case) -> None:
    """Each later answer on it would belong to the request before, refusals too."""
    async with serving(case.of_another) as server, case.talking_to(server.origin) as client:
        outcomes = [await client.submit(SUBMISSION, deadline=5) for _ in range(3)]

    doubted = [outcome for outcome in outcomes if isinstance(outcome, Ambiguous)]
    assert all("another request" in outcome.error for outcome in doubted)
    assert len(doubted) >= 2
    assert server.connections == len(doubted)


async def test_answer_that_nobody_asked_for_counts_for_none(case: Case) -> None:
    go_on, written = asyncio.Event(), asyncio.Event()

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(case.fresh())
        if server.connections == 1:
            await go_on.wait()
            writer.write(answer(422))
            await writer.drain()
            written.set()

    async with serving(speak) as server, case.talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=5), Accepted)
        go_on.set()
        await written.wait()
        assert isinstance(await client.submit(SUBMISSION, deadline=5), Accepted)

    assert server.connections == 2


async def test_connection_that_was_closed_is_not_used(case: Case) -> None:
    """A request on it would be ambiguous."""

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(case.fresh())
        writer.close()

    async with serving(speak) as server, case.talking_to(server.origin) as client:
        for _ in range(5):
            assert isinstance(await client.submit(SUBMISSION, deadline=5), Accepted)

    assert server.connections == 5


async def test_no_proxy_is_taken_from_the_environment(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(accepting(case)) as server, serving(answer(422)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.setenv("ALL_PROXY", proxy.origin)
        async with case.talking_to(server.origin) as client:
            assert isinstance(await client.submit(SUBMISSION, deadline=5), Accepted)


@pytest.mark.parametrize("speak", [stall, drip])
async def test_the_deadline_is_total_and_resets_the_connection(case: Case, speak: Speak) -> None:
    async with serving(speak) as server, case.talking_to(server.origin) as client:
        assert isinstance(await client.submit(SUBMISSION, deadline=LONG_ENOUGH_TO_CONNECT), Ambiguous)
        await asyncio.wait_for(server.reset.wait(), 5)


async def heard_by(server: Server, requests: int) -> None:
    async with asyncio.timeout(30):
        while len(server.requests) < requests:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.001)


@few_connections
async def test_when_all_connections_are_busy_nothing_was_sent(case: Case) -> None:
    """Requests that end without an answer leave none behind that counts."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.connections <= FEW:
            await stall(reader, writer)
        else:
            writer.write(case.fresh())

    async with serving(speak) as server, case.talking_to(server.origin) as client:
        busy = [asyncio.create_task(client.submit(SUBMISSION, deadline=60)) for _ in range(FEW)]
        await heard_by(server, FEW)
        outcome = await client.submit(SUBMISSION, deadline=0.1)
        assert len(server.requests) == FEW
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        assert isinstance(await client.submit(SUBMISSION, deadline=5), Accepted)

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.UNREACHABLE


@few_connections
async def test_requests_wait_for_a_connection(case: Case) -> None:
    release = asyncio.Event()

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(case.fresh())

    async with serving(speak) as server, case.talking_to(server.origin) as client:
        requests = [asyncio.create_task(client.submit(SUBMISSION, deadline=60)) for _ in range(FEW + 3)]
        await heard_by(server, FEW)
        release.set()
        outcomes = await asyncio.gather(*requests)

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert server.connections == FEW


async def test_without_a_connection_nothing_was_sent(case: Case) -> None:
    async with serving(b"") as server:
        origin = server.origin
    async with case.talking_to(origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.UNREACHABLE


async def test_without_time_left_nothing_is_begun(case: Case) -> None:
    async with serving(accepting(case)) as server, case.talking_to(server.origin) as client:
        outcome = await client.submit(SUBMISSION, deadline=0)

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.UNREACHABLE
    assert server.requests == []


async def test_a_failed_tls_handshake_sent_nothing(case: Case) -> None:
    async with serving(hang_up) as server, case.talking_to(server.origin.replace("http:", "https:")) as client:
        outcome = await client.submit(SUBMISSION, deadline=2)

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.UNREACHABLE


async def test_cancelling_a_submission_resets_its_connection(case: Case) -> None:
    async with serving(stall) as server, case.talking_to(server.origin) as client:
        task = asyncio.create_task(client.submit(SUBMISSION, deadline=30))
        await server.heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.reset.wait(), 5)


async def test_every_answer_tells_the_providers_time(case: Case) -> None:
    date = "Tue, 24 Nov 2026 12:00:00 GMT"
    clocks = Clocks(wall=SINCE.timestamp)
    async with serving(answer(401, date=date)) as server, case.talking_to(server.origin, clocks=clocks) as client:
        await client.submit(SUBMISSION, deadline=5)

    assert abs((clocks.reached_by_provider(asyncio.get_running_loop().time()) - SINCE).total_seconds()) < 5
