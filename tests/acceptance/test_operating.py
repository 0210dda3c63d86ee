"""The operator's commands as they are typed: words, JSON, exit codes."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import commands
from tests.campaigns import campaign, template
from tests.commands import Ran
from tests.engine import Rig, column, insert, number, statuses
from tests.stack import Connection, as_engine


class Operator:
    """Runs commands against one stack."""

    def __init__(self, stack: LocalStack, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SINCH_", "SUPABASE_"))}
        self._environment = {**kept, **stack.env, **settings}

    def __call__(self, *arguments: object, **settings: str) -> Ran:
        return commands.outbox(*arguments, env={**self._environment, **settings}, timeout=60)

    def json(self, *arguments: object) -> Any:
        ran = self(*arguments, "--json")
        assert ran.stderr == ""
        return json.loads(ran.stdout)


@pytest.fixture
def outbox(stack: LocalStack) -> Operator:
    return Operator(stack)


@pytest.fixture
async def failed(rig: Rig, db: Connection) -> list[int]:
    """Three messages that failed at the provider."""
    ids = insert(db, 3)
    await rig.tick("dispatch")
    as_engine(db, "update public.outbox set status = 'failed', status_code = 402, finalized_at = now()")
    return ids


@pytest.fixture
def reported(failed: list[int], db: Connection) -> list[int]:
    """The same with the reports that say so: without one a message may have arrived."""
    db.execute(
        "insert into public.outbox_events (outbox_id, at, source, event, status, status_code, batch_id, dispatch_id)"
        " select id, now(), 'webhook', 'report', 'failed', 402, batch_id, dispatch_id from public.outbox"
    )
    return failed


@pytest.mark.parametrize("command", [("status",), ("retry", "1")], ids=lambda command: command[0])
def test_commands_exit_1_when_supabase_is_unreachable(outbox: Operator, command: tuple[str, ...]) -> None:
    """The one-line error names the address that does not answer."""
    ran = outbox(*command, SUPABASE_URL="http://127.0.0.1:9")

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("outbox: Supabase at http://127.0.0.1:9 does not answer")
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "says"),
    [("sb_secret_wrong", "was not accepted"), ("sb_publishable_x", "SUPABASE_SECRET_KEY: is a publishable key")],
)
def test_wrong_kind_of_key_is_a_settings_error(outbox: Operator, key: str, says: str) -> None:
    """A key of another project gives a one-line error too."""
    ran = outbox("status", SUPABASE_SECRET_KEY=key)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("outbox: SUPABASE_SECRET_KEY")
    assert says in ran.stderr
    assert key not in ran.stderr


def test_idle_status_suggests_checking_outbox_run(outbox: Operator) -> None:
    ran = outbox("status")

    assert ran.returncode == 0, ran.stderr
    assert "0 due" in ran.stdout
    assert "is `outbox run` up?" in ran.stdout


async def test_the_status_shows_the_backlog_pauses_and_figures(outbox: Operator, failed: list[int], db: Connection) -> None:
    insert(db, 2)
    outbox("pause", "--reason", "wrong prices", "--for", "30m")

    words = outbox("status").stdout
    status = outbox.json("status")

    assert "2 due" in words
    assert "wrong prices" in words
    assert "402" in words
    assert status["status"]["backlog"]["due"] == {"count": 2, "exact": True}
    assert [pause["kind"] for pause in status["status"]["pauses"]] == ["operator"]
    assert {figure["status"]: figure["messages"] for figure in status["figures"]["figures"]} == {"failed": 3, "pending": 2}
    assert {tick["job"] for tick in status["status"]["jobs"]} == {"dispatch"}


async def test_retry_reports_each_row_and_fails_on_refusals(outbox: Operator, reported: list[int], db: Connection) -> None:
    as_engine(db, "update public.outbox set status = 'delivered', reported_rank = 10 where id = %s", [reported[1]])

    ran = outbox("retry", *reported)

    assert ran.returncode == 1
    assert ran.stdout.splitlines() == [
        f"{reported[0]} (failed): waits to be sent again",
        f"{reported[1]} (delivered): it was delivered; --force sends it a second time",
        f"{reported[2]} (failed): waits to be sent again",
    ]
    assert statuses(db) == {"pending": 2, "delivered": 1}


async def test_many_are_retried_only_with_consent(outbox: Operator, reported: list[int], db: Connection) -> None:
    trial = outbox("retry", "--status", "failed", "--dry-run")
    unasked = outbox("retry", "--status", "failed", "--since", "1h")
    untouched = statuses(db)
    agreed = outbox.json("retry", "--status", "failed", "--since", "1h", "--yes")

    assert (trial.returncode, unasked.returncode) == (0, 2)
    assert trial.stdout.splitlines()[0] == f"{reported[0]} (failed): would be sent again"
    assert "dry run" in trial.stdout
    assert unasked.stderr == "outbox: Send 3 messages again? There is no terminal to ask at: --yes agrees\n"
    assert untouched == {"failed": 3}
    assert (agreed["done"], agreed["refused"]) == (3, 0)
    assert statuses(db) == {"pending": 3}


def test_cancel_takes_ids_keys_and_campaigns(outbox: Operator, db: Connection) -> None:
    (one,) = insert(db)
    insert(db, 1, first=1, idempotency_key="7")
    insert(db, 2, first=2)
    db.execute("update public.outbox set campaign = 'spring' where id > 2")

    by_id = outbox("cancel", one)
    by_key = outbox("cancel", "--idempotency-key", "7")
    by_campaign = outbox("cancel", "--campaign", "spring", "--yes")
    unknown = outbox("cancel", "--idempotency-key", "8")

    assert [by_id.returncode, by_key.returncode, by_campaign.returncode, unknown.returncode] == [0, 0, 0, 1]
    assert statuses(db) == {"cancelled": 4}
    assert unknown.stderr == "outbox: no message has the idempotency key '8'; nothing was changed\n"


def test_unknown_campaign_is_refused_but_empty_one_succeeds(outbox: Operator, db: Connection) -> None:
    template(db)
    campaign(db, name="spring")

    unknown = [
        outbox("cancel", "--campaign", "sprung", "--yes"),
        outbox("cancel", "--campaign", "sprung", "--dry-run"),
        outbox("retry", "--status", "failed", "--campaign", "sprung", "--yes"),
    ]
    empty = outbox("cancel", "--campaign", "spring", "--yes")
    trial = outbox("retry", "--status", "failed", "--campaign", "spring", "--dry-run")

    for ran in unknown:
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr == "outbox: campaign 'sprung' does not exist; nothing was changed\n"
    assert (empty.returncode, empty.stdout) == (0, "0 messages\n")
    assert trial.stdout == "0 messages\nnothing was changed: this was a dry run\n"


def test_pause_and_resume_default_to_configured_plan(stack: LocalStack, sinch: Running) -> None:
    outbox = Operator(stack, SINCH_SERVICE_PLAN_ID=sinch.plan.id, SINCH_API_TOKEN="t", SINCH_REGION="us")

    paused = outbox("pause")
    resumed = outbox("resume")
    again = outbox("resume")

    assert [paused.returncode, resumed.returncode, again.returncode] == [0, 0, 0]
    assert paused.stdout.startswith(f"paused: sinch {sinch.plan.id}, operator: an operator paused it")
    assert "until resumed" in paused.stdout
    assert resumed.stdout.startswith("resumed: ")
    assert again.stdout == "nothing was paused\n"


def test_pausing_an_unknown_plan_requires_the_provider(outbox: Operator) -> None:
    unknown = outbox("pause", "--plan", "typo")
    named = outbox("pause", "--plan", "new", "--provider", "sinch", "--until", "2099-01-01T00:00Z")

    resumed = outbox("resume", "--plan", "new")
    nobodys = outbox("resume", "--plan", "nosuch")
    nowhere = outbox("pause", "--plan", "new", "--provider", "foo")

    assert (unknown.returncode, named.returncode) == (1, 0)
    assert "typo" in unknown.stderr
    assert "2099-01-01" in named.stdout
    assert [line.partition(":")[0] for line in resumed.stdout.splitlines()] == ["resumed"]
    assert nobodys.stdout == "nothing was paused\n"
    assert (nowhere.returncode, nowhere.stderr) == (
        2,
        "outbox: Invalid value: --provider 'foo' is no provider: sinch, vonage\n",
    )


async def test_timed_pause_is_reported_once_per_plan(rig: Rig, stack: LocalStack, sinch: Running, db: Connection) -> None:
    outbox = Operator(stack, SINCH_SERVICE_PLAN_ID=sinch.plan.id, SINCH_API_TOKEN="t", SINCH_REGION="us")
    insert(db)
    await rig.tick("dispatch")

    assert len(outbox("pause", "--for", "30m").stdout.splitlines()) == 1


async def test_trace_masks_number_and_hides_text_by_default(outbox: Operator, failed: list[int], db: Connection) -> None:
    words = outbox("trace", failed[0])
    shown = outbox("trace", failed[0], "--show-body")
    traced = outbox.json("trace", failed[0])
    batch = outbox("trace", column(db, "batch_id", failed[0]))
    nothing = outbox("trace", "nothing")

    assert words.returncode == 0, words.stderr
    for event in ("inserted", "claimed", "accepted"):
        assert event in words.stdout
    for ran in (words, shown, batch):
        assert number(0) not in ran.stdout
        assert number(0)[1:] not in ran.stdout
    assert ("hello" in words.stdout, "hello" in shown.stdout) == (False, True)
    assert [happening["event"] for happening in traced["timeline"]] == ["inserted", "claimed", "accepted"]
    assert "3 messages" in batch.stdout
    assert nothing.returncode == 1


def test_list_with_bad_line_requires_partial_import(outbox: Operator, db: Connection, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(f"recipient,reason\n{number(0)},replied\n12025550100,\n{number(1)},\n", encoding="utf-8")

    refused = outbox("suppressions", "import", file)
    untouched = db.execute("select count(*) from public.outbox_suppressions").fetchone()
    partial = outbox("suppressions", "import", file, "--partial")

    assert refused.returncode == 1
    assert "line 3: recipient '1202•••0100' has neither + nor 00 before its country code" in refused.stderr
    assert "nothing was imported" in refused.stderr
    assert untouched == (0,)
    assert partial.returncode == 0
    assert partial.stdout == "2 added, 0 on the list before, 0 repeated in the file, 1 refused\n"


def test_exported_list_can_be_imported(outbox: Operator, db: Connection, tmp_path: Path) -> None:
    db.execute(
        "insert into public.outbox_suppressions (recipient, reason, by_engine) values (%s, 'a \"b\", c', true)", [number(0)]
    )
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(1)])
    file = tmp_path / "list.csv"

    exported = outbox("suppressions", "export", file)
    streamed = outbox("suppressions", "export")
    db.execute("delete from public.outbox_suppressions")
    imported = outbox("suppressions", "import", file)

    assert [exported.returncode, streamed.returncode, imported.returncode] == [0, 0, 0]
    assert streamed.stdout == file.read_text(encoding="utf-8")
    assert [row[0] for row in csv.reader(streamed.stdout.splitlines())] == ["recipient", number(0), number(1)]
    assert db.execute("select recipient, reason, by_engine from public.outbox_suppressions order by 1").fetchall() == [
        (number(0), 'a "b", c', True),
        (number(1), "operator", False),
    ]


def test_list_import_and_export_report_json(outbox: Operator, db: Connection, tmp_path: Path) -> None:
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(0)])
    file = tmp_path / "list.csv"
    file.write_text(f"{number(0)}\n{number(1)}\n{number(1)}\n", encoding="utf-8")

    imported = outbox.json("suppressions", "import", file)

    assert imported == {"added": 1, "on_the_list_before": 1, "repeated_in_the_file": 1, "refused": 0}
    assert outbox.json("suppressions", "export", file) == {"exported": 2}
    assert outbox("suppressions", "export", "--json").returncode == 2


def test_equal_outcomes_share_a_line(outbox: Operator, db: Connection) -> None:
    """Square brackets in an error are printed as they are."""
    ids = insert(db, 30)
    as_engine(db, "update public.outbox set status = 'failed', error = 'refused [to]: no', finalized_at = now(), queue = null")
    as_engine(db, "update public.outbox set status = 'delivered', reported_rank = 10 where id <= %s", [ids[3]])

    ran = outbox("retry", *ids)
    trace = outbox("trace", ids[0])

    assert ran.stdout.splitlines() == [
        f"26 messages ({', '.join(map(str, ids[4:9]))}, …) (failed): waits to be sent again",
        f"4 messages ({', '.join(map(str, ids[:4]))}) (delivered): it was delivered; --force sends it a second time",
    ]
    assert "refused [to]: no" in trace.stdout
