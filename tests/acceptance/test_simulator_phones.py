"""The simulator's phones in a browser."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from sandbox.simulator.server import Running, running
from tests.browser import browser, new_page
from tests.dashboards import assert_accessible

__all__ = ["browser"]
SENDER = "+12025550100"


@pytest.fixture
def simulator() -> Iterator[Running]:
    with running() as started:
        yield started


def send(simulator: Running, to: str, body: str) -> None:
    answer = httpx.post(
        f"{simulator.url}/xms/v1/{simulator.plan.id}/batches",
        headers={"authorization": f"Bearer {simulator.plan.token}"},
        json={"to": [to], "from": SENDER, "body": body},
        trust_env=False,
    )
    assert answer.is_success


def test_phones_show_new_texts_and_replies(simulator: Running, browser: Browser) -> None:
    send(simulator, "+14155550101", "<b>First</b>")
    with new_page(browser) as page:
        page.goto(f"{simulator.url}/_sim/phones")
        expect(page.locator("li p")).to_have_text(["<b>First</b>"])

        send(simulator, "+14155550102", "Second")
        expect(page.locator("h2")).to_have_text(["+14155550102", "+14155550101"])
        simulator.control.text_in(sender="+14155550101", to=SENDER, body="STOP")
        expect(page.locator("li.sent p")).to_have_text(["STOP"])
        expect(page.locator("h2")).to_have_text(["+14155550101", "+14155550102"])
        simulator.control.vonage.text_in(sender="+14155550103", to=SENDER, text="Where do we meet?")
        expect(page.locator("li.sent p")).to_have_text(["Where do we meet?", "STOP"])
        assert_accessible(page)


def test_phones_run_no_foreign_script(simulator: Running) -> None:
    policy = httpx.get(f"{simulator.url}/_sim/phones", trust_env=False).headers["content-security-policy"]

    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
