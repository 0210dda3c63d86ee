"""The screens Health and Audit, in a browser."""

import re

from playwright.sync_api import Browser, Page, expect

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import commands
from tests.acceptance.test_run import environment
from tests.browser import browser
from tests.dashboards import Served, assert_accessible, dashboard, dashboard_page, keep_screenshots, page_of
from tests.engine import insert
from tests.stack import Connection

__all__ = ["browser", "dashboard", "dashboard_page"]


def test_health_pins_and_audit_tells(
    stack: LocalStack, db: Connection, sinch: Running, browser: Browser, dashboard: Served, dashboard_page: Page
) -> None:
    insert(db, 1)
    settings = environment(stack, sinch)
    assert commands.outbox("run", "--once", env=settings).returncode == 0
    db.execute("select public.outbox_add_event_endpoint('shop', 'https://shop.example/hook')")
    db.execute("alter table public.outbox disable trigger user")
    page = dashboard_page
    page.goto("/health")
    expect(page.get_by_text("Triggers are disabled")).to_be_visible()
    db.execute("alter table public.outbox enable trigger user")
    page.reload()
    row = page.get_by_role("row").filter(has_text=sinch.plan.id)
    expect(row).to_contain_text("has no running process")
    assert_accessible(page)
    keep_screenshots(page, "health")

    row.get_by_role("link", name="Weight…").click()
    page.get_by_label("Points that it loses").fill("40")
    page.get_by_label("Reason").fill("a trial")
    assert_accessible(page)
    page.get_by_role("button", name="Pin").click()
    expect(row).to_contain_text("40 points")
    expect(row).to_contain_text("pinned")

    page.get_by_role("link", name="shop").click()
    page.get_by_role("button", name="Send failed ones again…").click()
    expect(page.get_by_text("0 failed events")).to_be_visible()

    assert commands.outbox("pause", "--reason", "noon", env=settings).returncode == 0
    page.goto("/audit")
    expect(page.get_by_role("row").filter(has_text="changed a weight")).to_contain_text("dashboard")
    expect(page.get_by_role("row").filter(has_text="paused")).to_contain_text("command")
    assert_accessible(page)
    keep_screenshots(page, "audit")
    page.get_by_label("Action").select_option("changed a weight")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("action=pin_plan"))
    expect(page.get_by_role("row")).to_have_count(2)

    with page_of(browser, dashboard, dashboard.viewer) as viewer:
        viewer.goto("/health")
        expect(viewer.get_by_role("link", name="Weight…")).to_have_count(0)
        viewer.goto("/audit?actor=nobody")
        expect(viewer.get_by_text("No entry matches.")).to_be_visible()
