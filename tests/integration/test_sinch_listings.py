"""The client on a real socket: the pages that it asks for, and how it reads the answers."""

import pytest

from jobs.providers.base import ProviderError, Refusal
from tests.integration.provider_cases import SINCE, SINCH
from tests.integration.provider_servers import answer, serving

BATCH = {
    "id": "batch-1",
    "to": ["14155551234", "a-group"],
    "client_reference": "reference-1",
    "created_at": "2026-11-24T12:00:00Z",
}


async def test_lookup_names_its_reference_and_start() -> None:
    page_of_one = answer(200, {"count": 1, "page": 0, "page_size": 1, "batches": [BATCH]})
    async with serving(page_of_one) as server, SINCH.talking_to(server.origin) as client:
        page = await client.find("reference-1", recipients=[], since=SINCE, until=None, page=0, deadline=5)

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
        (0, {"batches": [BATCH]}, False),  # Nothing states that this was the last page.
        (1, {"count": 2, "batches": [BATCH]}, False),  # a server may give shorter pages than it was asked for
        (1, {"count": 2, "batches": []}, True),
    ],
)
async def test_only_proof_of_the_end_is_last_page(number: int, listing: object, last: bool) -> None:
    async with serving(answer(200, listing)) as server, SINCH.talking_to(server.origin) as client:
        page = await client.find("reference-1", recipients=[], since=SINCE, until=None, page=number, deadline=5)

    assert page.last is last


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        (b'{"id": 7, "body": "code 481516", "parameters": {"a": {"default": "481516"}}, "to": ["1"]}', b'{"id":7,"to":["1"]}'),
        (b'{"id": nonsense, "body": "code 481516"}', b'{"id": nonsense, '),
        (b'{"batch": {"body": "code 481516"}}', b'{"batch":{'),
    ],
)
async def test_unreadable_batch_is_kept_without_texts(item: bytes, kept: bytes) -> None:
    """The text may be a one-time code, which is never kept longer than its message."""
    async with (
        serving(answer(200, b'{"count": 1, "batches": [' + item + b"]}")) as server,
        SINCH.talking_to(server.origin) as client,
    ):
        page = await client.find("reference-1", recipients=[], since=SINCE, until=None, page=0, deadline=5)

    assert [one.raw.replace(b": {", b":{") for one in page.unusable] == [kept]


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
async def test_unreadable_page_is_no_lookup(said: bytes, why: Refusal | None) -> None:
    async with serving(said) as server, SINCH.talking_to(server.origin) as client:
        with pytest.raises(ProviderError) as raised:
            await client.find("reference-1", recipients=[], since=SINCE, until=None, page=0, deadline=0.5)

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
    async with serving(answer(200, report)) as server, SINCH.talking_to(server.origin) as client:
        reports = await client.batch_reports(["batch/1"], deadline=5)

    assert server.line == "GET /xms/v1/plan-1/batches/batch%2F1/delivery_report?type=full HTTP/1.1"
    assert [(report.recipient, report.status) for report in reports.items] == [("+14155551234", "delivered")]
    assert len(reports.unusable) == 1


@pytest.mark.parametrize("said", [answer(500), answer(200, b"<html>"), answer(200, {"type": "mo_tomorrow"})])
async def test_unreadable_report_raises_an_error(said: bytes) -> None:
    async with serving(said) as server, SINCH.talking_to(server.origin) as client:
        with pytest.raises(ProviderError):
            await client.batch_reports(["batch-1"], deadline=5)


async def test_feed_of_reports_is_read_by_window() -> None:
    report = {"type": "recipient_delivery_report_sms", "batch_id": "batch-1", "recipient": "14155551234", "status": "Failed"}
    summary = {"type": "delivery_report_sms", "batch_id": "batch-1", "statuses": []}
    listing = {"count": 2, "delivery_reports": [report, summary]}
    async with serving(answer(200, listing)) as server, SINCH.talking_to(server.origin) as client:
        page = await client.finished_reports(start=SINCE, end=SINCE.replace(hour=13), page=2, deadline=5)

    assert server.line == (
        "GET /xms/v1/plan-1/delivery_reports?start_date=2026-11-24T12%3A00%3A00.000Z"
        "&end_date=2026-11-24T13%3A00%3A00.000Z&page=2&page_size=100 HTTP/1.1"
    )
    assert [(item.recipient, item.status) for item in page.items] == [("+14155551234", "failed")]
    assert len(page.unusable) == 1


async def test_inbound_messages_are_read_by_window() -> None:
    inbound = {
        "type": "mo_text",
        "id": "in-1",
        "from": "14155551234",
        "to": "12345",
        "body": "STOP",
        "received_at": "2026-11-24T12:00:00Z",
    }
    listing = {"count": 1, "inbounds": [inbound]}
    async with serving(answer(200, listing)) as server, SINCH.talking_to(server.origin) as client:
        page = await client.inbounds(start=SINCE, end=SINCE.replace(hour=13), page=0, deadline=5)

    assert server.line.startswith("GET /xms/v1/plan-1/inbounds?start_date=")
    assert [(item.sender, item.recipient, item.body) for item in page.items] == [("+14155551234", "12345", "STOP")]
    assert page.last
