"""The webhook app over a socket: every case of its table of answers."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from jobs.providers.inspection import TEST_HEADER
from tests.integration.webhook_app import (
    DELIVERY,
    INBOUND,
    SECRET,
    SUMMARY,
    Memory,
    away,
    inbound,
    report,
    serving,
    settings,
    signed,
)
from webhook.limits import Limits


@pytest.mark.parametrize("path", [DELIVERY, INBOUND, f"{DELIVERY}/", f"{INBOUND}/"])
async def test_either_path_takes_every_type(path: str) -> None:
    memory = Memory()
    full = SUMMARY | {"statuses": [{"code": 0, "status": "Delivered", "recipients": ["14155550001", "14155550002"]}]}

    async with serving(memory) as client:
        for callback in (report(), full, SUMMARY, inbound(), report(type="something_new")):
            assert (await client.post(path, **signed(callback))).status_code == 204

    assert [item.recipient for item in memory.reports] == ["+14155550000", "+14155550001", "+14155550002"]
    assert [item.body for item in memory.inbounds] == ["STOP"]
    assert [item.batch_id for item in memory.summaries] == ["batch-1"]
    assert [json.loads(item.raw)["type"] for item in memory.kept] == ["something_new"]


async def test_the_answer_never_comes_before_the_commit() -> None:
    memory = Memory()
    memory.answers.clear()

    async with serving(memory) as client:
        request = asyncio.create_task(client.post(DELIVERY, **signed(report())))
        await memory.was_called.wait()
        assert not request.done()
        memory.answers.set()
        assert (await request).status_code == 204


async def test_requests_that_arrive_together_are_committed_together() -> None:
    memory = Memory()
    memory.answers.clear()

    async with serving(memory) as client:
        requests = [asyncio.create_task(client.post(DELIVERY, **signed(report(0))))]
        await memory.was_called.wait()
        requests += [asyncio.create_task(client.post(DELIVERY, **signed(report(number)))) for number in range(1, 30)]
        assert (await client.get("/healthz")).status_code == 200
        memory.answers.set()
        answers = await asyncio.gather(*requests)

    assert {answer.status_code for answer in answers} == {204}
    assert len(memory.reports) == 30
    assert memory.calls < 15


async def test_one_refused_report_does_not_block_others() -> None:
    memory = Memory()
    memory.refused = {"+14155550007"}

    async with serving(memory) as client:
        answers = await asyncio.gather(*(client.post(DELIVERY, **signed(report(number))) for number in range(20)))

    assert {answer.status_code for answer in answers} == {204}
    assert sorted(item.recipient for item in memory.reports) == [f"+1415555{n:04}" for n in range(20) if n != 7]
    assert [json.loads(item.raw) for item in memory.kept] == [report(7)]


@pytest.mark.parametrize("trouble", [away(), RuntimeError("a mistake of ours"), TimeoutError()])
async def test_internal_errors_answer_503_and_are_retried(trouble: Exception) -> None:
    memory = Memory()
    memory.trouble = trouble

    async with serving(memory) as client:
        answer = await client.post(DELIVERY, **signed(report()))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0

        memory.trouble = None
        assert (await client.post(DELIVERY, **signed(report()))).status_code == 204

    assert len(memory.reports) == 1


async def test_a_client_that_hangs_up_loses_nothing() -> None:
    memory = Memory()
    memory.answers.clear()

    async with serving(memory) as client:
        impatient = asyncio.create_task(client.post(DELIVERY, **signed(report(1))))
        await memory.was_called.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient

        memory.answers.set()
        assert (await client.post(DELIVERY, **signed(report(2)))).status_code == 204

    assert [item.recipient for item in memory.reports] == ["+14155550001", "+14155550002"]


@pytest.mark.parametrize(
    "raw",
    [b'{"type":', b'{"type": 5, nonsense', b"{}\0", b'\xff{"type":"mo_text"}', b'{"a":' * 100_000, b"[{}]", b"[]", b"null"],
)
async def test_damaged_json_is_kept(raw: bytes) -> None:
    """Sinch never repeats a callback that is answered with a 4xx."""
    memory = Memory()
    async with serving(memory) as client:
        answer = await client.post(DELIVERY, **signed(raw))

    assert answer.status_code == 204
    assert [item.raw for item in memory.kept] == [raw]


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"<xml/>", b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000])
async def test_body_that_is_no_json_is_refused(raw: bytes) -> None:
    memory = Memory()
    async with serving(memory) as client:
        answer = await client.post(DELIVERY, **signed(raw))

    assert answer.status_code == 400
    assert memory.calls == 0


PAD = 1024 * 1024


def padded(size: int) -> bytes:
    return json.dumps(report()).encode().ljust(size)


@pytest.mark.parametrize(
    ("size", "status"), [(PAD, 204), (PAD + 1, 413), (4 * PAD, 413)], ids=["1 MiB", "one byte more", "4 MiB"]
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_has_at_most_one_mebibyte(size: int, status: int, chunked: bool) -> None:
    request = signed(padded(size))
    if chunked:
        content = request["content"]

        async def parts() -> Any:
            for start in range(0, len(content), 65536):
                yield content[start : start + 65536]

        request["content"] = parts()

    async with serving(Memory()) as client:
        assert (await client.post(DELIVERY, **request)).status_code == status


async def test_a_body_without_end_is_cut_off() -> None:
    async with serving(Memory()) as client:
        port = client.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed(report())["headers"].items())
        writer.write(f"POST {DELIVERY} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n{headers}\r\n".encode())
        writer.writelines([b"10000\r\n" + b" " * 0x10000 + b"\r\n"] * (Limits().surplus_bytes // 0x10000 - 1))

        status = await asyncio.wait_for(reader.readline(), 10)
        writer.close()

    assert status.split()[1] == b"413"


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


ALL_WAYS = {"sinch_webhook_secrets": SECRET, "webhook_basic_auth": "user:pass", "webhook_tokens": "token-1,token-2"}
FORGED = signed(report(), "another secret")["headers"]
TRUE = signed(report())["headers"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (TRUE, 204),
        (basic("user:pass"), 204),
        ({"x-webhook-token": "token-2"}, 204),
        ({}, 401),
        (basic("user:guess"), 401),
        ({"x-webhook-token": "guess"}, 401),
        (FORGED, 401),
        (FORGED | basic("user:pass"), 401),
        (FORGED | {"x-webhook-token": "token-1"}, 401),
        ({"x-sinch-webhook-signature": ""} | basic("user:pass"), 401),
        (TRUE | basic("user:guess") | {"x-webhook-token": "guess"}, 204),
    ],
)
async def test_only_proven_provider_requests_are_accepted(headers: dict[str, str], status: int) -> None:
    memory = Memory()
    async with serving(memory, settings(**ALL_WAYS)) as client:
        answer = await client.post(DELIVERY, content=json.dumps(report()), headers=headers)

    assert answer.status_code == status
    assert len(memory.reports) == (status == 204)


async def test_unauthenticated_requests_are_accepted_where_configured() -> None:
    async with serving(Memory(), settings(webhook_allow_unauthenticated=True)) as client:
        assert (await client.post(DELIVERY, json=report())).status_code == 204
        assert (await client.post(DELIVERY, **signed(report()))).status_code == 204


@pytest.mark.parametrize(
    ("forwarded", "status"), [("203.0.113.9", 204), ("203.0.113.9, 127.0.0.1", 204), ("198.51.100.7", 401), (None, 401)]
)
async def test_networks_count_through_trusted_proxies(forwarded: str | None, status: int) -> None:
    chosen = settings(sinch_webhook_secrets=SECRET, webhook_allowed_ips="203.0.113.0/24", webhook_trusted_proxies="127.0.0.0/8")
    request = signed(report())
    if forwarded is not None:
        request["headers"]["x-forwarded-for"] = forwarded

    async with serving(Memory(), chosen) as client:
        assert (await client.post(DELIVERY, **request)).status_code == status


async def test_forwarded_header_of_an_untrusted_peer_is_ignored() -> None:
    chosen = settings(sinch_webhook_secrets=SECRET, webhook_allowed_ips="203.0.113.0/24")
    request = signed(report())
    request["headers"]["x-forwarded-for"] = "203.0.113.9"

    async with serving(Memory(), chosen) as client:
        assert (await client.post(DELIVERY, **request)).status_code == 401


async def test_forged_signature_raises_alarm_and_reconciliation() -> None:
    memory = Memory()
    async with serving(memory) as client:
        for _ in range(5):
            await client.post(DELIVERY, **signed(report(), "another secret"))
        await client.post(DELIVERY, json=report())
        await memory.was_told.wait()

    assert memory.rejected == [1]  # The others are recorded later, together: forged callbacks must not fill the database.


async def test_wrong_test_callback_raises_no_alarm() -> None:
    """That of `outbox doctor`. An alarm would be recorded before the second request is read."""
    memory = Memory()
    wrong = signed(report(), "another secret")
    async with serving(memory) as client:
        refused = await client.post(DELIVERY, content=wrong["content"], headers={**wrong["headers"], TEST_HEADER: "1"})
        await client.post(DELIVERY, **signed(report()))

    assert refused.status_code == 401
    assert memory.rejected == []


async def test_unsigned_request_raises_no_alarm() -> None:
    memory = Memory()
    async with serving(memory) as client:
        assert (await client.post(DELIVERY, json=report())).status_code == 401

    assert memory.rejected == []


async def test_failed_requests_are_limited_but_never_the_provider() -> None:
    async with serving(Memory()) as client:
        statuses = [(await client.post(DELIVERY, content=b"x")).status_code for _ in range(70)]
        forged = await client.post(DELIVERY, **signed(report(), "another secret"))
        honest = [(await client.post(DELIVERY, **signed(report(number)))).status_code for number in range(70)]

    assert statuses == [401] * 60 + [429] * 10
    assert forged.status_code == 429
    assert set(honest) == {204}


@pytest.mark.parametrize(("workers", "reports"), [(1, 11_000), (4, 4_000)])
async def test_overload_is_429_and_loses_no_acknowledged_report(workers: int, reports: int) -> None:
    """One of several workers takes its part only."""
    memory = Memory()
    memory.answers.clear()
    many = SUMMARY | {"statuses": [{"code": 0, "status": "Delivered", "recipients": [f"1415{n:07}" for n in range(reports)]}]}

    async with serving(memory, workers=workers) as client:
        waiting = [asyncio.create_task(client.post(DELIVERY, **signed(many)))]
        await memory.was_called.wait()
        turned_away = await client.post(DELIVERY, **signed(report()))
        memory.answers.set()
        accepted = await asyncio.gather(*waiting)

        assert turned_away.status_code == 429
        assert int(turned_away.headers["retry-after"]) > 0
        assert [answer.status_code for answer in accepted] == [204]
        assert (await client.post(DELIVERY, **signed(report()))).status_code == 204

    assert len(memory.reports) == reports + 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_depends_on_the_process_alone(method: str) -> None:
    memory = Memory()
    memory.trouble = away()
    async with serving(memory) as client:
        assert (await client.request(method, "/healthz")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("trouble", "status"), [(None, 200), (away(), 503), (RuntimeError("ours"), 503)])
async def test_readiness_depends_on_the_database(method: str, trouble: Exception | None, status: int) -> None:
    memory = Memory()
    memory.trouble = trouble
    async with serving(memory) as client:
        assert (await client.request(method, "/readyz")).status_code == status


async def test_frequent_readiness_checks_spare_the_database() -> None:
    memory = Memory()
    async with serving(memory) as client:
        await asyncio.gather(*(client.get("/readyz") for _ in range(50)))

    assert memory.pings <= 5


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", DELIVERY, 405),
        ("PUT", INBOUND, 405),
        ("POST", "/healthz", 405),
        ("POST", "/webhooks/sinch", 404),
        ("POST", "/webhooks/somebody/delivery", 404),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
    ],
)
async def test_unknown_paths_and_methods_are_refused(method: str, path: str, status: int) -> None:
    async with serving(Memory()) as client:
        assert (await client.request(method, path)).status_code == status


async def test_the_log_names_no_number_text_or_secret(capfd: pytest.CaptureFixture[str]) -> None:
    memory = Memory()
    memory.refused = {"+14155550007"}
    async with serving(memory) as client:
        await client.post(DELIVERY, **signed(report(7)))
        await client.post(DELIVERY, **signed(report(status="Teleported")))
        await client.post(DELIVERY, **signed(inbound(), "another secret"))
        memory.trouble = away()
        await client.post(INBOUND, **signed(inbound(body="my secret text")))

    said = "".join(capfd.readouterr())
    assert "callback.refused" in said
    assert not any(private in said for private in ("4155550007", "4155550000", "STOP", "my secret text", SECRET, "another"))


async def test_answers_are_small_and_name_no_server() -> None:
    async with serving(Memory()) as client:
        answer: httpx.Response = await client.post(DELIVERY, **signed(report()))

    assert set(answer.headers) <= {"date", "connection", "keep-alive"}
