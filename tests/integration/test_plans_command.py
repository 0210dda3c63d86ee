"""`outbox plans`: what operators read about plans, and how they pin weights."""

import json

import pytest

from scheduler.cli import run_command_line
from tests.engine import insert, later, stand_still
from tests.shares import FIRST, SECOND, both_alive, pause, took, weigh
from tests.stack import Connection

pytestmark = pytest.mark.usefixtures("project")


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run_command_line(["plans", *arguments]) == code
    printed = capsys.readouterr()
    return printed.out if code == 0 else printed.err


def test_plans_say_what_they_carry(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    weigh(db, {FIRST: 100, SECOND: 0})
    both_alive(db)
    insert(db, 3)
    pause(db, FIRST, "account")
    took(db, SECOND, position=1)

    assert said(capsys).splitlines() == [
        "sinch p: is paused (account): HTTP 503 away",
        "  route default: weight 100; 0 in 10 minutes",
        "vonage app: can send",
        "  route default: stands by; 3 in 10 minutes",
    ]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (None, "waits until it can read the provider's list, see the log of `outbox run`"),
        ("account", "is paused (account): HTTP 503 away"),
    ],
)
def test_process_that_may_not_claim_is_running(
    db: Connection, capsys: pytest.CaptureFixture[str], kind: str | None, words: str
) -> None:
    """Such as one with a wrong token. Its other jobs tick."""
    both_alive(db)
    later(db, "2 minutes")
    if kind:
        pause(db, FIRST, kind)
    assert said(capsys).splitlines()[0] == "sinch p: has no running process"

    db.execute("select outbox_engine.record_heartbeat('recover', %s, %s, '')", FIRST)

    assert said(capsys).splitlines()[0] == f"sinch p: {words}"


