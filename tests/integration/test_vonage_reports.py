"""Vonage's callbacks through the webhook app into the database: before the answer, repeated, reordered, late."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from jobs.gateway.gateway import Gateway
from jobs.gateway.values import Dispatch, Plan
from jobs.providers.vonage.codes import CODES, Stage
from tests.engine import column, history, insert, later, number
from tests.integration.webhook_app import settings
from tests.stack import Connection
from tests.unit.callback_samples import SECRET, VONAGE, encoded, vonage_headers
from webhook.app import create_app

PLAN = Plan(
    provider="vonage",
    plan="aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
    host="api.nexmo.com",
    credential="c",
    messages_per_second=None,
    requests_per_minute=1_000_000,
)
MESSAGE = "e4b5a2c0-1111-4222-8333-444455556666"


class Sender:
    """Vonage, as it calls the webhook app."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def say(self, dispatch: Dispatch | None, status: str, code: int | None = None, **changes: Any) -> None:
        """A status callback on the first number. Without a dispatch it carries no reference."""
        error = {} if code is None else {"error": {"type": f"https://developer.vonage.com/#{code}", "title": str(code)}}
        told = {"to": number(0)[1:], "message_uuid": MESSAGE, "client_ref": dispatch and dispatch.dispatch_id, "status": status}
        await self.send({**VONAGE.reported, **told, **error, **changes})

    async def reply(self, text: bytes = b"STOP", **changes: Any) -> None:
        said = {**VONAGE.said, "from": number(0)[1:], "text": "TEXT", **changes}
        await self.post(encoded(said).replace(b"TEXT", text))

    async def send(self, callback: object) -> None:
        await self.post(encoded(callback))

    async def post(self, raw: bytes) -> None:
        answer = await self._client.post("/webhooks/vonage/status", content=raw, headers=vonage_headers(raw))
        assert answer.status_code == 200


@pytest.fixture
async def vonage(gateway: Gateway) -> AsyncIterator[Sender]:
    app = create_app(settings(vonage_signature_secrets=SECRET), gateway)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://webhook") as client,
    ):
        yield Sender(client)


async def claim(gateway: Gateway) -> tuple[Dispatch, ...]:
    answer = await gateway.claim(
        PLAN,
        claim_id=str(uuid4()),
        worker="w",
        lease=30,
        deadline=10,
        max_dispatches=8,
        max_recipients=1,
        max_rows=100,
        allowed_destinations=None,
        share_texts=False,
    )
    return answer.dispatches


async def claimed(gateway: Gateway, db: Connection) -> tuple[int, Dispatch]:
    """A message, and the request that was claimed for it."""
    (row,) = insert(db)
    (dispatch,) = await claim(gateway)
    return row, dispatch


async def accept(gateway: Gateway, dispatch: Dispatch) -> None:
    await gateway.accept([(dispatch.dispatch_id, MESSAGE)], worker="w", lease=30, reconcile_after=300)


async def sent(gateway: Gateway, db: Connection) -> tuple[int, Dispatch]:
    row, dispatch = await claimed(gateway, db)
    await accept(gateway, dispatch)
    return row, dispatch


def suppressed(db: Connection) -> list[Any]:
    return [one for (one,) in db.execute("select recipient from public.outbox_suppressions").fetchall()]


async def test_each_message_is_a_request_of_its_own(gateway: Gateway, db: Connection) -> None:
    insert(db, 3)

    assert [len(dispatch.recipients) for dispatch in await claim(gateway)] == [1, 1, 1]


@pytest.mark.parametrize("order", list(itertools.permutations(["accepted", "submitted", "delivered"])), ids="-".join)
async def test_any_order_ends_as_delivered(vonage: Sender, gateway: Gateway, db: Connection, order: tuple[str, ...]) -> None:
    """The callback may overtake the answer to the request."""
    row, dispatch = await claimed(gateway, db)

    for event in (*order, *order):
        if event == "accepted":
            await accept(gateway, dispatch)
        else:
            await vonage.say(dispatch, event)

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("delivered", MESSAGE)
    assert sorted(history(db, row)).count("report") == 2
    assert db.execute("select count(*) from outbox_engine.duplicate_sends").fetchone() == (0,)


async def test_late_callback_resolves_an_ambiguous_request(vonage: Sender, gateway: Gateway, db: Connection) -> None:
    row, dispatch = await claimed(gateway, db)
    await gateway.mark_ambiguous(dispatch, "timeout", lookup_after=600)
    later(db, "71 hours")

    await vonage.say(dispatch, "delivered")

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("delivered", MESSAGE)


async def test_callback_without_a_reference_waits_for_its_message(vonage: Sender, gateway: Gateway, db: Connection) -> None:
    row, dispatch = await claimed(gateway, db)

    await vonage.say(None, "delivered")
    assert column(db, "status", row) == "sending"
    await accept(gateway, dispatch)
    await claim(gateway)

    assert column(db, "status", row) == "delivered"


@pytest.mark.parametrize(
    ("code", "status", "numbers"),
    [
        (1240, "rejected", [number(0)]),
        (1050, "rejected", []),
        (1210, "failed", []),
        (1360, "expired", []),
        (1120, "aborted", []),
    ],
)
async def test_code_decides_how_a_message_ends(
    vonage: Sender, gateway: Gateway, db: Connection, code: int, status: str, numbers: list[str]
) -> None:
    """Only 1240 is a STOP."""
    row, dispatch = await sent(gateway, db)

    await vonage.say(dispatch, "submitted")
    await vonage.say(dispatch, "rejected", code)

    assert (column(db, "status", row), column(db, "status_code", row)) == (status, code)
    assert CODES[code].meaning in column(db, "error", row)
    assert suppressed(db) == numbers


