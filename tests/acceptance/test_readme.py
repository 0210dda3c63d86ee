"""The README's ten minutes as a newcomer goes through them, and what statements of other documents do."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg

from sandbox.local.processes import wait_until
from sandbox.local.stack import LocalStack
from tests.documents import ROOT, blocks, commands
from tests.stack import Connection

README = ROOT / "README.md"
INSERTING = ROOT / "docs" / "inserting.md"
LOCAL = ROOT / "docs" / "local.md"


def statement(document: Path, words: str) -> str:
    """The one SQL example that contains these words."""
    (found,) = [block.text for block in blocks(document, "sql") if words in block.text]
    return found


@contextmanager
def undone(db: Connection, undo: str) -> Iterator[None]:
    try:
        yield
    finally:
        db.execute(undo)


def test_the_statement_that_lets_signed_in_users_insert(stack: LocalStack, db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = '2026-12-01T00:00:00Z'")
    user = uuid4()
    headers = {"apikey": stack.publishable_key, "Authorization": f"Bearer {stack.sign_user_token(user)}"}

    def insert(**columns: str) -> httpx.Response:
        row = {"recipient": "+14155550123", "body": "Hello", **columns}
        return httpx.post(f"{stack.url}/rest/v1/outbox", headers=headers, json=row)

    assert insert().json()["code"] == "42501"
    with undone(db, "revoke insert on public.outbox from authenticated"):
        db.execute(statement(INSERTING, "grant insert"))
        assert insert(send_at="2026-12-24T12:00:00Z").status_code == 201
        for column, value in [("priority", "0"), ("owner_id", str(uuid4())), ("status", "delivered"), ("idempotency_key", "x")]:
            assert insert(**{column: value}).json()["code"] == "42501"

    assert db.execute("select owner_id from public.outbox").fetchall() == [(user,)]


def test_the_statement_that_publishes_changes(db: Connection) -> None:
    with undone(db, "drop publication supabase_realtime"):
        # Every Supabase project has one.
        db.execute("create publication supabase_realtime")
        db.execute(statement(INSERTING, "alter publication"))
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


def test_ten_minutes_bring_a_row_to_its_end(stack: LocalStack, tmp_path: Path) -> None:
    """The file, the three terminals and the SQL editor, with the URL, the key and the ports of this machine."""
    ports = {"8081": free_port(), "8080": free_port(), "http://127.0.0.1:54321": stack.url, "sb_secret_...": stack.secret_key}

    def here(text: str) -> str:
        for word, value in ports.items():
            text = text.replace(word, value)
        return text

    (settings,) = blocks(README, "sh")
    (tmp_path / ".env").write_text(here(settings.text) + "RECONCILE_INTERVAL_SECONDS=3600\n", encoding="utf-8")
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    terminals = next(block for block in blocks(README, "console") if "outbox simulator" in block.text)

    with ExitStack() as running, closing(psycopg.connect(stack.db_url, autocommit=True)) as editor:
        for words in commands(terminals):
            # Only the simulator is told its port; the webhook app has its default.
            port = ["--port", ports["8080"]] if words[1:] == ["webhook"] else []
            running.enter_context(started(*map(here, words[1:]), *port, env=clean, cwd=tmp_path))
        (row,) = editor.execute(statement(README, "insert into").encode()).fetchall()
        look = statement(README, "order by id desc").encode()
        assert wait_until(lambda: "delivered" in str(editor.execute(look).fetchall()), 60)
        sources = "select distinct source from outbox_events where outbox_id = %s and event = 'report'"
        assert editor.execute(sources, row).fetchall() == [("webhook",)]
        send_the_controls(ports["8081"])
        replied = "select true from outbox_inbound where body = 'STOP'"
        assert wait_until(lambda: editor.execute(replied).fetchone() is not None, 60)


def send_the_controls(port: str) -> None:
    """Those of docs/local.md."""
    calls = [words for block in blocks(LOCAL, "console") for words in commands(block) if words[0] == "curl"]
    assert calls
    for _, address, *body in calls:
        url = "http://" + re.sub(r":\d+", f":{port}", address)
        answer = httpx.post(url, content=body[1], trust_env=False) if body else httpx.get(url, trust_env=False)
        answer.raise_for_status()