def test_plans_are_read_by_programs(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    both_alive(db)

    first, second = json.loads(said(capsys, "--json"))["plans"]

    assert (first["provider"], first["cannot_send"], first["routes"][0]["weight"]) == ("sinch", None, 100)
    assert (second["provider"], second["routes"][0]["weight"]) == ("vonage", 0)


def test_weight_is_pinned_and_released(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    both_alive(db)

    assert said(capsys, "pin", "p", "--lost", "40", "--reason", "their status page") == (
        "sinch p is pinned: it has lost 40 points of its weight\n"
    )
    assert "route default: weight 100, now 60; 0 in 10 minutes" in said(capsys)
    assert "lost 40 points of its weight, pinned: pinned by an operator: their status page" in said(capsys)
    assert said(capsys, "release", "sinch:p") == (
        "sinch p is released: it has lost 40 points of its weight, and gets it back by 10 in 15 quiet minutes\n"
    )


def test_weight_is_pinned_for_one_country(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """Its new messages take a detour, on which the second plan carries everything."""
    both_alive(db)
    said(capsys, "pin", "p", "--lost", "100", "--country", "gb")

    assert db.execute("select route, without, country from outbox_engine.detours").fetchall() == [(0, [], "GB")]
    db.execute("insert into public.outbox (recipient, body) values ('+447700900123', 'hello'), ('+12025550100', 'hello')")
    db.execute("update public.outbox set route = 1 where recipient like '+44%'")
    assert took(db, SECOND, position=1) == 1
    assert took(db, FIRST, position=0) == 1


def test_retired_route_is_called_so(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """It looks as one that takes messages otherwise."""
    weigh(db, {FIRST: 70}, route=7)
    both_alive(db)
    db.execute("select public.outbox_remove_route('codes')")

    assert "  route codes (retired): weight 70; 0 in 10 minutes" in said(capsys).splitlines()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["pin", "nobody"], "no plan is called nobody: sinch:p, vonage:app"),
        (["pin", "p", "--country", "XX"], "'XX' is no country"),
        (["pin", "p", "--country", "Germany"], "'Germany' is no country"),
    ],
)
def test_wrong_pins_are_refused(db: Connection, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str) -> None:
    both_alive(db)

    assert why in said(capsys, *arguments, code=1)


def test_plan_is_paused_by_its_name_with_provider(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    both_alive(db)

    assert run_command_line(["pause", "--plan", "vonage:app", "--reason", "prices"]) == 0

    assert "paused: vonage app, operator: prices" in capsys.readouterr().out
    assert db.execute("select provider, plan from outbox_engine.plan_pauses").fetchall() == [("vonage", "app")]
    assert run_command_line(["resume", "--plan", "vonage:app"]) == 0
    assert db.execute("select count(*) from outbox_engine.plan_pauses").fetchone() == (0,)


def traced(capsys: pytest.CaptureFixture[str], row: int) -> list[str]:
    """What `outbox trace` says of why a message waits, and of its plans."""
    assert run_command_line(["trace", str(row)]) == 0
    facts = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    (at,) = (place for place, line in enumerate(facts) if line.startswith("waits"))
    return [" ".join(line.split()) for line in facts[at : at + 3]]


def test_trace_says_what_a_message_waits_for(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    weigh(db, {FIRST: 100, SECOND: 0})
    both_alive(db)
    (row,) = insert(db)
    (later_on,) = insert(db, send_at="2198-01-01T00:00Z", expires_at="2198-01-02T00:00Z")

    ready = traced(capsys, row)
    pause(db, FIRST, "account")
    pause(db, SECOND, "operator")
    stopped = traced(capsys, row)

    assert ready == [
        "waits for the next claim of a plan of its route",
        "plans sinch p (weight 100): can send",
        "vonage app (stands by): can send",
    ]
    assert stopped == [
        "waits for a plan: none of its route can send",
        "plans sinch p (weight 100): is paused (account): HTTP 503 away",
        "vonage app (stands by): is paused (operator): HTTP 503 away",
    ]
    assert traced(capsys, later_on)[0] == "waits until 2198-01-01 00:00:00Z"


def test_only_plan_is_called_paused(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """It notes no claims, because there is no other plan. Its heartbeat shows that a process runs."""
    stand_still(db)
    assert took(db, FIRST) == 0
    able = said(capsys)
    pause(db, FIRST, "account")

    assert able == "sinch p: can send\n  route default: weight 100; 0 in 10 minutes\n"
    assert said(capsys).startswith("sinch p: is paused (account)")
    later(db, "2 minutes")
    assert said(capsys).startswith("sinch p: has no running process")


def test_status_names_accounts(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """A process serves one of each provider."""
    both_alive(db)

    assert run_command_line(["status", "--days", "0"]) == 0

    screen = " ".join(capsys.readouterr().out.split())
    assert all(
        words in screen
        for words in ("dispatch (sinch p)", "dispatch (vonage app)", "w for sinch p claimed", "w for vonage app claimed")
    )


def test_forced_resume_says_what_comes_next(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """The pause of an account goes on until a message is accepted, also with --force."""
    both_alive(db)
    pause(db, SECOND, "account")

    assert run_command_line(["resume", "--plan", "vonage:app"]) == 0
    gently = capsys.readouterr().out
    assert run_command_line(["resume", "--plan", "vonage:app", "--force"]) == 0
    forced = capsys.readouterr().out

    assert gently.endswith("with --force, the next claim sends one message to find out at once\n")
    assert forced.startswith("no longer paused: vonage app, account")
    assert forced.endswith("the next claim sends one message, and others follow once it is accepted\n")


def test_plan_of_another_provider_is_refused(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["pause", "--plan", "vonage:app", "--provider", "sinch"]) == 2

    assert "--plan vonage:app is not of --provider sinch" in capsys.readouterr().err


def test_plans_count_what_takes_no_route(db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any route, and on detours."""
    both_alive(db)
    insert(db, 3)
    assert took(db, FIRST, position=0) == 3
    insert(db, 2, first=10)
    db.execute(
        "update public.outbox set route = outbox_engine.make_detour(0::smallint, '{sinch p}', null) where status = 'pending'"
    )
    assert took(db, SECOND, position=1) == 2

    lines = said(capsys).splitlines()

    assert lines[1] == "  route default: weight 100; 3 in 10 minutes"
    assert lines[3] == "  route default: stands by; 2 in 10 minutes"
