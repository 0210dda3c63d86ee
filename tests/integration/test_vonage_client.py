"""What Vonage's client does on real sockets that no other does. The rest is in `test_providers_conform.py`."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from jobs.providers.base import Accepted, BatchReports, Page, Provider, ProviderError, Refusal, Refused
from jobs.providers.vonage.client import VonageClient
from jobs.providers.vonage.reports import Reports
from jobs.runtime.clocks import Clocks
from tests.integration.provider_cases import IDS, RECIPIENT, REFERENCE, SINCE, SUBMISSION, UNTIL, VONAGE
from tests.integration.provider_servers import Server, answer, serving
from tests.keys import private_key, public_key

DAY = timedelta(days=1)


def client_of(origin: str = "http://h", **options: Any) -> VonageClient:
    return VonageClient(application="application-1", private_key=private_key(), host=origin, **options)


def question(server: Server) -> Mapping[str, str]:
    """The parameters of the last request."""
    target = urlsplit(server.line.split()[1])
    assert target.path == "/v2/reports/records"
    return {name: value for name, (value,) in parse_qs(target.query).items()}


def page_of(*records: object, **fields: Any) -> bytes:
    return answer(200, {"request_status": "SUCCESS", "records": list(records), **fields})


async def find(client: Provider, *, since: datetime = SINCE, until: datetime | None = UNTIL, page: int = 0) -> Any:
    return await client.find(REFERENCE, recipients=[RECIPIENT], since=since, until=until, page=page, deadline=5)


async def test_vonage_client_is_a_provider() -> None:
    client: Provider = client_of()

    assert (client.name, client.max_recipients, client.absence_proof) == ("vonage", 1, None)


async def test_a_submission_carries_a_token_of_its_own() -> None:
    async with serving(VONAGE.of_another) as server, VONAGE.talking_to(server.origin) as client:
        for _ in range(2):
            await client.submit(SUBMISSION, deadline=5)

    heads = [head for head, _ in server.requests]
    tokens = [head.partition("Bearer ")[2].partition("\r\n")[0] for head in heads]
    one, other = (jwt.decode(token, public_key(), algorithms=["RS256"]) for token in tokens)
    assert one["application_id"] == "application-1"
    assert one["jti"] != other["jti"]


async def test_message_without_any_sender_is_not_sent() -> None:
    """Vonage has no default, and would refuse each message for itself."""
    async with serving(VONAGE.of_another) as server:
        client = client_of(server.origin)
        outcome = await client.submit(replace(SUBMISSION, sender=None), deadline=5)
        await client.aclose()

    assert isinstance(outcome, Refused)
    assert outcome.why is Refusal.SETTING
    assert "VONAGE_FROM_NUMBER" in outcome.error
    assert server.requests == []


async def test_without_reports_nothing_is_asked() -> None:
    """Missing reports count as asked for, so that messages end; a lookup finds nothing, which proves nothing."""
    async with serving(page_of()) as server:
        client = client_of(server.origin)
        assert await find(client) == Page((), last=True)
        assert await client.inbounds(start=SINCE, end=UNTIL, page=0, deadline=5) == Page((), last=True)
        assert await client.batch_reports(IDS, deadline=5) == BatchReports(())
        assert await client.batch(IDS[0], deadline=5) is None
        await client.aclose()

    assert server.requests == []


async def test_lookup_asks_for_one_number() -> None:
    async with serving(page_of()) as server, VONAGE.talking_to(server.origin) as client:
        await find(client)

    assert question(server) == {
        "account_id": "abcd1234",
        "product": "MESSAGES",
        "direction": "outbound",
        "to": RECIPIENT[1:],
        "date_start": "2026-11-24T12:00:00.000Z",
        "date_end": "2026-11-24T14:00:00.000Z",
    }
    assert "authorization: basic ywjjzdeymzq6c2vjcmv0" in server.requests[0][0].lower()


async def test_lookup_without_a_number_asks_nothing() -> None:
    """Its message was deleted since: an error would end the tick of every other lookup."""
    async with serving(page_of()) as server, VONAGE.talking_to(server.origin) as client:
        found = await client.find(REFERENCE, recipients=[], since=SINCE, until=UNTIL, page=0, deadline=5)

    assert (found, server.requests) == (Page((), last=True), [])


async def test_lookup_follows_the_clock_of_vonage() -> None:
    """Its clock dates the records. The database's may have been right when the request was made, so both count."""
    clocks = Clocks()
    now = asyncio.get_running_loop().time()
    clocks.database_says(SINCE, sent=now, received=now)
    clocks.provider_says(SINCE + timedelta(hours=1), sent=now, received=now)
    async with serving(page_of()) as server, VONAGE.talking_to(server.origin, clocks=clocks) as client:
        await find(client)

    window = question(server)
    assert window["date_start"] == "2026-11-24T12:00:00.000Z"
    assert window["date_end"].startswith("2026-11-24T15:00:0")


