"""Bulk actions from the dashboard: what the pages show and start, without a browser."""

import re

from dashboard.roles import Person, Role
from sandbox.local.stack import LocalStack
from tests.engine import insert
from tests.integration.test_dashboard_access import URL, client
from tests.stack import Connection

ADA = Person("ada@example.com", Role.OPERATOR)
ORIGIN = {"origin": URL}


def cancelled(db: Connection) -> int:
    return len(db.execute("select from public.outbox where status = 'cancelled'").fetchall())


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the form that starts the action."""
    form = page[page.index('method="post" action="/bulk/new"') :]
    found = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    return {name: value.replace("&#34;", '"') for name, value in found.items()}


async def test_action_does_what_its_preview_showed(stack: LocalStack, db: Connection) -> None:
    insert(db, 101)
    async with client(stack, identify=lambda _request: ADA) as asking:
        page = (await asking.get("/bulk/new", params={"action": "cancel", "status": "pending"})).text
        assert "<strong>101</strong> will be cancelled" in page
        insert(db, 1, first=101)
        form = fields(page)
        assert (await asking.post("/bulk/new", data={**form, "typed": "100"}, headers=ORIGIN)).status_code == 400
        assert cancelled(db) == 0

        started = await asking.post("/bulk/new", data={**form, "typed": "101"}, headers=ORIGIN)
        shown = ""
        while "finished" not in shown:
            shown = (await asking.get(started.headers["location"])).text
        assert "101 messages done" in shown
        assert cancelled(db) == 101
        history = (await asking.get("/bulk")).text

    assert "ada@example.com" in history
    row = db.execute("select actor, via from outbox_engine.bulk_actions").fetchone()
    assert row == ("ada@example.com", "dashboard")


async def test_altered_filter_starts_nothing(stack: LocalStack, db: Connection) -> None:
    """What cannot be read as a whole would take more messages than the preview showed, up to all of them."""
    insert(db, 1)
    async with client(stack, identify=lambda _request: ADA) as asking:
        for wrong in ("", "[]", "{}", '"all"', '{"below_id": 9, "newer": 1}', '{"statuses": ["pending"]}', "[" * 20_000):
            form = {"action": "cancel", "filter": wrong}
            assert (await asking.post("/bulk/new", data=form, headers=ORIGIN)).status_code == 400, wrong[:40]


async def test_unreadable_filter_starts_nothing(stack: LocalStack, db: Connection) -> None:
    insert(db, 1)
    async with client(stack, identify=lambda _request: ADA) as asking:
        page = await asking.get("/bulk/new", params={"action": "cancel", "status": "lost"})

    assert "lost is not a status" in page.text
    assert 'action="/bulk/new"' not in page.text
