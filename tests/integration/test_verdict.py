"""`outbox status --check`: whether messages go out and, if not, why, in one line and an exit code."""

import json
from typing import Any

import pytest

from scheduler.cli import run_command_line
from tests.engine import MakeRig, insert, later, stand_still
from tests.shares import FIRST, SECOND, both_alive, pause, took, weigh
from tests.stack import Connection, as_engine

pytestmark = pytest.mark.usefixtures("project")

Captured = pytest.CaptureFixture[str]
TOKEN = "HTTP 401 unauthorized"
SETTINGS = "SINCH_API_TOKEN and SINCH_SERVICE_PLAN_ID"


def check(capsys: Captured, *options: str) -> tuple[int, str]:
    code = run_command_line(["status", "--check", *options])
    (line,) = capsys.readouterr().out.splitlines()
    return code, line


def fields(capsys: Captured, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check(capsys, "--json", *options)[1])
    return found


def is_refused(db: Connection, reason: str = TOKEN) -> None:
    db.execute("select outbox_engine.pause_plan('sinch', 'p', 'account', 'c', %s, 60)", [reason])


def test_check_tells_silence_from_a_stop(db: Connection, capsys: Captured) -> None:
    assert check(capsys) == (1, "NOT SENDING: no scheduler has run yet, start `outbox run`")
    stand_still(db)
    took(db, FIRST)
    assert check(capsys) == (0, "sending")

    later(db, "6 minutes")
    assert check(capsys) == (1, "NOT SENDING: no scheduler for 6 min")
    assert check(capsys, "--every", "10m") == (0, "sending")
    assert check(capsys, "--every", "4m")[0] == 1

    took(db, FIRST)
    db.execute("select public.outbox_end_process('w')")
    later(db, "20 seconds")
    assert check(capsys) == (1, "NOT SENDING: the scheduler was stopped 20 s ago, start `outbox run`")
    assert check(capsys, "--every", "1m") == (0, "sending")


def test_pause_names_the_setting_to_change(db: Connection, capsys: Captured) -> None:
    stand_still(db)
    took(db, FIRST)
    is_refused(db)

    assert check(capsys) == (1, f"paused: {TOKEN}, check {SETTINGS}")
    found = fields(capsys)
    assert [found[name] for name in ("verdict", "works", "code", "setting")] == ["paused", False, "paused", SETTINGS]
    assert found["since"] is not None

    db.execute("delete from outbox_engine.plan_pauses")
    run_command_line(["pause", "--plan", "sinch:p", "--reason", "prices"])
    capsys.readouterr()
    assert check(capsys) == (1, "paused: prices, until `outbox resume`")


def test_new_token_ends_the_pause_for_operators(db: Connection, capsys: Captured) -> None:
    """Nothing need be due: the account was not refused under it. Without a process with it, the old pause counts."""
    stand_still(db)
    db.execute("select outbox_engine.pause_plan('sinch', 'p', 'account', 'old', %s, 60)", [TOKEN])
    took(db, FIRST)
    assert check(capsys) == (0, "sending")
    assert run_command_line(["status", "--days", "0"]) == 0
    assert "paused      no plan" in capsys.readouterr().out

    db.execute("update outbox_engine.heartbeats set credential = 'old'")
    assert check(capsys) == (1, f"paused: {TOKEN}, check {SETTINGS}")
    db.execute("update outbox_engine.heartbeats set credential = null")
    assert check(capsys)[0] == 1


def test_ended_pause_is_no_pause(db: Connection, capsys: Captured) -> None:
    """Nor does its scheduler send, if it was killed meanwhile."""
    stand_still(db)
    took(db, FIRST)
    is_refused(db)
    later(db, "55 seconds")
    assert fields(capsys)["code"] == "paused"
    later(db, "15 seconds")
    words = f"NOT SENDING: {TOKEN}, check {SETTINGS}; the pause is over, and"

    assert check(capsys) == (1, f"{words} the last sign of a scheduler was 70 s ago")
    found = fields(capsys)
    assert [found[name] for name in ("verdict", "code", "setting", "until")] == ["not_sending", "trying", SETTINGS, None]
    assert run_command_line(["status", "--json", "--days", "0"]) == 0
    (pause,) = json.loads(capsys.readouterr().out)["status"]["pauses"]
    assert (pause["probing"], pause["until"]) == (True, None)

    took(db, FIRST)
    assert check(capsys) == (1, f"{words} the next message tries it")
    later(db, "91 seconds")
    assert check(capsys) == (1, "NOT SENDING: no scheduler for 91 s")


TRIES = "NOT SENDING: HTTP 503 away; the pause is over, and the next message tries it"


