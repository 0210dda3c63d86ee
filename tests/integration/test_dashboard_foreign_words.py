"""What apps, recipients and providers wrote, on every page: as text and not as markup, and for viewers without numbers."""

from datetime import UTC, datetime
from urllib.parse import quote

import httpx
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
    member(db, WORDS, to=MARKUP)
    keys = {"idempotency_key": WORDS, "metadata": Jsonb({WORDS: WORDS}), "campaign": MARKUP}
    [message] = insert(db, body=TEXT, first=1, **keys)
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


async def pages(asking: httpx.AsyncClient, addresses: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, address in addresses.items():
        answer = await asking.get(address)
        assert answer.status_code == 200, (path, answer.status_code)
        found[path] = answer.text
    return found


async def test_foreign_words_are_never_markup(stack: LocalStack, db: Connection) -> None:
    addresses = given(db)
    async with client(stack, identify=lambda _request: PEOPLE["operator"]) as asking:
        found = await pages(asking, addresses)
        for path in (f"{addresses['/messages/{id}']}/text", "/replies/texts", addresses["/conversation"], "/campaign-preview"):
            answer = await asking.post(path, data={"name": MARKUP}, headers={"origin": URL})
            assert "hidden text" in answer.text, path
            found[f"POST {path}"] = answer.text

    assert [path for path, text in found.items() if "<img" in text or "\"'--" in text] == []
    assert len([path for path, text in found.items() if "&lt;img" in text]) > len(found) / 2


async def test_viewer_reads_no_number_anywhere(stack: LocalStack, db: Connection) -> None:
    addresses = given(db)
    async with client(stack, identify=lambda _request: PEOPLE["viewer"]) as asking:
        found = await pages(asking, addresses)
        searches = [
            (await asking.get("/messages", params={"q": text}, follow_redirects=True)).text
            for text in (WORDS, PHONE, PHONE[1:], f"phone={PHONE}")
        ]
        guess = (await asking.get("/opt-outs", params={"reason": "no such words"})).text

    for path, text in found.items():
        assert PHONE[2:9] not in text, path
        assert "hidden text" not in text, path
        assert REASON not in text, path
    assert all("failed" not in text.partition("<table")[2] for text in searches)
    assert "+1201•••" not in guess
    assert "1200•••0101" in guess, "a viewer's search by reason would tell the reason"
