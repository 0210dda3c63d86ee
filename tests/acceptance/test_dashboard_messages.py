"""The screens of messages and of actions on them, in a browser."""

from playwright.sync_api import Browser, Page, expect

from sandbox.local.stack import LocalStack
from tests.browser import browser
from tests.dashboards import Served, assert_accessible, dashboard, dashboard_page, keep_screenshots, page_of
from tests.engine import column, insert
from tests.stack import Connection

__all__ = ["browser", "dashboard", "dashboard_page"]

FAILED = 130
PERSON = "+447700900123"


def fail_yesterday(db: Connection) -> None:
    """Messages that a provider refused 20 hours ago, the first of them to one person."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, status_code, error, attempts,"
            " created_at, finalized_at)"
            " select case when n = 1 then %s else '+1415555' || lpad((n %% 100)::text, 4, '0') end, 'hello', t, t + interval"
            " '3 days', 100, 'rejected', 404, 'The phone of ' || '+14155550123 was away', 1, t, t"
            " from generate_series(1, %s) n cross join lateral (select now() - interval '20 hours') x (t)",
            [PERSON, FAILED],
        )


def waiting(db: Connection) -> int:
    row = db.execute("select count(*) from public.outbox where status = 'pending'").fetchone()
    assert row is not None
    return int(str(row[0]))


def look(page: Page, name: str) -> None:
    """Check and keep a screen, and go back to a desk's width."""
    assert_accessible(page)
    keep_screenshots(page, name)
    page.set_viewport_size({"width": 1280, "height": 800})


def find_person(page: Page) -> None:
    """By a number that is typed badly: brackets, a letter, no country code."""
    page.get_by_label("Find a message").fill("(07700) 9OO 123")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("No country code")).to_be_visible()
    page.get_by_label("Country of numbers without a code").select_option("GB")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text(f"was read as {PERSON}")).to_be_visible()
    keep_screenshots(page, "messages-number")
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("rowheader").get_by_role("link").click()
    expect(page.get_by_label("Status", exact=True)).to_contain_text("was away")
    expect(page.get_by_role("link", name="Retry…")).to_be_visible()
    expect(page.get_by_role("link", name="Cancel…")).to_have_count(0)
    page.go_back()


def page_through(page: Page) -> None:
    """All messages with one code, page by page."""
    page.get_by_role("link", name="code 404").click()
    expect(page.get_by_text(f"{FAILED} messages")).to_be_visible()
    page.get_by_role("link", name="Older →").click()
    page.get_by_role("link", name="Older →").click()
    expect(page.locator("tbody tr")).to_have_count(FAILED - 100)
    page.get_by_role("link", name="← Newer").click()
    expect(page.locator("tbody tr")).to_have_count(50)


def retry_all(page: Page, db: Connection) -> None:
    """What the list shows, after a look at what would happen."""
    page.get_by_role("link", name="Retry all…").click()
    expect(page.get_by_text(f"{FAILED} will be sent again")).to_be_visible()
    assert waiting(db) == 3
    look(page, "bulk-preview")
    # It came after the preview, so the action leaves it out.
    fail_yesterday(db)
    page.get_by_label(f"Type {FAILED} to confirm").fill(str(FAILED))
    page.get_by_role("button", name="Retry 130 messages").click()
    expect(page.get_by_role("status")).to_contain_text("finished")
    expect(page.get_by_role("status")).to_contain_text(f"{FAILED} messages done")
    assert waiting(db) == 3 + FAILED
    look(page, "bulk-action")
    audited = db.execute("select actor, via, action from outbox_engine.audit").fetchall()
    assert ("operator", "dashboard", "start_bulk") in audited
    assert ("operator", "dashboard", "retry") in audited

    page.get_by_role("link", name="All bulk actions").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    look(page, "bulk")


def test_operator_finds_and_retries_all(stack: LocalStack, db: Connection, dashboard_page: Page) -> None:
    fail_yesterday(db)
    insert(db, 3, first=50)
    page = dashboard_page
    page.goto("/")
    page.get_by_role("link", name="Messages", exact=True).click()
    expect(page.get_by_text("133 messages")).to_be_visible()
    look(page, "messages")

    find_person(page)
    page_through(page)
    retry_all(page, db)


def test_picked_messages_are_acted_on(
    stack: LocalStack, db: Connection, browser: Browser, dashboard: Served, dashboard_page: Page
) -> None:
    first, second, third = insert(db, 3)
    page = dashboard_page
    page.goto("/messages")
    page.get_by_label(f"Select message {first}").check()
    page.get_by_label(f"Select message {second}").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_text("2 will be cancelled")).to_be_visible()
    assert column(db, "status", first) == "pending"
    look(page, "messages-act")
    page.get_by_role("button", name="Cancel 2 messages").click()
    expect(page.get_by_text("2 cancelled")).to_be_visible()
    assert [column(db, "status", one) for one in (first, second, third)] == ["cancelled", "cancelled", "pending"]

    page.goto(f"/messages/{third}")
    page.get_by_role("link", name="Reschedule…").click()
    page.get_by_label("New time").fill("2150-01-01T09:00")
    page.get_by_role("button", name="Show what would happen").click()
    expect(page.get_by_text("1 will be moved")).to_be_visible()
    page.get_by_role("button", name="Reschedule 1 message").click()
    expect(page.get_by_label("Status", exact=True)).to_contain_text("scheduled")
    audited = db.execute("select action, target from outbox_engine.audit order by id").fetchall()
    assert audited == [("cancel", f"{first}, {second}"), ("reschedule_messages", str(third))]

    with page_of(browser, dashboard, dashboard.viewer) as viewer:
        viewer.goto("/messages?number=%2B12005550100")
        expect(viewer.get_by_role("alert")).to_contain_text("Operators search by number")
        viewer.goto("/messages")
        expect(viewer.get_by_text("+1200•••0100")).to_be_visible()
        assert "+12005550100" not in viewer.content()
        expect(viewer.get_by_role("checkbox")).to_have_count(0)


def test_test_message_is_sent_without_scripts(stack: LocalStack, db: Connection, browser: Browser, dashboard: Served) -> None:
    with page_of(browser, dashboard, dashboard.operator, java_script_enabled=False) as page:
        page.goto("/messages")
        page.get_by_role("link", name="Send a test…", exact=True).click()
        page.get_by_label("Number, with +").fill("07700 900123")
        page.locator("[name=body]").fill("Hello")
        page.get_by_role("button", name="Send it").click()
        expect(page.get_by_role("alert")).to_contain_text("recipient")
        page.get_by_label("Country, for a number").select_option("GB")
        page.get_by_role("button", name="Send it").click()
        expect(page.get_by_label("Status", exact=True)).to_contain_text("pending")
        keep_screenshots(page, "messages-new-sent")
        page.goto("/messages/new")
        keep_screenshots(page, "messages-new")
    row = db.execute("select recipient, body, metadata from public.outbox").fetchone()
    assert row == (PERSON, "Hello", {"test": True})
