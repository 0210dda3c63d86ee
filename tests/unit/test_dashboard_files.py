"""The scripts of others that the dashboard serves: as their authors released them, with their licence."""

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "dashboard"
RELEASED = {
    "LICENSE.htmx.txt": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
    "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "hx-csp.min.js": "a7e1e6711ae6c3e50ad300fba7936cbe8d07599cdae313414a179ddd6b26e143",
}
"""SHA-256 of files of htmx.org 4.0.1, as npm serves it."""


def test_vendored_files_are_as_released() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (FOLDER / "static" / "vendor").iterdir()}

    assert found == RELEASED


def test_templates_keep_to_the_content_policy() -> None:
    """No inline script, style or handler; each htmx attribute that acts has the nonce beside it."""
    for path in (FOLDER / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|hx-on|javascript:|\|safe\b", text), path.name
        for tag in re.findall(r"<[a-z][^>]*\shx-(?:get|post|put|patch|delete|boost)[^>]*>", text):
            assert 'hx-nonce="{{ nonce }}"' in tag, (path.name, tag)
