"""`outbox events` and what `outbox status` says of endpoints, against a database."""

import asyncio
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.local.stack import LocalStack
from sandbox.receiver.server import receiving
from scheduler.cli import run_command_line
from tests.acceptance.test_operating import Operator
from tests.engine import Clocks, Rig, insert
from tests.stack import Connection

Ran = tuple[int, str, str]
Run = Callable[..., Ran]
URL = "https://app.example.com/hooks/outbox?key=" + "k" * 60
DOCUMENT = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
COMMANDS = ("list", "add", "set", "disable", "enable", "remove", "rotate", "test", "deliveries", "replay")
WRONG = (
    ("add orders http://app.example.com/", 2, "must begin with https://"),
    ("add orders https://10.0.0.1/", 2, "10.0.0.1, which is a private address"),
    ("add no_name! https://app.example.com/", 1, "is no name for an endpoint"),
    ("add taken https://app.example.com/", 1, "Change it with outbox events set"),
    ("add orders https://app.example.com/ --type message.sentt", 1, "message.sentt"),
    ("set taken", 2, "give what to change"),
    ("set nobody --all-types", 1, "nobody"),
    ("rotate nobody", 1, "nobody"),
    ("rotate taken --keep long", 2, "Write it as 90s"),
    ("test nobody", 1, "nobody"),
    ("deliveries --status lost", 2, "is none of pending"),
    ("deliveries --failed --status gone", 2, "give --failed or --status"),
    ("replay taken", 2, "name events by id, or a range with --since"),
    ("replay taken evt_1 --failed", 2, "narrow down --since"),
)
OF_TWO_TYPES = ["--type", "message.failed", "--type", "reply.received"]