async def test_unknown_rejection_yields_to_delivered(vonage: Sender, gateway: Gateway, db: Connection) -> None:
    row, dispatch = await sent(gateway, db)

    await vonage.say(dispatch, "rejected", 1330)
    assert column(db, "status", row) == "unknown"
    await vonage.say(dispatch, "delivered")

    assert column(db, "status", row) == "delivered"


async def test_throttled_message_is_sent_again(vonage: Sender, gateway: Gateway, db: Connection) -> None:
    row, dispatch = await sent(gateway, db)

    await vonage.say(dispatch, "rejected", 1000)

    assert (column(db, "status", row), column(db, "attempts", row)) == ("pending", 1)


@pytest.mark.parametrize("waiting", [True, False])
@pytest.mark.parametrize("late", [True, False])
async def test_submitted_message_is_not_sent_again(
    vonage: Sender, gateway: Gateway, db: Connection, waiting: bool, late: bool
) -> None:
    """Vonage handed it on, whatever else it says, in any order. Its callbacks may also wait together for their message."""
    row, dispatch = await claimed(gateway, db)
    if not waiting:
        await accept(gateway, dispatch)

    said: list[tuple[str, int | None]] = [("submitted", None), ("rejected", 1000)]
    for status, code in reversed(said) if late else said:
        await vonage.say(None if waiting else dispatch, status, code)
    if waiting:
        await accept(gateway, dispatch)
        await claim(gateway)

    later(db, "1 hour")
    assert await claim(gateway) == ()
    assert (column(db, "status", row), column(db, "status_code", row)) == ("aborted", 1000)
    assert CODES[1000].meaning in column(db, "error", row)
    await vonage.say(dispatch, "delivered")
    assert column(db, "status", row) == "delivered"


@pytest.mark.parametrize("code", [1060, 1070, 1080])
async def test_trouble_of_the_account_pauses_until_disproved(
    vonage: Sender, gateway: Gateway, db: Connection, code: int
) -> None:
    row, dispatch = await sent(gateway, db)
    await vonage.say(dispatch, "rejected", code)
    insert(db, first=1)
    assert await claim(gateway) == ()

    later(db, "1 hour")
    (probe,) = await claim(gateway)
    await gateway.accept([(probe.dispatch_id, "another")], worker="w", lease=30, reconcile_after=300)
    await vonage.say(probe, "submitted", to=number(1)[1:], message_uuid="another")

    assert column(db, "status", row) == "aborted"
    assert db.execute("select count(*) from outbox_engine.plan_pauses").fetchone() == (0,)


@pytest.mark.parametrize(
    "text",
    [b"stop", rb"STOP\u0000", rb"STOP \ud83d", b"STOP \xf3", b"STOP\n", b"STOP\x00"],
    ids=["plain", "nul", "half", "byte", "line", "raw nul"],
)
async def test_stop_suppresses_the_number(vonage: Sender, db: Connection, text: bytes) -> None:
    for _ in range(2):
        await vonage.reply(text)

    assert suppressed(db) == [number(0)]
    assert db.execute("select provider, kind, recipient from public.outbox_inbound").fetchall() == [
        ("vonage", "text", "+14155550199")
    ]


async def test_stop_under_a_picture_suppresses_the_number(vonage: Sender, db: Connection) -> None:
    bare = {name: value for name, value in VONAGE.said.items() if name != "text"}
    picture = {"url": "https://example.org/1.jpg", "caption": "STOP"}

    await vonage.send({**bare, "from": number(0)[1:], "channel": "mms", "message_type": "image", "image": picture})

    assert suppressed(db) == [number(0)]


async def test_number_no_database_holds_loses_no_report(vonage: Sender, gateway: Gateway, db: Connection) -> None:
    """The database holds no such number, so the report is recorded without its raw text, and that is kept beside it."""
    row, dispatch = await sent(gateway, db)
    raw = json.dumps(VONAGE.report(recipient=number(0)[1:], id=MESSAGE, reference=dispatch.dispatch_id, usage=7)).encode()

    await vonage.post(raw.replace(b'"usage": 7', b'"usage": 1e999999'))

    assert column(db, "status", row) == "delivered"
    assert db.execute("select count(*) from outbox_engine.kept_callbacks").fetchone() == (1,)


def test_database_and_package_know_the_same_codes(db: Connection) -> None:
    rows = db.execute("select code, meaning from outbox_engine.report_codes where provider = 'vonage'").fetchall()

    assert set(rows) == {(code, known.meaning) for code, known in CODES.items()}


def test_effects_fit_the_stage_of_their_code(db: Connection) -> None:
    """Only a message that certainly never left may be sent again."""
    rows = db.execute("select effect, code from outbox_engine.report_codes where provider = 'vonage' and effect is not null")
    stages = {(effect, CODES[int(str(code))].stage) for effect, code in rows.fetchall()}

    assert stages == {("opt_out", Stage.BARRED), ("account", Stage.STOPPED), ("retry_unless_dispatched", Stage.STOPPED)}


def test_each_code_is_of_one_provider(db: Connection) -> None:
    """A report that waits for its batch names no provider."""
    assert db.execute("select code from outbox_engine.report_codes group by code having count(*) > 1").fetchall() == []
