"""Fixtures for tests of the dashboard: one dashboard and one browser for each module, on the worker's database.

Import ``browser``, ``dashboard`` and ``dashboard_page`` into the test file that needs them. Screenshots are kept in
``.screenshots/``, which git ignores.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, Page

from dashboard.app import Dashboard, create_dashboard
from jobs.gateway.operating import Operating
from jobs.runtime.dashboard import DashboardSettings
from sandbox.listening import listen
from sandbox.local.stack import LocalStack
from tests.browser import new_page
from tests.engine import supabase_settings

PASSWORD: Final = "correct horse battery"
VIEWER_PASSWORD: Final = "only for looking"
_ROOT: Final = Path(__file__).parents[1]
_AXE: Final = _ROOT / "sandbox" / "node" / "node_modules" / "axe-core" / "axe.min.js"
_SHOTS: Final = _ROOT / ".screenshots"
_WIDTHS: Final = (360, 1280)
_RULES: Final[dict[Literal["light", "dark"], object]] = {
    "light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    # Only this rule looks at colours.
    "dark": {"type": "rule", "values": ["color-contrast"]},
}


@dataclass(frozen=True, slots=True)
class Served:
    """A dashboard on this machine. ``cookies`` are those of an operator and of a viewer."""

    app: Dashboard
    url: str
    operator: dict[str, str]
    viewer: dict[str, str]

    def client(self, role: str = "operator") -> httpx.Client:
        """A client without a browser, signed in as this role, or as ``nobody``."""
        cookies = {"operator": self.operator, "viewer": self.viewer}.get(role, {})
        return httpx.Client(base_url=self.url, cookies=cookies, headers={"origin": self.url}, trust_env=False, timeout=30)


def dashboard_settings(**settings: Any) -> DashboardSettings:
    return DashboardSettings(_env_file=None, **settings)


@pytest.fixture(scope="module")
def dashboard(local_stack: LocalStack) -> Iterator[Served]:
    """The dashboard, with a password for operators and one for viewers."""
    settings = dashboard_settings(dashboard_password=PASSWORD, dashboard_viewer_password=VIEWER_PASSWORD)
    with serving(local_stack, settings) as (app, url):
        yield Served(app, url, _signed_in(url, PASSWORD), _signed_in(url, VIEWER_PASSWORD))


@pytest.fixture
def dashboard_page(browser: Browser, dashboard: Served) -> Iterator[Page]:
    """A page of an operator. The test fails for each error in the console, such as a violation of the content policy."""
    with page_of(browser, dashboard, dashboard.operator) as page:
        yield page


@contextmanager
def page_of(browser: Browser, dashboard: Served, cookies: dict[str, str], **options: Any) -> Iterator[Page]:
    """A page with these cookies, as ``dashboard_page`` is."""
    with new_page(browser, base_url=dashboard.url, **options) as page:
        page.context.add_cookies([{"name": name, "value": value, "url": dashboard.url} for name, value in cookies.items()])
        yield page


@contextmanager
def serving(stack: LocalStack, settings: DashboardSettings, **how: Any) -> Iterator[tuple[Dashboard, str]]:
    """Serve a dashboard in a thread of its own. Gives it and its address."""
    made: list[Dashboard] = []
    server: list[uvicorn.Server] = []
    ready = threading.Event()
    listener = listen("127.0.0.1", 0)

    async def serve() -> None:
        operating = await Operating.connect(supabase_settings(stack))
        # A machine that runs many tests at once takes longer than people wait.
        app = create_dashboard(settings, supabase_settings(stack), operating, **{"reading_seconds": 60.0, **how})
        made.append(app)
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        server.append(uvicorn.Server(config))
        ready.set()
        try:
            await server[0].serve(sockets=[listener])
        finally:
            await app.aclose()
            await operating.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="dashboard")
    thread.start()
    try:
        assert ready.wait(60)
        yield made[0], f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        made[0].live.close()
        server[0].should_exit = True
        thread.join()
        listener.close()


def assert_accessible(page: Page) -> None:
    """No violation of WCAG 2.2 AA, in light and dark, on a phone and on a desk; and nothing wider than the screen."""
    found: list[str] = []
    # Playwright runs what it evaluates beside the content policy.
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    for scheme, rules in _RULES.items():
        for width in _WIDTHS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 800})
            answer = page.evaluate("rules => axe.run(document, {runOnly: rules})", rules)
            for one in answer["violations"]:
                places = "; ".join(node["html"][:200] for node in one["nodes"][:3])
                found.append(f"{scheme} {width}: {one['id']}: {one['help']}: {places}")
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                found.append(f"{scheme} {width}: the page is {wide} wide")
    assert not found, "\n".join(found)


def keep_screenshots(page: Page, name: str) -> None:
    """Pictures of the whole page, in light and dark, on a phone and on a desk."""
    _SHOTS.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        for width in _WIDTHS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(path=_SHOTS / f"{name}-{scheme}-{width}.png", full_page=True)


def _signed_in(url: str, password: str) -> dict[str, str]:
    answer = httpx.post(f"{url}/sign-in", data={"password": password}, headers={"origin": url}, trust_env=False, timeout=60)
    assert answer.status_code == 303, answer.text
    return dict(answer.cookies)