@pytest.fixture
def outbox(project: None, db: Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in 80 columns: its exit code, and what it printed."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> Ran:
        code = run_command_line(["events", *words])
        said = capsys.readouterr()
        lines = [line for line in said.out.splitlines() if "secret: " not in line and "--json" not in words]
        assert max([0, *map(len, lines)]) <= 80
        return code, said.out, said.err

    return run


def said_json(ran: Ran) -> Any:
    assert (ran[0], ran[2]) == (0, "")
    return json.loads(ran[1])


def test_endpoints_are_added_listed_changed_removed(outbox: Run) -> None:
    assert outbox() == (0, "no endpoints: outbox events add NAME URL adds one\n", "")
    code, added, _ = outbox("add", "orders", URL)
    assert code == 0
    assert re.search(r"^secret: whsec_[A-Za-z0-9+/]{43}=$", added, re.MULTILINE)
    assert "outbox events test orders" in added

    listed = outbox()[1]
    assert "k" * 60 in listed.replace("\n", "").replace(" ", "")
    assert "all types but message.sent; numbers masked" in listed
    assert "0 waiting · none delivered yet" in listed
    assert outbox("list")[1] == listed

    assert outbox("set", "orders", *OF_TWO_TYPES, "--include-recipient") == (0, "endpoint orders is changed\n", "")
    assert outbox("disable", "orders")[1] == "endpoint orders is disabled\n"
    shown = " ".join(outbox()[1].split())
    assert "message.failed, reply.received; numbers in full" in shown
    assert "disabled by an operator" in shown
    assert outbox("enable", "orders")[1] == "endpoint orders is enabled\n"
    (one,) = said_json(outbox("--json"))["endpoints"]
    assert (one["name"], one["url"], one["disabled_at"], one["event_types"]) == ("orders", URL, None, OF_TWO_TYPES[1::2])
    assert outbox("replay", "orders", "evt_1")[:2] == (
        1,
        "0 events go to orders again\n1 left out: no such event, or it is not kept any more\n",
    )
    assert said_json(outbox("set", "orders", "--all-types", "--json"))["endpoint"]["event_types"] is None

    assert outbox("remove", "orders")[0] == 2  # nobody can be asked
    assert outbox("remove", "orders", "--yes") == (0, "endpoint orders is removed\n", "")
    assert said_json(outbox("list", "--json")) == {"endpoints": []}


def test_secrets_are_printed_once(outbox: Run) -> None:
    first = said_json(outbox("add", "orders", "https://app.example.com/", "--json"))["endpoint"]
    second = said_json(outbox("rotate", "orders", "--keep", "12h", "--json"))["endpoint"]
    code, rotated, _ = outbox("rotate", "orders")

    assert (code, set(first), set(second)) == (0, {"name", "url", "secret"}, {"name", "secret"})
    assert first["secret"] != second["secret"]
    assert "the old one signs as well for 24.0 h" in rotated
    assert "whsec_" not in outbox("list", "--json")[1]


def test_wrong_use_is_said_in_words(outbox: Run) -> None:
    outbox("add", "taken", "https://app.example.com/")

    for words, code, says in WRONG:
        ran = outbox(*words.split())
        assert (ran[0], len(ran[2].splitlines())) == (code, 1), words
        assert says in ran[2]


def test_help_fits_80_columns(outbox: Run) -> None:
    for command in ("", *COMMANDS):
        code, shown, _ = outbox(*command.split(), "--help")
        assert code == 0
        assert f"outbox events {command}".rstrip() in shown
    assert all(command in outbox("--help")[1] for command in COMMANDS)
    assert "..." not in outbox("--help")[1].partition("Commands:")[2]


def test_commands_of_document_are_right_usage(outbox: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTS_ALLOW_PRIVATE_NETWORKS", "1")
    lines = re.findall(r"^\$ outbox events(.*?)(?: #.*)?$", DOCUMENT, re.MULTILINE)

    ran = {line: outbox(*shlex.split(line)) for line in lines if not line.startswith(" test")}

    assert len(ran) > 8
    # There are no such events.
    assert {line: code for line, (code, _, _) in ran.items()} == {line: int("evt_" in line) for line in ran}


async def test_tested_listed_and_replayed(
    rig: Rig, clocks: Clocks, stack: LocalStack, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Operator(stack, COLUMNS="80", EVENTS_ALLOW_PRIVATE_NETWORKS="1")
    with receiving() as receiver:
        assert outbox("events", "add", "orders", f"{receiver.url}/hook").returncode == 0
        tested = await _while_ticking(rig, lambda: outbox("events", "test", "orders"))
        assert (tested.returncode, tested.stdout) == (0, "evt_n1 was delivered to orders: HTTP 204\n")
        receiver.answers = [500]
        refused = await _while_ticking(rig, lambda: outbox("events", "test", "orders"))
        assert refused.returncode == 1
        assert "evt_n2 was not delivered to orders: HTTP 500; next attempt at" in " ".join(refused.stdout.split())
        assert "failing since" in outbox("status").stdout

        insert(db, 2)
        db.execute("update public.outbox set status = 'cancelled'")
        clocks.move("10 seconds")
        await rig.tick("events")
        listed = outbox.json("events", "deliveries", "orders")["deliveries"]
        assert [one["type"] for one in listed] == ["message.cancelled"] * 2 + ["webhook.test"] * 2
        table = outbox("events", "deliveries").stdout
        assert max(map(len, table.splitlines())) <= 80
        assert all(one["event_id"] in table for one in listed)

        trial = outbox.json("events", "replay", "orders", "--since", "1h", "--dry-run")["replayed"]
        assert trial == {"count": 4, "left_out": {}, "dry_run": True}
        named = outbox("events", "replay", "orders", listed[0]["event_id"], "evt_999")
        assert named.stdout.splitlines() == [
            "1 event goes to orders again",
            "1 left out: no such event, or it is not kept any more",
        ]
        asked = outbox("events", "replay", "orders", "--since", "1h")
        assert (asked.returncode, "--yes agrees" in asked.stderr) == (2, True)
        await rig.tick("events")
        again = [one for one in receiver.events() if one.event_id == listed[0]["event_id"]]
        assert len(again) == 2
        assert outbox("events", "replay", "orders", "--since", "1h", "--yes").stdout == "4 events go to orders again\n"


async def _while_ticking(rig: Rig, run: Callable[[], Any]) -> Any:
    """Run a command while the events job ticks."""
    running = asyncio.create_task(asyncio.to_thread(run))
    while not running.done():
        await rig.tick("events")
        await asyncio.wait({running}, timeout=0.1)
    return await running
