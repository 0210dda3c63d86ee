"""All clients on real sockets: what lookups and reports say, and what is no answer.

What only one provider does is in its own file: Sinch's lists (`test_sinch_listings.py`), and Vonage's pages of records
(`test_vonage_client.py`).
"""

import asyncio
import gzip

import pytest

from jobs.providers.base import Accepted, Provider, ProviderError, Refusal
from tests.integration.provider_cases import (
    IDS,
    RECIPIENT,
    REFERENCE,
    SENDER,
    SINCE,
    SUBMISSION,
    UNTIL,
    Case,
    each_provider,
)
from tests.integration.provider_servers import Speak, answer, serving


async def breaks_off(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, b'{"count": 0', length=100))
    writer.close()


UNREADABLE = [
    breaks_off,
    answer(200, b"<html>"),
    answer(200, {}),
    answer(200, []),
    answer(204),
    answer(302, location="/login"),
    answer(503, b"<html>"),
]
"""Answers to a question that say nothing."""

pytestmark = each_provider


async def find(client: Provider, *, page: int = 0, deadline: float = 5) -> list[tuple[str, tuple[str, ...]]]:
    found = await client.find(REFERENCE, recipients=[RECIPIENT], since=SINCE, until=UNTIL, page=page, deadline=deadline)
    assert all(batch.reference == REFERENCE and batch.is_whole for batch in found.items)
    return [(batch.batch_id, batch.recipients) for batch in found.items]


async def test_without_a_connection_nothing_is_known(case: Case) -> None:
    async with serving(b"") as server:
        origin = server.origin
    async with case.talking_to(origin) as client:
        with pytest.raises(ProviderError) as raised:
            await find(client)

    assert raised.value.why is Refusal.UNREACHABLE


async def test_lookup_finds_the_request(case: Case) -> None:
    async with serving(case.lists(case.sent)) as server, case.talking_to(server.origin) as client:
        assert await find(client) == [(IDS[0], (RECIPIENT,))]

    assert len(server.requests) == 1


async def test_lookup_that_finds_nothing_is_empty(case: Case) -> None:
    async with serving(case.lists()) as server, case.talking_to(server.origin) as client:
        page = await client.find(REFERENCE, recipients=[RECIPIENT], since=SINCE, until=UNTIL, page=0, deadline=5)

    assert (page.items, page.unusable, page.last) == ((), (), True)


async def test_one_unreadable_item_does_not_spoil_the_page(case: Case) -> None:
    async with serving(case.lists(case.sent, 7)) as server, case.talking_to(server.origin) as client:
        page = await client.find(REFERENCE, recipients=[RECIPIENT], since=SINCE, until=UNTIL, page=0, deadline=5)

    assert [batch.batch_id for batch in page.items] == [IDS[0]]
    assert [item.raw for item in page.unusable] == [b"7"]


@pytest.mark.parametrize("said", UNREADABLE)
async def test_unreadable_answer_is_no_answer(case: Case, said: Speak | bytes) -> None:
    """An empty page would say that the request never arrived."""
    async with serving(said) as server, case.talking_to(server.origin) as client:
        questions = (
            find(client, deadline=5),
            client.inbounds(start=SINCE, end=UNTIL, page=0, deadline=5),
            client.batch_reports([IDS[0]], deadline=5),
        )
        errors = await asyncio.gather(*questions, return_exceptions=True)

    assert [error.why for error in errors if isinstance(error, ProviderError)] == [None] * 3


@pytest.mark.parametrize("why", [Refusal.ACCOUNT, Refusal.THROTTLED])
async def test_refused_question_may_stop_the_plan(case: Case, why: Refusal) -> None:
    said = next(said for said, other in case.refusals if other is why)
    async with serving(said) as server, case.talking_to(server.origin) as client:
        with pytest.raises(ProviderError) as raised:
            await find(client)

    assert raised.value.why is (why if case.stops_the_plan else None)
    assert raised.value.retry_after == (7.0 if why is Refusal.THROTTLED else None)


async def test_compressed_list_is_read(case: Case) -> None:
    head, _, body = case.lists(case.sent).partition(b"\r\n\r\n")
    packed = gzip.compress(body)
    said = answer(200, packed, content_encoding="gzip")
    assert head
    async with serving(said) as server, case.talking_to(server.origin) as client:
        assert await find(client) == [(IDS[0], (RECIPIENT,))]


async def test_reports_of_a_batch(case: Case) -> None:
    async with serving(case.reports(case.report)) as server, case.talking_to(server.origin) as client:
        reports = await client.batch_reports([IDS[0]], deadline=5)

    (report,) = reports.items
    assert (report.batch_id, report.recipient, report.status) == (IDS[0], RECIPIENT, "delivered")
    assert report.reference == REFERENCE
    assert (reports.unusable, reports.unknown) == ((), ())


async def test_unknown_batch_has_no_report(case: Case) -> None:
    async with serving(case.knows_nothing) as server, case.talking_to(server.origin) as client:
        reports = await client.batch_reports([IDS[0]], deadline=5)

    assert (reports.items, reports.unknown) == ((), (IDS[0],))


async def test_messages_from_phones_are_listed(case: Case) -> None:
    async with serving(case.inbounds(case.inbound)) as server, case.talking_to(server.origin) as client:
        page = await client.inbounds(start=SINCE, end=UNTIL, page=0, deadline=5)

    (inbound,) = page.items
    assert (inbound.inbound_id, inbound.kind, inbound.body, inbound.provider) == ("in-1", "text", "STOP", case.name)
    assert (inbound.sender, inbound.recipient, inbound.received_at) == (RECIPIENT, SENDER, SINCE)
    assert page.last


async def test_slow_lookups_delay_no_message(case: Case) -> None:
    release = asyncio.Event()

    async def slow_to_answer_questions(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.line.startswith("GET"):
            await release.wait()
            writer.write(case.lists())
        else:
            writer.write(case.fresh())

    async with serving(slow_to_answer_questions) as server, case.talking_to(server.origin) as client:
        lookups = [asyncio.create_task(find(client, deadline=20)) for _ in range(8)]
        await server.heard.wait()

        outcomes = await asyncio.gather(*(client.submit(SUBMISSION, deadline=4) for _ in range(8)))

        release.set()
        await asyncio.gather(*lookups)
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
