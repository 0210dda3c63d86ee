"""The screens of campaigns, in a browser."""

from datetime import UTC, datetime, timedelta

from playwright.sync_api import Browser, Page, expect

from tests.browser import browser
from tests.campaigns import campaign, member, template
from tests.dashboards import Served, assert_accessible, dashboard, dashboard_page, keep_screenshots, page_of
from tests.engine import insert, number
from tests.stack import Connection

__all__ = ["browser", "dashboard", "dashboard_page"]

NAME = "spring sale/new & old"


def given_campaign(db: Connection) -> None:
    template(db)
    campaign(
        db, NAME, schedule="once", status="draft", starts_at=datetime.now(UTC) - timedelta(minutes=5), sender="+12025550100"
    )
    for n in range(1, 4):
        member(db, f"m{n}", n=n, to=NAME, parameters={"name": f"Ada {n}"})
    member(db, "opted-out", n=9, to=NAME)
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'asked by phone')", [number(9)])


def status_of(db: Connection) -> str:
    [[status]] = db.execute("select status from public.outbox_campaigns").fetchall()
    return str(status)


def viewer_sees_no_number(browser: Browser, dashboard: Served, url: str) -> None:
    with page_of(browser, dashboard, dashboard.viewer) as page:
        page.goto(url)
        expect(page.get_by_role("row").filter(has_text="m2")).to_contain_text("+1200•••0102")
        assert "+12005550102" not in page.content()
        expect(page.get_by_role("link", name="Stop…")).to_have_count(0)
        expect(page.get_by_role("button", name="Show the texts")).to_have_count(0)


def operator_reads_texts(page: Page) -> None:
    assert "Hello" not in page.content()
    page.get_by_role("button", name="Show the texts").click()
    expect(page.get_by_role("row").filter(has_text="m2")).to_contain_text("Hello Ada 2")


def test_operator_starts_pauses_and_stops_campaign(
    db: Connection, browser: Browser, dashboard: Served, dashboard_page: Page
) -> None:
    page = dashboard_page
    page.goto("/campaigns")
    expect(page.locator(".empty")).to_contain_text("outbox campaign import")
    assert_accessible(page)
    given_campaign(db)

    page.reload()
    keep_screenshots(page, "campaigns")
    page.get_by_role("link", name=NAME).click()
    expect(page.get_by_text("if it is started now")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="m2")).to_contain_text("+12005550102")
    operator_reads_texts(page)

    page.goto("/campaigns")
    page.get_by_role("link", name=NAME).click()
    page.get_by_role("link", name="Start…").click()
    expect(page.locator(".note").first).to_contain_text("messages")
    assert_accessible(page)
    keep_screenshots(page, "campaign-start")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("h1")).to_contain_text("active")
    assert status_of(db) == "active"

    insert(db, 3, first=20, campaign=NAME)
    page.get_by_role("link", name="Pause…").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1")).to_contain_text("paused")
    assert status_of(db) == "paused"
    assert_accessible(page)
    keep_screenshots(page, "campaign")

    viewer_sees_no_number(browser, dashboard, page.url)

    page.get_by_role("link", name="Stop…").click()
    expect(page.locator(".note")).to_contain_text("3 messages wait")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("h1")).to_contain_text("ended")
    assert db.execute("select status, count(*) from public.outbox group by 1").fetchall() == [("cancelled", 3)]
    expect(page.get_by_role("link", name="Start…")).to_have_count(0)
    audited = db.execute("select action, actor, via from outbox_engine.audit order by id").fetchall()
    assert audited == [(action, "operator", "dashboard") for action in ["show_preview", *["switch_campaign"] * 3]]
