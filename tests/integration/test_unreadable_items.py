"""Lists of the provider with bytes that are no JSON, or not as documented: the rest is read, and polling goes on."""

from collections.abc import Callable

import pytest

from jobs.providers.answers import Answer
from jobs.providers.sinch.client import SinchClient
from tests.engine import SENDER, Clocks, Rig, column, insert, number
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
Say = Callable[..., None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Sets what the provider answers to questions: one body for each page, the last for all pages after it."""

    def set_pages(*pages: bytes) -> None:
        async def ask(_client: SinchClient, path: str, params: dict[str, str], _deadline: float) -> Answer:
            body = pages[min(int(params.get("page", 0)), len(pages) - 1)]
            return Answer(200, {}, body.replace(b"OURS", params.get("client_reference", "").encode()))

        monkeypatch.setattr(SinchClient, "_ask", ask)

    return set_pages


def reply(n: int, body: bytes = b"STOP") -> bytes:
    return b'{"type":"mo_text","id":"in-%d","from":"%b","to":"%b","body":"%b","received_at":"2026-11-24T12:00:00Z"}' % (
        n,
        number(n)[1:].encode(),
        SENDER[1:].encode(),
        body,
    )


def inbounds(*items: bytes, end: bytes = b"]}") -> bytes:
    return b'{"page":0,"count":%d,"inbounds":[%b' % (len(items), b",".join(items)) + end


def stopped(db: Connection) -> list[object]:
    return [recipient for (recipient,) in db.execute("select recipient from public.outbox_suppressions order by 1")]


def kept(db: Connection) -> list[object]:
    return [raw for (raw,) in db.execute("select raw from outbox_engine.kept_callbacks order by id")]


def alarms(db: Connection) -> list[object]:
    return [kind for (kind,) in db.execute("select kind from outbox_engine.alarms order by id")]


def read_until(db: Connection) -> list[object]:
    return [until for (until,) in db.execute("select read_until from outbox_engine.feeds where feed = 'inbounds'")]


@pytest.mark.parametrize(
    "text",
    [rb"Merci \ud83d", b"Merci \x07", b"Telef\xf3nica", rb"\u0000", rb"C:\x41"],
    ids=["half", "bell", "byte", "nul", "escape"],
)
async def test_strangers_text_stops_no_reply_polling(db: Connection, rig: Rig, clocks: Clocks, say: Say, text: bytes) -> None:
    clocks.set(NOW)
    say(inbounds(reply(1, text), reply(2)))

    await rig.tick("inbound")

    assert stopped(db) == [number(2)]
    assert db.execute("select count(*) from public.outbox_inbound").fetchone() == (2,)
    assert (kept(db), read_until(db)) == ([], [clocks.now()])


@pytest.mark.parametrize(
    "item", [b'{"type":"mo_text","id":nonsense}', b'{"type":"mo_text"]}', b'{"a":[1}', b"{}}", b'"text"', b"[[]]"]
)
async def test_item_that_is_no_json_spares_others(db: Connection, rig: Rig, clocks: Clocks, say: Say, item: bytes) -> None:
    clocks.set(NOW)
    say(inbounds(reply(1), item, reply(2)))

    await rig.tick("inbound")

    assert stopped(db) == [number(1), number(2)]
    assert (kept(db), alarms(db), read_until(db)) == ([item], ["callback.unusable"], [clocks.now()])


async def test_unreadable_page_hides_no_other_page(db: Connection, rig: Rig, clocks: Clocks, say: Say) -> None:
    """Its bytes are kept once, and the window is read again until it is whole."""
    clocks.set(NOW)
    for n in range(3):
        say(inbounds(reply(n), end=b""), inbounds(reply(5)), inbounds())
        await rig.tick("inbound")
        clocks.move("10 minutes")
    assert stopped(db) == [number(5)]
    assert (len(kept(db)), alarms(db), read_until(db)) == (1, ["callback.unusable"], [None])

    say(inbounds(reply(7)))
    await rig.tick("inbound")
    assert stopped(db) == [number(5), number(7)]
    assert read_until(db) == [clocks.now()]


async def test_page_of_a_proxy_is_no_answer(db: Connection, rig: Rig, clocks: Clocks, say: Say) -> None:
    clocks.set(NOW)
    say(b"<html>", inbounds(reply(1)), inbounds())

    await rig.tick("inbound")

    assert (stopped(db), kept(db), read_until(db)) == ([], [], [None])


@pytest.mark.parametrize("asked", ["feed", "batch"])
async def test_unreadable_report_spares_others(db: Connection, rig: Rig, clocks: Clocks, say: Say, asked: str) -> None:
    clocks.set(NOW)
    ids = insert(db, 2)
    await rig.tick("dispatch")
    clocks.move("10 minutes")
    batch = str(column(db, "batch_id", ids[0])).encode()
    numbers = [number(n)[1:].encode() for n in range(2)]
    if asked == "batch":
        db.execute("update outbox_engine.dispatches set reconciliations = 3")
        lines = b'{"status":"Delivered","code":0,"recipients":["%b",7,"%b"]},{"status":["Delivered"]}' % tuple(numbers)
        say(b'{"type":"delivery_report_sms","batch_id":"%b","statuses":[%b]}' % (batch, lines))
    else:
        start = (
            b'{"type":"recipient_delivery_report_sms","batch_id":"%b","status":"Delivered","at":"2026-11-24T12:01:00Z",' % batch
        )
        items = [start + b'"recipient":"%b","operator":"Telef\xf3nica \\u0000"}' % one for one in numbers]
        say(b'{"count":4,"delivery_reports":[%b,{"type":7},%b,{x}]}' % tuple(items))

    await rig.tick("reconcile")

    assert [column(db, "status", row) for row in ids] == ["delivered", "delivered"]
    assert (len(kept(db)), alarms(db)) == (2, ["callback.unusable"])


async def test_full_report_that_cannot_be_read_is_kept(db: Connection, rig: Rig, clocks: Clocks, say: Say) -> None:
    clocks.set(NOW)
    insert(db)
    await rig.tick("dispatch")
    clocks.move("10 minutes")
    db.execute("update outbox_engine.dispatches set reconciliations = 3")
    say(b'{"type":"report_of_tomorrow"}')

    await rig.tick("reconcile")

    assert kept(db) == [b'{"type":"report_of_tomorrow"}']
