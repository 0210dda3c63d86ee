"""`outbox routes` and `outbox senders` against a database."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from scheduler.cli import run_command_line
from tests.engine import insert
from tests.routes import live, route_of
from tests.stack import Connection

Ran = tuple[int, str, str]
Run = Callable[..., Ran]
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def outbox(project: None, db: Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command: its exit code, and what it printed. Processes send for two plans."""
    monkeypatch.setenv("COLUMNS", "80")
    live(db, "sinch", KEY)
    live(db, "vonage", "app")

    def run(*words: str) -> Ran:
        code = run_command_line(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_routes_are_set_listed_and_removed(outbox: Run, db: Connection) -> None:
    (waiting,) = insert(db, priority=0)
    assert outbox("routes", "set", "codes", "--plan", f"sinch:{KEY}=70", "--plan", "vonage:app=30", "--below", "100") == (
        0,
        "route codes is set\n1 waiting message got another route\n",
        "",
    )
    moved = route_of(db, waiting)
    code, table, _ = outbox("routes")
    listed = json.loads(outbox("routes", "--json")[1])["routes"]
    asked = outbox("routes", "remove", "codes")
    removed = outbox("routes", "remove", "codes", "--yes", "--only-new")

    assert (code, moved, route_of(db, waiting)) == (0, "codes", "codes")
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(f"codes +sinch {KEY} +70\n +priority below 100 +vonage app +30\n +1 waiting\n+ *default", table)
    assert [(one["name"], one["waiting"], one["conditions"]["priority_below"]) for one in listed] == [
        ("codes", 1, 100),
        ("default", 0, None),
    ]
    assert (asked[0], removed[0]) == (2, 0)
    assert "it serves the messages that it has (1) until they are gone" in removed[1]
    assert "retired" in outbox("routes")[1]


def test_a_route_takes_every_option(outbox: Run, db: Connection) -> None:
    options = ["--country", "DE", "--country", "fr", "--from", "1", "--below", "50", "--channel", "mms", "--position", "7"]

    code, out, _ = outbox("routes", "set", "mine", "--plan", "vonage:app", *options, "--after-network-failure", "--json")

    assert code == 0
    route: dict[str, Any] = json.loads(out)["route"]
    assert (route["position"], route["after_network_failure"]) == (7, True)
    assert route["conditions"] == {
        "channel": "mms",
        "countries": ["DE", "FR"],
        "priority_from": 1,
        "priority_below": 50,
        "campaign": None,
    }


def test_refusals_are_one_line_with_advice(outbox: Run) -> None:
    code, out, err = outbox("routes", "set", "mine", "--plan", "vonage:other", "--channel", "sms")

    assert (code, out) == (1, "")
    assert err.startswith("outbox: no running process sends for plan vonage other. Plans with a process: sinch ")
    assert len(err.splitlines()) == 1


def test_absent_plans_are_allowed_and_shown(outbox: Run) -> None:
    code, out, _ = outbox("routes", "set", "mine", "--plan", "vonage:other", "--channel", "sms", "--allow-absent")

    assert code == 0
    assert "no running process serves route mine: 0 waiting" in out
    assert "no running process sends for plan vonage other" in outbox("routes")[1]


@pytest.mark.parametrize(
    "words",
    [
        ["routes", "set", "mine"],
        ["routes", "set", "mine", "--plan", "sinch"],
        ["routes", "set", "mine", "--plan", "sinch:", "--channel", "sms"],
        ["routes", "set", "mine", "--plan", "sinch:a", "--below", "40000"],
        ["senders", "set", "Acme", "--plan", "sinch:a=5", "--sender", "ACME"],
        ["senders", "set", "Acme", "--plan", "sinch:a", "--sender", "ACME", "--option", "entity_id"],
    ],
)
def test_wrong_usage_is_one_line(outbox: Run, words: list[str]) -> None:
    code, out, err = outbox(*words)

    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_sender_of_an_unknown_plan_is_refused(outbox: Run, db: Connection) -> None:
    """A plan that is misspelled would never use it. One that is known may be stopped."""
    words = ["senders", "set", "Acme", "--plan", "vonage:other", "--sender", "ACME"]

    code, out, err = outbox(*words)
    absent = outbox(*words, "--allow-absent")
    db.execute("delete from outbox_engine.heartbeats")
    db.execute("insert into public.outbox_route_plans values (0, 'vonage', 'ours', 100, 0)")
    stopped = outbox("senders", "set", "Acme", "--plan", "vonage:ours", "--sender", "ACME")

    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(
        f"outbox: no process has ever sent for plan vonage other. Known plans: sinch {KEY}, vonage app. --allow-"
    )
    assert (absent[0], stopped[0]) == (0, 0)


def test_ids_in_tables_are_not_broken(outbox: Run, db: Connection) -> None:
    """An id that is cut in two lines cannot be copied."""
    application, entity = "00000000-0000-4000-8000-000000000001", "1101000000000000000"
    live(db, "vonage", application)
    options = ["--option", f"entity_id={entity}", "--country", "IN"]
    outbox("senders", "set", "+12025550199", "--plan", f"vonage:{application}", "--sender", "+12025550100", *options)

    code, table, _ = outbox("senders")

    assert code == 0
    assert max(map(len, table.splitlines())) <= 80
    assert all(words in table for words in (f"vonage {application}", f"entity_id={entity}", "numbers of IN", "+12025550199"))


def test_senders_are_set_listed_and_removed(outbox: Run) -> None:
    empty = outbox("senders")[1]
    options = ["--country", "IN", "--country", "de", "--option", "entity_id=1101", "--option", "content_id=1107"]
    assert outbox("senders", "set", "Acme", "--plan", "vonage:app", "--sender", "ACMEIN", *options)[0] == 0
    assert outbox("senders", "set", "Acme", "--plan", f"sinch:{KEY}", "--sender", "+12025550100")[0] == 0
    table = outbox("senders")[1]
    removed = outbox("senders", "remove", "Acme", "--plan", "vonage:app", "--country", "DE", "--yes")
    again = outbox("senders", "remove", "Acme", "--plan", "vonage:app", "--country", "DE", "--yes")
    listed = json.loads(outbox("senders", "--json")[1])["senders"]

    assert "no aliases" in empty
    assert max(map(len, table.splitlines())) <= 80
    assert all(words in table for words in ("+12025550100", "entity_id=1101", "all others", "ACMEIN"))
    assert (removed[0], again[0]) == (0, 1)
    assert "'Acme' has no sender at plan vonage app for numbers of DE" in again[2]
    assert [(one["sender"], one["country"]) for one in listed] == [("+12025550100", ""), ("ACMEIN", "IN")]
