"""The screen of one message, in a browser."""

from playwright.sync_api import Browser, Page, expect

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import commands
from tests.acceptance.test_run import environment
from tests.browser import browser
from tests.dashboards import Served, assert_accessible, dashboard, dashboard_page, keep_screenshots, page_of
from tests.engine import insert, later
from tests.stack import Connection

__all__ = ["browser", "dashboard", "dashboard_page"]

TEXT = "Your table is ready"


def test_message_shows_its_whole_history(
    stack: LocalStack, db: Connection, sinch: Running, browser: Browser, dashboard: Served, dashboard_page: Page
) -> None:
    (number,) = insert(db, 1, body=TEXT, idempotency_key="table-42")
    settings = environment(stack, sinch)
    assert commands.outbox("run", "--once", env=settings).returncode == 0
    assert sinch.control.settle()
    later(db, "10 minutes")
    assert commands.outbox("run", "--once", env=settings).returncode == 0

    dashboard_page.goto(f"/messages/{number}")
    expect(dashboard_page.get_by_label("Status", exact=True)).to_contain_text("delivered")
    expect(dashboard_page.locator(".timeline")).to_contain_text("claimed")
    expect(dashboard_page.get_by_text("+12005550100", exact=True)).to_be_visible()
    assert TEXT not in dashboard_page.content()
    assert_accessible(dashboard_page)
    keep_screenshots(dashboard_page, "message")

    dashboard_page.get_by_role("button", name="Show the text").click()
    expect(dashboard_page.locator(".bubble")).to_have_text(TEXT)
    audited = db.execute("select actor, via, action from outbox_engine.audit").fetchall()
    assert ("operator", "dashboard") in [row[:2] for row in audited], audited

    with page_of(browser, dashboard, dashboard.viewer) as page:
        page.goto(f"/messages/{number}")
        expect(page.get_by_text("+1200•••0100", exact=True)).to_be_visible()
        assert "+12005550100" not in page.content()
        expect(page.get_by_role("button", name="Show the text")).to_have_count(0)