@pytest.mark.parametrize(("seconds", "line"), [(2, "sending"), (12, TRIES), (70, "sending")])
def test_short_pauses_do_not_alarm(db: Connection, capsys: Captured, seconds: int, line: str) -> None:
    """A throttled plan pauses for a second again and again. A pause that was over for a minute says nothing."""
    stand_still(db)
    took(db, FIRST)
    pause(db, FIRST, "throttled", seconds=2)
    later(db, f"{seconds} seconds")

    assert check(capsys)[1] == line


def test_one_of_two_plans_sends_in_part(db: Connection, capsys: Captured) -> None:
    """That is an error only where messages wait that no plan may take."""
    weigh(db, {FIRST: 100, SECOND: 100})
    both_alive(db)
    is_refused(db)
    words = f"SENDING IN PART: sinch p paused: {TOKEN}, check {SETTINGS}; vonage app sends"
    assert check(capsys) == (0, words)

    db.execute("delete from public.outbox_route_plans where plan = 'app'")
    insert(db, 1)
    later(db, "121 seconds")
    took(db, SECOND, position=1)
    db.execute("update outbox_engine.heartbeats set at = outbox_engine.now()")
    tries = f"sinch p: {TOKEN}, check {SETTINGS}; the pause is over, and the next message tries it"
    stranded = "messages are due that no plan can take now"
    assert check(capsys) == (1, f"SENDING IN PART: {tries}; vonage app sends; {stranded}")

    is_refused_too = "select outbox_engine.pause_plan('vonage', 'app', 'account', 'c', 'HTTP 402 no money', 60)"
    db.execute(is_refused_too)
    assert check(capsys) == (1, f"NOT SENDING: {tries}; vonage app paused: HTTP 402 no money")


def test_silent_plan_is_named_beside_others(db: Connection, capsys: Captured) -> None:
    both_alive(db)
    later(db, "5 minutes")
    took(db, FIRST, position=0)

    assert check(capsys) == (0, "SENDING IN PART: sinch p sends; vonage app has no process for 5 min")
    db.execute("update outbox_engine.heartbeats set ended_at = at where plan = 'app'")
    assert check(capsys) == (0, "sending")


def test_waiting_for_the_list_is_no_silence(db: Connection, capsys: Captured) -> None:
    """Its other jobs go on. With a wrong token it has never claimed."""
    stand_still(db)
    db.execute("select outbox_engine.record_heartbeat('inbound', 'sinch', 'p', '')")
    code, line = check(capsys)
    assert (code, line.partition(", see")[0]) == (1, "NOT SENDING: sinch p waits until it can read the provider's list")

    db.execute("update outbox_engine.heartbeats set job = 'waiting'")
    assert "waits until it can read" in check(capsys)[1]
    assert run_command_line(["status", "--days", "0"]) == 0
    assert "dispatch (sinch p) 0 s ago" in capsys.readouterr().out
    db.execute("update outbox_engine.heartbeats set job = 'inbound'")

    took(db, FIRST)
    db.execute("select public.outbox_end_process('w')")
    later(db, "3 seconds")
    assert check(capsys)[1] == "NOT SENDING: the scheduler was stopped 3 s ago, start `outbox run`"
    db.execute("update outbox_engine.heartbeats set at = outbox_engine.now() where job = 'inbound'")
    assert "waits until it can read" in check(capsys)[1]
    db.execute("delete from outbox_engine.heartbeats where job = 'inbound'")
    is_refused(db)
    assert check(capsys) == (1, f"paused: {TOKEN}, check {SETTINGS}")
    later(db, "10 minutes")
    assert check(capsys)[1] == "NOT SENDING: the scheduler was stopped 10 min ago, start `outbox run`"
    took(db, FIRST)
    db.execute("delete from outbox_engine.plan_pauses")
    assert check(capsys) == (0, "sending")

    db.execute("update outbox_engine.heartbeats set job = 'recover', worker = ''")
    later(db, "100 seconds")
    assert check(capsys) == (1, "NOT SENDING: no scheduler for 100 s")


def test_stall_and_daily_cap_stop_all(db: Connection, capsys: Captured) -> None:
    stand_still(db)
    insert(db, 3)
    assert took(db, FIRST, rows=1) == 1
    later(db, "119 seconds")
    db.execute("update outbox_engine.heartbeats set at = outbox_engine.now()")
    assert check(capsys) == (0, "sending")
    later(db, "2 seconds")
    assert check(capsys) == (
        1, "NOT SENDING: messages are due for 2 min and no request is made, see the log of `outbox run`",
    )  # fmt: skip

    db.execute("update outbox_engine.plans set messages_per_day = 1")
    found = fields(capsys)
    assert [found[name] for name in ("verdict", "code", "setting")] == ["not_sending", "daily_cap", "MAX_MESSAGES_PER_DAY"]
    assert found["until"].endswith("T00:00:00+00:00")


