"""`outbox campaign` as an operator runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.local.stack import LocalStack
from tests import commands
from tests.commands import Ran
from tests.engine import Clocks, Rig, statuses
from tests.stack import Connection

NOW = "2026-10-23 12:00+00"
HEADER = "external_id,recipient,timezone,event_at,name\n"
FULL = HEADER.encode()


@pytest.fixture(autouse=True)
def campaign(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    db.execute("insert into public.outbox_templates (name, body) values ('hi', 'Hello {{name}}')")
    db.execute(
        "insert into public.outbox_campaigns (name, template, schedule, offsets)"
        " values ('c', 'hi', 'reminder', '{-1 day,-1 hour}')"
    )


@pytest.fixture
def outbox(stack: LocalStack, tmp_path: Path) -> Any:
    def run(*arguments: str, **env: str) -> Ran:
        environment = {**stack.env, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), **env}
        return commands.outbox("campaign", *arguments, env=environment, cwd=tmp_path)

    return run


def members(db: Connection) -> list[Any]:
    return db.execute(
        "select external_id, recipient, to_char(event_at at time zone 'utc', 'MM-DD HH24:MI'), parameters"
        " from public.outbox_campaign_members order by 1"
    ).fetchall()


def test_import_reads_local_times_and_updates_changed_members(outbox: Any, db: Connection, tmp_path: Path) -> None:
    """A second import of the file changes only the members whose lines changed."""
    file = tmp_path / "m.csv"
    file.write_text(
        "\ufeff" + HEADER + "a,+4915112345678,Europe/Berlin,2026-10-25T02:30,Ada\n"
        "b,+12015550101,UTC,2026-10-27T09:00Z,\u00c9va\n",
        encoding="utf-8",
    )
    ran = outbox("import", "c", "m.csv")
    assert (ran.returncode, ran.stdout) == (0, "2 added, 0 changed, 0 unchanged, 0 refused\n"), ran.stderr
    assert members(db) == [
        ("a", "+4915112345678", "10-25 00:30", {"name": "Ada"}),
        ("b", "+12015550101", "10-27 09:00", {"name": "\u00c9va"}),
    ]

    file.write_text(
        file.read_text(encoding="utf-8").replace("T09:00Z", "T10:00Z") + "d,+12015550102,UTC,2026-10-28 12:00,Dan\n"
    )
    assert "1 would be added, 1 would be changed, 1 unchanged" in outbox("import", "c", "m.csv", "--dry-run").stdout
    assert len(members(db)) == 2
    ran = outbox("import", "c", "m.csv", "--json")
    assert json.loads(ran.stdout)["imported"] == {"added": 1, "changed": 1, "unchanged": 1}
    assert [row[2] for row in members(db)] == ["10-25 00:30", "10-27 10:00", "10-28 12:00"]


def test_every_refused_line_is_reported_before_importing(outbox: Any, db: Connection, tmp_path: Path) -> None:
    """Nothing is imported from a file with refused lines unless --partial is given."""
    (tmp_path / "m.csv").write_text(
        HEADER
        + "ok,+12015550101,UTC,2026-10-27T09:00Z,Ada\n"
        + "x,0151,UTC,2026-10-27T09:00Z,Ada\n"
        + "x,+12015550102,Mars/Base,2026-10-27T09:00Z,Ada\n"
        + "x,+12015550102,UTC,tomorrow,Ada\n"
        + "x,+12015550102,UTC,2026-10-27T09:00Z,\n"
        + "ok,+12015550103,UTC,2026-10-27T09:00Z,Ada\n"
        + "x,+12015550102,UTC\n"
        + "x,+12015550102,UTC,,Ada\n"
        + "x,+12015550102,,2026-10-27T09:00,Ada\n"
        + "x,+12015550102,UTC,2026-12-01,Ada\n"
        + "x,+12015550102,UTC,20261201,Ada\n"
        + "x,+12015550102,UTC,2026-12-01T09:00:00+05:30:15.5,Ada\n"
        + "x,+12015550102,UTC,2026-12-01T09:00+23:00,Ada\n"
        + f"{'x' * 201},+12015550102,UTC,2026-12-01T09:00,Ada\n"
        + "x,+12015550102,UTC,9999-12-01T09:00,Ada\n"
    )
    ran = outbox("import", "c", "m.csv")

    assert ran.returncode == 1
    said = ran.stderr.splitlines()
    for line, why in {
        3: "neither + nor 00 before its country code",
        4: "timezone 'Mars/Base'",
        5: "event_at 'tomorrow' is not a time",
        6: "placeholder {{name}}",
        7: "external_id 'ok' is on line 2 already",
        8: "3 fields where the first line names 5",
        9: "no event_at",
        10: "no timezone",
        11: "event_at '2026-12-01' is a day without a time",
        12: "event_at '20261201' is a day without a time",
        13: "event_at '2026-12-01T09:00:00+05:30:15.5' is not a time",
        14: "event_at '2026-12-01T09:00:00+23:00' is not a time",
        15: "external_id 'xxxxxxxxxxxxxxxxxxxx…' has 201 characters, 200 are allowed",
        16: "event_at '9999-12-01T09:00:00' is not between 1970 and 2200",
    }.items():
        assert any(text.startswith(f"line {line}: ") and why in text for text in said), (line, ran.stderr)
    assert "14 lines were refused" in said[-1]
    assert members(db) == []

    assert outbox("import", "c", "m.csv", "--partial").returncode == 0
    assert [row[0] for row in members(db)] == ["ok"]
    assert db.execute("select count(*) from outbox_engine.campaign_import_lines").fetchone() == (0,)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"number,name\n1,2\n", "m.csv: the first line must name the columns; external_id not found in: number, name"),
        (b"external_id,recipient,timezone,event_at,nmae\n", "m.csv: column 'nmae' is no placeholder of template 'hi'; the cl"),
        (b"external_id,recipient,timezone,event_at\n", "m.csv: no column for {{name}} of template 'hi'"),
        (b"external_id,recipient,timezone,name\n", "m.csv: no column event_at, which reminders are sent around"),
        (b"external_id,recipient,event_at,name\n", "m.csv: no column timezone, and the campaign has none either; an offset"),
        (b"", "the first line must name the columns"),
        (b"external_id,recipient,name,name\n", "column name is there twice"),
        (FULL + b"\xff,1\n", "is not UTF-8"),
        (FULL + b'a,"+12015550101\nb,+12015550102,B\n', "line 2: a quote is opened and never closed"),
        (b"external_id;recipient;name\na;+12015550101;A\n", "line 1: its columns are separated by semicolons"),
    ],
)  # fmt: skip
def test_unreadable_member_file_is_refused_as_a_whole(
    outbox: Any, db: Connection, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    ran = outbox("import", "c", "m.csv")
    assert ran.returncode == 1
    assert says in ran.stderr
    assert members(db) == []
    assert db.execute("select count(*) from outbox_engine.campaign_imports").fetchone() == (0,)


async def test_preview_start_pause_report_and_stop(
    outbox: Any, db: Connection, tmp_path: Path, rig: Rig, clocks: Clocks
) -> None:
    (tmp_path / "m.csv").write_text(
        HEADER
        + "ada,+4915112345678,Europe/Berlin,2026-10-24T15:00,Ada\n"
        + "bob,+12015550101,America/New_York,2026-10-24T09:30,Bob\n"
        + "eve,+12015550102,UTC,2026-10-24T13:30,Eve\n"
    )
    outbox("import", "c", "m.csv")
    db.execute("insert into public.outbox_suppressions (recipient, reason) values ('+12015550102', 'STOP')")
    shown = outbox("preview", "c")
    assert shown.returncode == 0, shown.stderr
    assert "3 members, 4 messages to come, 4 parts" in shown.stdout
    assert "Fri 2026-10-23 09:30" in shown.stdout
    assert "2 will not go: the recipient opted out: STOP" in shown.stdout
    assert "+12015550101" not in shown.stdout
    shown = json.loads(outbox("preview", "c", "--json", "--max-rows", "1").stdout)
    assert [(row["external_id"], row["body"]) for row in shown["rows"]] == [("ada", "Hello Ada")]
    assert {country["name"]: country["parts"] for country in shown["costs"]["countries"]} == {"DE": 2, "US": 2}

    asked = outbox("start", "c")
    assert asked.returncode == 2
    assert "4 messages of 4 parts to 3 members" in asked.stderr
    assert "c is active (it was draft)" in outbox("start", "c", "--yes").stdout
    clocks.move("2 hours")
    await rig.tick("campaigns", "dispatch")
    clocks.move("20 hours 30 minutes")
    held = outbox("pause", "c").stdout
    assert held == "c is paused (it was active); nothing more goes out until it is started again\n"
    assert "2026-10-24 12:00" in outbox("list").stdout
    assert json.loads(outbox("list", "--json").stdout)["campaigns"][0]["status"] == "paused"
    outbox("start", "c", "--yes")
    db.execute("update public.outbox_campaigns set window_start = '17:00', window_end = '18:00', late_limit = '3 days'")
    db.execute("update public.outbox_campaign_members set event_at = event_at + interval '1 day' where external_id = 'ada'")
    await rig.tick("campaigns", "dispatch")
    waiting = statuses(db).get("scheduled", 0)
    assert f"{waiting} waiting message" in outbox("stop", "c", "--yes").stdout
    assert "scheduled" not in statuses(db)

    report = outbox("report", "c", "--svg", "r.svg")
    assert report.returncode == 0, report.stderr
    assert "the recipient opted out: STOP" in report.stdout
    assert "sent over time" in report.stdout
    assert (tmp_path / "r.svg").read_text().startswith("<svg")
    figures = json.loads(outbox("report", "c", "--json").stdout)
    assert figures["sent"] == 2
    assert sum(step["sent"] for step in figures["timeline"]) == 2


def test_ending_a_campaign_requires_confirmation(outbox: Any, db: Connection) -> None:
    asked = outbox("stop", "c")

    assert asked.returncode == 2
    assert "End c for good" in asked.stderr
    assert db.execute("select status from public.outbox_campaigns").fetchall() == [("draft",)]


def test_preview_marks_times_of_members_without_zone(outbox: Any, db: Connection) -> None:
    db.execute("update public.outbox_campaigns set offsets = '{-1 hour}'")
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)"
        " select 'c', 'm' || coalesce(zone, ''), '+12015550101', zone, '2026-10-27 12:00+00', '{\"name\": \"Ada\"}'"
        " from unnest(array['Europe/Berlin', null]) zone"
    )
    shown = outbox("preview", "c").stdout
    assert "Tue 2026-10-27 12:00 " in shown
    assert "Tue 2026-10-27 11:00 UTC" in shown


def test_preview_and_start_name_costly_characters(outbox: Any, db: Connection) -> None:
    """These characters are not in GSM-7, so each part of the text holds 70 characters instead of 160."""
    names = ["Ada", "O’Hara", "Zoe", "D’Arcy", "语"]
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)"
        " select 'c', 'm' || place, '+1201555010' || place, 'UTC', '2026-10-27', jsonb_build_object('name', name)"
        " from unnest(%s::text[]) with ordinality n (name, place)",
        [names],
    )
    apostrophe = (
        "'’' is not in GSM-7, so in 4 texts, such as member 'm2' gets, a part holds 70 characters instead of 160;"
        " plain = true replaces look-alikes"
    )
    letter = "'语' is not in GSM-7, so in 2 texts, such as member 'm5' gets, a part holds 70 characters instead of 160"
    shown = json.loads(outbox("preview", "c", "--json").stdout)
    assert shown["costs"]["warnings"] == [apostrophe, letter]
    for command in ("preview", "start"):
        ran = outbox(command, "c")
        assert " ".join(f"{apostrophe} {letter}".split()) in " ".join((ran.stdout + ran.stderr).split()), command

    db.execute("update public.outbox_templates set body = 'Hello {{name}} at {place}'")
    shown = json.loads(outbox("preview", "c", "--json").stdout)
    assert shown["costs"]["warnings"] == [
        "template 'hi': {place} is no placeholder and goes out as it stands; one is written {{place}}",
        apostrophe,
        letter,
    ]

    db.execute("update public.outbox_templates set body = 'It’s time, {{name}}'")
    warning = (
        "template 'hi': '’' at character 3 is not in GSM-7, so a part holds 70 characters instead of 160;"
        " plain = true replaces look-alikes"
    )
    assert json.loads(outbox("start", "c", "--yes", "--json").stdout)["warnings"] == [warning]


@pytest.mark.parametrize(
    ("running", "own", "warning"),
    [
        ([], "US", "US here, but no scheduler has run yet"),
        (["US"], "US,CA", "CA,US here, but the schedulers use US"),
        ([None], "US", "US here, but the schedulers use all"),
        (["US,CA", None], "US", "the running schedulers differ in ALLOWED_COUNTRIES and ALLOWED_RECIPIENTS (CA,US; all)"),
        (["CA,US"], "US,CA", ""),
        (["US"], "", ""),
    ],
)
def test_preview_warns_where_other_countries_are_allowed_here(
    outbox: Any, db: Connection, running: list[str | None], own: str, warning: str
) -> None:
    for place, countries in enumerate(running):
        db.execute(
            "select outbox_engine.record_heartbeat('dispatch', 'sinch', 'plan', %s, string_to_array(%s, ','))",
            [f"worker {place}", countries],
        )
    ran = outbox("preview", "c", "--json", ALLOWED_COUNTRIES=own)
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["campaign"] == "c"
    assert (warning in ran.stderr) if warning else ran.stderr == ""


def test_campaign_with_a_missing_parameter_does_not_start(outbox: Any, db: Connection) -> None:
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)"
        " values ('c', 'ada', '+12015550101', 'UTC', '2026-10-27', '{\"name\": \"Ada\"}')"
    )
    db.execute("update public.outbox_templates set body = 'Hello {{name}} at {{place}}'")
    ran = outbox("start", "c", "--yes")
    assert ran.returncode == 1
    assert "{{place}}" in ran.stderr
    assert "'ada'" in ran.stderr
    assert "does not exist" in outbox("pause", "nobody").stderr


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("draft", "c is a draft: this is what would go out if it were started now"),
        ("active", "c is active"),
        ("paused", "c is paused: this is what would go out if it went on now"),
        ("ended", "c is ended: nothing will go out"),
    ],
)
def test_a_preview_begins_with_how_the_campaign_stands(outbox: Any, db: Connection, status: str, says: str) -> None:
    db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)"
        " values ('c', 'ada', '+12015550101', 'UTC', '2026-10-27', '{\"name\": \"Ada\"}')"
    )
    db.execute("update public.outbox_campaigns set status = %s", [status])
    shown = outbox("preview", "c").stdout
    assert shown.splitlines()[0] == says
    assert f"1 member, {0 if status == 'ended' else 2} messages to come" in shown
    assert json.loads(outbox("preview", "c", "--json").stdout)["status"] == status


def test_ended_campaign_refuses_members_and_start(outbox: Any, db: Connection, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(HEADER + "ada,+12015550101,UTC,2026-10-27T09:00,Ada\n")
    db.execute("update public.outbox_campaigns set status = 'ended'")
    ran = outbox("import", "c", "m.csv")
    assert (ran.returncode, ran.stderr) == (1, "outbox: campaign 'c' was ended, so members of it get nothing\n")
    assert members(db) == []
    ran = outbox("start", "c")
    assert ran.returncode == 1
    assert "campaign 'c' was ended" in ran.stderr


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("reminder", "warning: c has no members yet: nothing goes out until some come\n"),
        (
            "once",
            (
                "warning: c has no members yet: nothing goes out until some come,"
                " and who comes later than late_limit after starts_at gets nothing\n"
            ),
        ),
    ],
)
def test_starting_a_campaign_without_members_warns(outbox: Any, db: Connection, schedule: str, says: str) -> None:
    db.execute("update public.outbox_campaigns set schedule = %s, starts_at = %s", [schedule, NOW])
    ran = outbox("start", "c", "--yes")
    assert (ran.returncode, ran.stderr) == (0, says)
    assert "c is active (it was draft)" in ran.stdout


def test_unfinished_imports_are_deleted_after_a_day(db: Connection, clocks: Clocks) -> None:
    stage = "select public.outbox_stage_members(gen_random_uuid(), 'c', '{2}', '{a}', '{+12015550101}', '{UTC}', '{%s}', %s)"
    db.execute(stage % ("2026-10-27T09:00:00", 'array[\'{"name": "Ada"}\']'))
    assert db.execute("select count(*) from outbox_engine.campaign_import_lines").fetchone() == (1,)
    clocks.move("25 hours")
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    assert db.execute("select count(*) from outbox_engine.campaign_import_lines").fetchone() == (0,)
