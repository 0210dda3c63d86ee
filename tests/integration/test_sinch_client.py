"""What Sinch's client does on real sockets that no other does. The rest is in `test_providers_conform.py`."""

import asyncio
import json

from jobs.providers.base import Ambiguous, Provider, Refusal, Refused, Submission
from jobs.providers.sinch.client import SinchClient
from tests.integration.provider_cases import RECIPIENT, REFERENCE, SINCE, SINCH, SUBMISSION
from tests.integration.provider_servers import answer, serving


def test_sinch_client_is_a_provider() -> None:
    client: Provider = SinchClient(plan="p", token="t", host="https://us.sms.api.sinch.com")

    assert (client.name, client.max_recipients) == ("sinch", 1000)


def test_credential_changes_with_the_token() -> None:
    one, other = (SinchClient(plan="p", token=token, host="http://h").credential for token in ("token-1", "token-2"))

    assert one != other
    assert "token" not in one


async def test_each_lookup_has_its_own_connection() -> None:
    """On a kept one, an empty list may answer the lookup before. It would prove that a request never arrived."""
    async with serving(answer(200, {"count": 0})) as server, SINCH.talking_to(server.origin) as client:
        for _ in range(2):
            await client.find(REFERENCE, recipients=[], since=SINCE, until=None, page=0, deadline=5)

    assert (server.connections, len(server.requests)) == (2, 2)


async def test_missing_callback_url_stops_asking_for_reports() -> None:
    """Vonage has no such refusal: its application may lack the URLs, and then no callbacks come."""
    body = {"code": "missing_callback_url", "text": "no URL"}
    async with serving(answer(403, body)) as server, SINCH.talking_to(server.origin, callback_url="https://e.com") as client:
        first = await client.submit(SUBMISSION, deadline=5)
        assert isinstance(client, SinchClient)
        assert client.callbacks_refused
        second = await client.submit(SUBMISSION, deadline=5)

    assert isinstance(first, Refused)
    assert first.why is Refusal.NO_CALLBACK
    assert isinstance(second, Refused)
    assert second.why is Refusal.SETTING
    assert json.loads(server.requests[1][1])["delivery_report"] == "none"


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

    big = Submission(REFERENCE, None, "x" * 15_000_000, [RECIPIENT])
    async with await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024) as listener:
        async with SINCH.talking_to(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
            assert isinstance(await client.submit(big, deadline=1), Ambiguous)
        go_on.set()
        await asyncio.wait_for(finished.wait(), 5)

    assert len(heard) < 8_000_000  # of 15 MB: what the kernels had between them at most
