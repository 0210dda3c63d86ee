"""A real browser for tests of pages: Chromium of the machine, driven by Playwright.

Import ``browser`` and ``page`` into the test file that needs them. ``python -m tests.browser`` says which browser they find.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OF_MACOS: Final = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_ADVICE: Final = "no Chromium found: install one (Debian: `apt-get install chromium`), or set CHROMIUM to its path"
# Without them it calls home at its start and while it runs.
_QUIET: Final = ("--disable-background-networking", "--disable-component-update", "--disable-quic", "--disable-sync")
_PATIENCE_MS: Final = 60_000
"""For a page to load, and for what is expected on it: a machine that is busy needs longer than Playwright's five seconds."""


def executable() -> Path | None:
    """Chromium or Chrome: what the environment variable CHROMIUM names, or else the first one on this machine."""
    if named := os.environ.get("CHROMIUM"):
        return Path(named)
    found = [Path(path) for path in map(shutil.which, _NAMES) if path is not None]
    return next((path for path in (*found, _OF_MACOS) if path.exists()), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A new Chromium without a window. Without one the tests are skipped, but in CI they fail.

    One for each module: while Playwright runs, its thread counts as one with an event loop, and async tests cannot start one.
    """
    path = executable()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(_ADVICE)
        pytest.skip(_ADVICE)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        expect.set_options(timeout=_PATIENCE_MS)
        # Chromium has no sandbox for root.
        launched = playwright.chromium.launch(executable_path=path, args=_QUIET, chromium_sandbox=not is_root)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without cookies or history. The test fails for each error that the page throws or writes to its console."""
    with new_page(browser) as opened:
        yield opened


@contextmanager
def new_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page like ``page``, with these options of ``Browser.new_context``."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location['url']})")

    with browser.new_context(**options) as context:
        opened = context.new_page()
        opened.set_default_timeout(_PATIENCE_MS)
        opened.on("console", note)
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
    if errors:
        pytest.fail("\n".join(errors))


if __name__ == "__main__":
    sys.stdout.write(f"{executable() or _ADVICE}\n")
    sys.exit(executable() is None)
