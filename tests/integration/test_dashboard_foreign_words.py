"""What apps, recipients and providers wrote, on every page: as text and not as markup, and for viewers without numbers."""

from datetime import UTC, datetime
from urllib.parse import quote

from psycopg.types.json import Jsonb

from dashboard.roles import Role
from dashboard.routes import SCREENS
from sandbox.local.stack import LocalStack
from tests.campaigns import campaign, member, template
from tests.engine import insert, number
from tests.integration.replies import text_in
from tests.integration.test_dashboard_access import PEOPLE, URL, client
from tests.stack import Connection

MARKUP = "<img src=x onerror=alert(1)>\"'--"
PHONE = number(1)
WORDS = f"{MARKUP} {PHONE}"
TEXT = f"hidden text {MARKUP}"
REASON = "told us by post"


def given(db: Connection) -> dict[str, str]:
    """Foreign words wherever some can be written. Returns the address of each screen that viewers read."""
    template(db, MARKUP, body=TEXT)
    campaign(db, MARKUP, template=MARKUP, schedule="once", starts_at=datetime.now(UTC))
    member(db, WORDS, n=2, to=MARKUP, parameters={})
    [message] = insert(db, body=TEXT, first=1, idempotency_key=WORDS, metadata=Jsonb({WORDS: WORDS}), campaign=MARKUP)
    insert(db, body=TEXT, first=1, secret=True)
    text_in(db, TEXT, phone=PHONE, name=MARKUP)
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, %s)", [PHONE, f"{REASON} {WORDS}"])
    db.execute("insert into public.outbox_senders values (%s, 'sinch', %s, '', %s)", [MARKUP, MARKUP, PHONE])
    db.execute("select public.outbox_pause('sinch', %s, null, null, %s)", [MARKUP, MARKUP])
    db.execute("insert into outbox_engine.alarms (at, kind, detail) values (now(), %s, %s)", [MARKUP, Jsonb({"text": WORDS})])
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "update public.outbox set status = 'failed', status_code = 404, error = %s, finalized_at = now() where id = %s",
            [WORDS, message],
        )
    found = db.execute(
        "select public.outbox_start_bulk('retry', %s, '{}') ->> 'id'",
        [Jsonb({"last_digits": PHONE[2:], "idempotency_key": WORDS, "metadata": {WORDS: WORDS}})],
    ).fetchone()
    assert found is not None
    filled = {
        "/messages/{id}": f"/messages/{message}",
        "/bulk/{id}": f"/bulk/{found[0]}",
        "/campaigns/{name:path}": f"/campaigns/{quote(MARKUP)}",
        "/conversation": f"/conversation?message={message}",
    }
    read = [one.path for one in SCREENS if one.method == "GET" and one.role == Role.VIEWER and one.path != "/live"]
    return {path: filled.get(path, path) for path in read}


async def test_foreign_words_stay_words(stack: LocalStack, db: Connection) -> None:
    addresses = given(db)
    await operator_reads_texts(stack, addresses)
    await viewer_reads_no_number(stack, addresses)


async def operator_reads_texts(stack: LocalStack, addresses: dict[str, str]) -> None:
    async with client(stack, identify=lambda _request: PEOPLE["operator"]) as asking:
        for path in (f"{addresses['/messages/{id}']}/text", "/replies/texts", addresses["/conversation"], "/campaign-preview"):
            text = (await asking.post(path, data={"name": MARKUP}, headers={"origin": URL})).text
            assert "hidden text" in text, path
            assert_no_markup(path, text)


async def viewer_reads_no_number(stack: LocalStack, addresses: dict[str, str]) -> None:
    """Nor a text, nor why an operator suppressed a number. A search by any of them would tell it as well."""
    async with client(stack, identify=lambda _request: PEOPLE["viewer"]) as asking:
        for path, address in addresses.items():
            answer = await asking.get(address)
            assert answer.status_code == 200, path
            assert_no_markup(path, answer.text)
            for hidden in (PHONE[2:9], "hidden text", REASON):
                assert hidden not in answer.text, (path, hidden)
        for words in (WORDS, f"phone={PHONE}"):
            found = await asking.get("/messages", params={"q": words}, follow_redirects=True)
            assert "Operators search by number" in found.text
            assert "<table" not in found.text
        guess = (await asking.get("/opt-outs", params={"reason": "no such words"})).text
        assert "+1200•••0101" in guess


def assert_no_markup(path: str, text: str) -> None:
    assert "<img" not in text, path
    assert "\"'--" not in text, path
