"""The screen Delivery, in a browser."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser import browser
from tests.dashboards import Served, assert_accessible, dashboard, dashboard_page, keep_screenshots, page_of
from tests.stack import Connection

__all__ = ["browser", "dashboard", "dashboard_page"]

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def given_sums(db: Connection, *rows: tuple[Any, ...]) -> None:
    """Sums as the upkeep job counts them: days ago, country, plan, status, code, bucket of the delay, messages."""
    with db.cursor() as cursor:
        cursor.executemany(
            "insert into outbox_engine.hourly_figures (hour, country, plan, status, status_code, delay, messages, parts)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [(NOON - timedelta(days=row[0]), *row[1:], 2 * row[-1]) for row in rows],
        )


def test_delivery_shows_rates_and_reasons(db: Connection, browser: Browser, dashboard: Served, dashboard_page: Page) -> None:
    page = dashboard_page
    page.goto("/delivery")
    expect(page.locator(".empty")).to_contain_text("outbox run")
    assert_accessible(page)

    given_sums(
        db,
        *((day, "GB", "sinch:a", "delivered", 0, 1 + day % 3, 900 + 20 * day) for day in range(1, 7)),
        *((day, "US", "vonage:b", "delivered", 0, 4, 400 + 40 * day) for day in range(1, 7)),
        (2, "US", "vonage:b", "failed", 1210, None, 160),
        (3, "GB", "sinch:a", "failed", 402, None, 40),
        (1, None, None, "waiting", None, None, 7),
        (1, "=1+1", "sinch:a", "unknown", None, None, 3),
    )
    page.get_by_role("link", name="7 days").click()

    expect(page.locator(".tile").filter(has_text="Not delivered")).to_contain_text("200")
    by_code = page.get_by_role("region", name="By code")
    expect(by_code.get_by_role("row").filter(has_text="1210")).to_contain_text("takes the text for spam")
    expect(by_code.get_by_role("row").filter(has_text="402")).to_contain_text("Ask the recipient for the number again")
    british = page.get_by_role("region", name="By country").get_by_role("row").filter(has_text="GB")
    expect(british).to_contain_text("99.3 %")
    assert_accessible(page)
    keep_screenshots(page, "delivery")

    page.get_by_label("First day").fill(f"{NOON - timedelta(days=2):%Y-%m-%d}")
    page.get_by_label("Last day").fill(f"{NOON - timedelta(days=2):%Y-%m-%d}")
    page.get_by_label("In steps of").select_option("hour")
    page.get_by_role("button", name="Show these days").click()
    expect(page.locator(".tile").filter(has_text="Not delivered")).to_contain_text("160")

    with page_of(browser, dashboard, dashboard.viewer, timezone_id="Asia/Tokyo") as abroad:
        abroad.goto("/")
        abroad.goto("/delivery?window=7d")
        expect(abroad.get_by_text("Days are those of Asia/Tokyo")).to_be_visible()

    with dashboard.client("viewer") as client:
        answer = client.get("/delivery.csv", params={"window": "7d", "split": "country"})
        rows = {row["country"]: row for row in csv.DictReader(io.StringIO(answer.text))}
        assert answer.headers["content-disposition"].startswith("attachment")
        assert (rows["GB"]["not_delivered"], rows["GB"]["delivery_rate"]) == ("40", "0.9932")
        assert "'=1+1" in rows
        by_day = list(csv.DictReader(io.StringIO(client.get("/delivery.csv", params={"window": "7d"}).text)))
        assert [int(row["not_delivered"]) for row in by_day] == [0, 0, 0, 40, 160, 0, 0]
        for wrong in ({"window": "1y"}, {"by": "week"}, {"from": "tomorrow"}, {"from": "2026-02-01", "to": "2026-01-01"}):
            assert client.get("/delivery", params=wrong).status_code == 400, wrong
