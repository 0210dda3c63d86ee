"""The screen Now, in a browser."""

from playwright.sync_api import Page, expect

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import commands
from tests.acceptance.test_run import environment
from tests.browser import browser
from tests.dashboards import assert_accessible, dashboard, dashboard_page, keep_screenshots
from tests.engine import insert
from tests.stack import Connection

__all__ = ["browser", "dashboard", "dashboard_page"]


def send(stack: LocalStack, sinch: Running) -> None:
    ran = commands.outbox("run", "--once", env=environment(stack, sinch))
    assert ran.returncode == 0, ran.stderr


def test_now_shows_work_and_pauses(stack: LocalStack, db: Connection, sinch: Running, dashboard_page: Page) -> None:
    insert(db, 3)
    send(stack, sinch)
    insert(db, 2, first=10)
    insert(db, 1, first=20, send_at="2030-01-01T00:00Z")
    dashboard_page.goto("/")

    tile = dashboard_page.locator(".tile").filter(has_text="Due")
    expect(tile).to_contain_text("2")
    dashboard_page.get_by_role("link", name="Pause…", exact=True).click()
    dashboard_page.get_by_label("For how long").select_option("1 hour")
    dashboard_page.get_by_label("Reason").fill("a test of +14155550123")
    dashboard_page.get_by_role("button", name="Pause").click()

    row = dashboard_page.get_by_role("row").filter(has_text=sinch.plan.id)
    expect(row).to_contain_text("paused")
    expect(row).to_contain_text("a test of +1415•••0123")
    assert_accessible(dashboard_page)
    keep_screenshots(dashboard_page, "now")

    dashboard_page.get_by_role("link", name="Resume…", exact=True).click()
    dashboard_page.get_by_role("button", name="Resume").click()
    expect(row).not_to_contain_text("paused")
