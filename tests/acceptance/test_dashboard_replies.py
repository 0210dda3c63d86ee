"""The screens of replies, conversations and opt-outs, in a browser."""

import re

from playwright.sync_api import Browser, Page, expect

from tests.browser import browser
from tests.dashboards import Served, assert_accessible, dashboard, dashboard_page, keep_screenshots, page_of
from tests.engine import insert
from tests.integration.replies import text_in
from tests.stack import Connection

__all__ = ["browser", "dashboard", "dashboard_page"]

PHONE = "+12005550101"


def test_operator_decides_replies(db: Connection, browser: Browser, dashboard: Served, dashboard_page: Page) -> None:
    insert(db, 1, first=1, body="Your table is ready")
    text_in(db, "Thank you", phone=PHONE, name="thanks")
    for name, phone in (("first", PHONE), ("second", "+12005550102"), ("third", "+12005550103")):
        text_in(db, "please stop these", phone=phone, name=name)
    db.execute("update public.outbox_inbound set unclear = (id <> 'thanks'), effect = null")
    page = dashboard_page
    page.goto("/replies")
    assert "please stop these" not in page.content()
    page.get_by_role("button", name="Show the texts").click()
    expect(page.get_by_text("please stop these")).to_have_count(3)
    expect(page.get_by_text("Thank you")).to_be_visible()
    page.goto("/replies")
    assert_accessible(page)
    keep_screenshots(page, "replies")

    page.get_by_label("Select the reply of +12005550102").check()
    page.get_by_label("Select the reply of +12005550103").check()
    page.get_by_role("button", name="Opt out", exact=True).click()
    assert db.execute("select count(*) from public.outbox_suppressions").fetchone() == (0,), "it asks first"
    assert_accessible(page)
    page.get_by_role("button", name="Opt out 2 replies").click()
    expect(page.get_by_role("heading", name="Decided")).to_be_visible()
    assert db.execute("select count(*) from public.outbox_suppressions").fetchone() == (2,)
    page.get_by_role("link", name="Back to the replies").click()
    page.get_by_label(f"Select the reply of {PHONE}").check()
    page.get_by_role("button", name="Not an opt-out").click()
    expect(page.get_by_text("No opt-out.")).to_be_visible()

    page.goto("/conversation?reply=thanks")
    assert PHONE not in page.url
    expect(page.get_by_role("link", name=re.compile(r"^Message \d+$"))).to_have_count(1)
    page.get_by_role("button", name="Show the texts").click()
    expect(page.get_by_text("Your table is ready")).to_be_visible()
    assert_accessible(page)
    keep_screenshots(page, "conversation")
    actions = {row[0] for row in db.execute("select action from outbox_engine.audit where via = 'dashboard'")}
    assert actions == {"show_replies", "decide_replies", "conversation"}

    with page_of(browser, dashboard, dashboard.viewer) as viewer:
        for path in ("/replies", "/conversation?reply=thanks", "/opt-outs"):
            viewer.goto(path)
            assert "20055501" not in viewer.content(), path
            expect(viewer.get_by_role("button", name="Show the texts")).to_have_count(0)


def test_operator_keeps_opt_outs(db: Connection, dashboard_page: Page) -> None:
    page = dashboard_page
    page.goto("/opt-outs/import")
    page.get_by_label("Numbers with +").fill("+12005550101\n+1 200 555 0102,said so\n0200 555 0103")
    page.get_by_role("button", name="Check the list").click()
    expect(page.get_by_text("Nothing is imported while lines are refused")).to_be_visible()
    page.get_by_label("Leave refused lines out").check()
    page.get_by_role("button", name="Check the list").click()
    assert db.execute("select count(*) from public.outbox_suppressions").fetchone() == (0,), "it was a dry run"
    assert_accessible(page)
    keep_screenshots(page, "opt-outs-import")
    page.get_by_role("button", name="Suppress 2 numbers").click()
    expect(page.get_by_text("2 numbers added")).to_be_visible()

    page.get_by_label("Number, in any spelling").fill("001 (200) 555-0102")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("said so")).to_be_visible()
    assert_accessible(page)
    keep_screenshots(page, "opt-outs")
    exported = page.request.get("/opt-outs/export").text()
    assert exported.splitlines()[0] == "recipient,reason,source,created_at"
    assert len(exported.splitlines()) == 3

    page.get_by_role("button", name="Remove +12005550102").click()
    assert "0102" not in page.url
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("The number gets messages again.")).to_be_visible()
    assert db.execute("select recipient from public.outbox_suppressions").fetchall() == [("+12005550101",)]
    assert db.execute("select actor, target from outbox_engine.audit where action = 'lift_suppression'").fetchall() == [
        ("operator", "…02")
    ]
