"""The files of the dashboard: scripts of others as released, templates that keep to the content policy, and its extra."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from dashboard.pages.audit import ACTIONS

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


def test_audit_has_words_for_each_action() -> None:
    written = re.compile(r"audit_(?:change|outcomes)\(\s*'(\w+)'")
    schemas = (FOLDER.parent / "supabase" / "schemas").rglob("*.sql")
    found = {action for path in schemas for action in written.findall(path.read_text(encoding="utf-8"))}

    assert len(found) > 30
    assert found <= ACTIONS.keys()


def test_missing_extra_is_named() -> None:
    without = "import sys; sys.modules['jinja2'] = None; from scheduler.cli import main; sys.argv[1:] = ['dashboard']; main()"
    ended = subprocess.run([sys.executable, "-c", without], cwd=FOLDER.parent, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert ended.stderr == (
        "outbox: jinja2 is not installed, which the dashboard needs: pip install 'supabase-outbox[dashboard]'\n"
    )
