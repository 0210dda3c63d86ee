"""The screen Now, in a browser."""

from playwright.sync_api import Browser, Page, expect

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import commands
from tests.acceptance.test_run import environment
from tests.browser import browser, new_page
from tests.dashboards import (
    PASSWORD,
    VIEWER_PASSWORD,
    Served,
    assert_accessible,
    dashboard,
    dashboard_page,
    keep_screenshots,
    page_of,
)
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


def test_live_page_follows_until_paused(stack: LocalStack, db: Connection, dashboard_page: Page) -> None:
    dashboard_page.goto("/")
    due = dashboard_page.locator(".tile").filter(has_text="Due").locator(".big")
    live = dashboard_page.locator("#live")
    expect(live).to_contain_text("Live")
    expect(due).to_have_text("0")

    insert(db, 2)
    expect(due).to_have_text("2")

    live.get_by_role("button", name="Pause").click()
    expect(live).to_contain_text("Paused")
    requests: list[str] = []
    dashboard_page.on("request", lambda request: requests.append(request.url))
    insert(db, 1, first=10)
    dashboard_page.reload()
    expect(live).to_contain_text("Paused")
    assert not [url for url in requests if url.endswith("/live")]
    expect(due).to_have_text("3")

    live.get_by_role("button", name="Resume").click()
    expect(live).to_contain_text("Live")


def test_dashboard_works_without_scripts(
    stack: LocalStack, db: Connection, sinch: Running, browser: Browser, dashboard: Served
) -> None:
    send(stack, sinch)
    with new_page(browser, base_url=dashboard.url, java_script_enabled=False) as page:
        page.goto("/")
        page.get_by_label("Password").fill(VIEWER_PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("row").filter(has_text=sinch.plan.id)).to_be_visible()
        expect(page.get_by_role("link", name="Pause…", exact=True)).to_have_count(0)
        page.get_by_role("button", name="Dark theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.get_by_role("button", name="Sign out").click()

        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Pause…", exact=True).click()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("row").filter(has_text=sinch.plan.id)).to_contain_text("until resumed")


def test_sign_in_page_is_accessible(browser: Browser, dashboard: Served) -> None:
    with page_of(browser, dashboard, {}) as page:
        page.goto("/sign-in")
        assert_accessible(page)
        keep_screenshots(page, "sign-in")