def test_held_default_sender_is_part_of_it(db: Connection, capsys: Captured) -> None:
    stand_still(db)
    took(db, FIRST)
    (row,) = insert(db, 1)
    db.execute(
        "insert into outbox_engine.refused_contents (provider, plan, content, refusals, refusal_key, error, refused_at,"
        " claimed_at, held_since, by_sender, probe_at) values ('sinch', 'p', gen_random_uuid(), 3, 'k',"
        " 'HTTP 400 invalid from', now(), now(), now(), true, now())"
    )
    db.execute(
        "insert into outbox_engine.held_messages (outbox_id, provider, plan, content)"
        " select %s, provider, plan, content from outbox_engine.refused_contents",
        [row],
    )

    assert check(capsys) == (
        1, "SENDING IN PART: 1 message is held: HTTP 400 invalid from, check SINCH_FROM_NUMBER; sinch p sends",
    )  # fmt: skip
    as_engine(db, "update outbox_engine.refused_contents set error = 'HTTP 403 missing_callback_url'")
    assert fields(capsys)["setting"] == "SINCH_CALLBACK_URL"


def test_another_project_is_told_at_once(db: Connection, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_still(db)
    took(db, FIRST)
    db.execute("update outbox_engine.installation set hosts = '{abc.supabase.co}'")

    found = fields(capsys)

    assert [found[name] for name in ("verdict", "code", "setting")] == ["not_sending", "unbound", "SUPABASE_URL"]
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    code, line = check(capsys)
    assert (code, line.partition(" at ")[0]) == (
        1,
        "NOT KNOWN: Supabase does not answer: outbox_verdict: ConnectError All connection attempts failed",
    )


def test_status_begins_with_the_verdict(db: Connection, capsys: Captured) -> None:
    stand_still(db)
    took(db, FIRST)

    assert run_command_line(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "sending"
    assert run_command_line(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["line"] == "sending"


async def test_cut_off_drain_is_a_stop(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    await rig.tick("dispatch")

    await rig.engine.aclose()

    assert db.execute("select ended_at is not null from outbox_engine.heartbeats").fetchall() == [(True,)]


# A plan that is forgotten


def test_mistaken_plan_is_forgotten(db: Connection, capsys: Captured) -> None:
    stand_still(db)
    took(db, FIRST)
    insert(db, 1)
    took(db, ("sinch", "typo"))
    db.execute("update outbox_engine.dispatches set state = 'accepted', lookup_at = null")
    db.execute("select outbox_engine.pause_plan('sinch', 'typo', 'account', 'c', %s, 60)", [TOKEN])
    db.execute("select public.outbox_pause('sinch', 'tpyo', null, null, null)")
    assert run_command_line(["plans", "forget", "sinch:typo"]) == 1
    assert "a process sends for plan sinch:typo. Stop it" in capsys.readouterr().err
    later(db, "2 minutes")

    assert run_command_line(["plans", "forget", "sinch:typo"]) == 0
    assert capsys.readouterr().out == "sinch typo is forgotten, with 1 pause; the history of its messages stays\n"
    assert run_command_line(["plans", "forget", "Sinch:tpyo"]) == 0

    tables = ("plans", "plan_pauses", "plan_requests", "heartbeats")
    for table in tables:
        assert db.execute(f"select count(*) from outbox_engine.{table} where plan <> 'p'").fetchone() == (0,)
    assert run_command_line(["plans", "forget", "sinch:typo"]) == 1
    assert "plan sinch:typo is not known. outbox plans" in capsys.readouterr().err
    assert run_command_line(["plans", "forget", "typo"]) == 2


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("select 1", "has unfinished requests"),
        ("update outbox_engine.dispatches set state = 'ambiguous', lookup_at = now()", "has unfinished requests"),
        ("insert into outbox_engine.held_messages values (1, 'sinch', 'p', gen_random_uuid())", "messages are held"),
        ("select outbox_engine.pause_restored('sinch', 'p', 'restored')", "is paused since a restore"),
        ("insert into public.outbox_route_plans values (0, 'sinch', 'p', 100, 0)", "a route names plan"),
        ("insert into public.outbox_senders values ('Shop', 'sinch', 'p', '', '+12025550100')", "a sender has a name"),
        ("update outbox_engine.plans set messages_per_day = 9", "sent messages today that count"),
    ],
)
def test_plan_in_use_is_not_forgotten(db: Connection, capsys: Captured, statement: str, why: str) -> None:
    stand_still(db)
    insert(db, 1)
    took(db, FIRST)
    later(db, "2 minutes")
    if "unfinished" not in why:
        db.execute("update outbox_engine.dispatches set state = 'accepted', lookup_at = null")
    db.execute(statement)

    assert run_command_line(["plans", "forget", "sinch:p"]) == 1
    assert why in capsys.readouterr().err
    assert db.execute("select count(*) from outbox_engine.plans").fetchone() == (1,)