async def test_window_without_an_end_ends_now() -> None:
    async with serving(page_of()) as server, VONAGE.talking_to(server.origin) as client:
        page = await find(client, since=datetime.now(UTC) - timedelta(hours=1), until=None)

    end = datetime.fromisoformat(question(server)["date_end"])
    assert abs(datetime.now(UTC) - end) < timedelta(minutes=5)
    assert page.last


async def test_pages_follow_each_other_by_cursor() -> None:
    async with serving(page_of(VONAGE.sent, cursor="c1", iv="i1")) as server, VONAGE.talking_to(server.origin) as client:
        first = await find(client)
        second = await find(client, page=1)

    assert not first.last
    assert not second.last
    assert question(server)["cursor"] == "c1"
    assert question(server)["iv"] == "i1"
    assert question(server)["to"] == RECIPIENT[1:]


async def test_long_window_is_asked_for_by_day() -> None:
    windows = []
    async with serving(page_of()) as server, VONAGE.talking_to(server.origin) as client:
        for number in range(3):
            page = await client.inbounds(start=SINCE, end=SINCE + 2 * DAY + DAY / 2, page=number, deadline=5)
            windows.append((question(server)["date_start"][:13], question(server)["date_end"][:13], page.last))

    assert windows == [
        ("2026-11-24T12", "2026-11-25T12", False),
        ("2026-11-25T12", "2026-11-26T12", False),
        ("2026-11-26T12", "2026-11-27T00", True),
    ]
    assert question(server)["include_message"] == "true"
    assert question(server)["direction"] == "inbound"


async def test_page_after_an_unread_one_is_refused() -> None:
    """Its beginning is unknown. To take it for the first would show an end that is none."""
    async with serving(page_of(request_status="TRUNCATED")) as server, VONAGE.talking_to(server.origin) as client:
        assert not (await find(client)).last
        with pytest.raises(ProviderError, match="page 1"):
            await find(client, page=1)

    assert len(server.requests) == 1


async def test_reports_are_asked_for_by_id() -> None:
    both = page_of(VONAGE.report, {**VONAGE.report, "message_id": IDS[1], "status": "rejected", "error_code": "1330"})
    async with serving(both) as server, VONAGE.talking_to(server.origin) as client:
        found = await client.batch_reports(IDS, deadline=5)

    assert question(server) == {
        "account_id": "abcd1234",
        "product": "MESSAGES",
        "direction": "outbound",
        "id": ",".join(IDS),
    }
    assert [(item.batch_id, item.status) for item in found.items] == [(IDS[0], "delivered"), (IDS[1], "unknown")]


async def test_a_reported_message_shows_its_request() -> None:
    """A callback without a reference may be about a request whose outcome is unknown."""
    async with serving(page_of(VONAGE.sent)) as server, VONAGE.talking_to(server.origin) as client:
        batch = await client.batch(IDS[0], deadline=5)
        other = await client.batch(IDS[1], deadline=5)

    assert batch is not None
    assert (batch.reference, batch.recipients, batch.texts) == (REFERENCE, (RECIPIENT,), (None,))
    assert other is None


async def test_questions_keep_to_vonages_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten a second. The recover job asks twenty at once."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with serving(page_of()) as server, VONAGE.talking_to(server.origin) as client:
        with monkeypatch.context() as patched:
            patched.setattr("jobs.providers.vonage.reports.asyncio.sleep", sleep)
            await asyncio.gather(*(find(client) for _ in range(20)))

    assert len(server.requests) == 20
    assert max(waits) > 1.8


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("https://api.nexmo.com", "api.nexmo.com"),
        ("https://api-eu.nexmo.com", "api.nexmo.com"),
        ("https://api-us.vonage.com", "api.nexmo.com"),
        ("http://127.0.0.1:8443", "127.0.0.1"),
    ],
)
async def test_reports_have_no_regional_host(host: str, asked: str) -> None:
    assert Reports(host, key="k", secret="s", clocks=Clocks())._http._http.base_url.host == asked


async def test_connection_with_two_answers_is_closed() -> None:
    """The second would be read as the next request's."""

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(VONAGE.fresh() + answer(422))

    async with serving(speak) as server, VONAGE.talking_to(server.origin) as client:
        outcomes = [await client.submit(SUBMISSION, deadline=5) for _ in range(2)]

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert server.connections == 2
