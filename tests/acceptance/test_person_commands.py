"""`outbox person` as it is typed: what it shows, writes and erases, and when it refuses."""

import json
import stat
from pathlib import Path

import pytest

from sandbox.local.stack import LocalStack
from tests.acceptance.test_operating import Operator
from tests.calls import claim
from tests.engine import Clocks, insert, number
from tests.integration.replies import text_in
from tests.persons import DIGITS, PERSON, TEXT, make_person, tables_with
from tests.stack import Connection


@pytest.fixture
def outbox(stack: LocalStack) -> Operator:
    return Operator(stack)


@pytest.fixture
def person(db: Connection, clocks: Clocks) -> None:
    clocks.set("2026-11-24 12:00+00")
    make_person(db)


@pytest.mark.usefixtures("person")
def test_show_counts_rows_without_texts(outbox: Operator) -> None:
    ran = outbox("person", "show", PERSON)

    assert ran.returncode == 0, ran.stderr
    lines = {line.split()[0]: line for line in ran.stdout.splitlines() if line.strip()}
    assert "delivered 1" in lines["outbox"]
    assert {"outbox_inbound", "kept_callbacks", "waiting_reports", "campaign_import_lines"} <= lines.keys()
    assert TEXT not in ran.stdout


@pytest.mark.usefixtures("person")
def test_export_has_texts_but_no_secret_ones(outbox: Operator, db: Connection, tmp_path: Path) -> None:
    file = tmp_path / "person.json"

    ran = outbox("person", "export", PERSON, "--output", file)

    assert ran.returncode == 0, ran.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    exported = file.read_text(encoding="utf-8")
    for text in (f"one {TEXT}", f"later {TEXT}", f"I like {TEXT}"):
        assert text in exported
    assert f"two {TEXT}" not in exported
    assert f"secret {TEXT}" not in exported
    tables = json.loads(exported)["tables"]
    assert tables.keys() >= tables_with(db, DIGITS) - {"dispatch_members"} | {"dispatches"}
    callbacks = tables["kept_callbacks"]
    assert len(callbacks) == 2
    assert DIGITS not in json.dumps(callbacks)


@pytest.mark.usefixtures("person")
def test_export_replaces_no_file_unless_forced(outbox: Operator, tmp_path: Path) -> None:
    file = tmp_path / "person.json"
    file.write_text("mine")
    file.chmod(0o644)

    refused = outbox("person", "export", PERSON, "--output", file)
    assert (refused.returncode, file.read_text()) == (2, "mine")
    assert "--force" in refused.stderr

    assert outbox("person", "export", PERSON, "--output", file, "--force").returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.usefixtures("person")
def test_erase_leaves_only_the_opt_out(outbox: Operator, db: Connection) -> None:
    text_in(db, "STOP", phone=PERSON)
    dry = outbox("person", "erase", PERSON, "--dry-run")
    assert "nothing was changed" in dry.stdout
    assert "outbox" in tables_with(db, DIGITS)

    ran = outbox("person", "erase", PERSON, "--yes")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert tables_with(db, DIGITS) == {"outbox_suppressions", "consents"}
    assert tables_with(db, TEXT) == {"outbox_templates"}
    assert outbox.json("person", "erase", PERSON, "--yes")["erased"]["outbox"] == 0


def test_erase_refuses_while_a_message_is_in_request(outbox: Operator, db: Connection) -> None:
    (row,) = insert(db, first=1)
    (other,) = insert(db, first=1, send_at="2100-01-01")
    claim(db)

    ran = outbox("person", "erase", PERSON, "--yes")

    assert ran.returncode == 1
    assert f"1 message ({row}) is in a request" in ran.stderr
    assert db.execute("select id from public.outbox order by id").fetchall() == [(row,), (other,)]


def test_erase_refuses_what_adoption_remembers_unless_forced(outbox: Operator, db: Connection) -> None:
    db.execute(
        "insert into outbox_engine.adopted_messages (provider, plan, batch_id, reference, recipient, sent_at, kept_until)"
        " values ('sinch', 'p', 'B9', gen_random_uuid(), %s, now(), now() + interval '9 days')",
        [PERSON],
    )

    refused = outbox("person", "erase", PERSON, "--yes")
    assert (refused.returncode, tables_with(db, DIGITS)) == (1, {"adopted_messages"})
    assert "since a restore" in refused.stderr

    assert outbox("person", "erase", PERSON, "--yes", "--force").returncode == 0
    assert tables_with(db, DIGITS) == set()


def test_erase_waits_for_the_adoption_after_restore(outbox: Operator, db: Connection) -> None:
    insert(db, first=1)
    claim(db)
    insert(db, first=1)
    db.execute("select outbox_engine.pause_restored('sinch', 'p', 'a test')")

    ran = outbox("person", "erase", PERSON, "--yes", "--force")

    assert ran.returncode == 1
    assert "outbox adopt" in ran.stderr
    assert db.execute("select count(*) from public.outbox").fetchone() == (2,)


def test_erase_asks_before_it_changes_anything(outbox: Operator, db: Connection) -> None:
    insert(db, first=1)

    ran = outbox("person", "erase", PERSON)

    assert ran.returncode == 2
    assert "--yes agrees" in ran.stderr
    assert "outbox" in tables_with(db, DIGITS)


@pytest.mark.parametrize("written", ["4155550123", "+44 (0)7700 900123", "+1415555012x", "+15"])
def test_person_refuses_what_is_no_number(outbox: Operator, written: str) -> None:
    ran = outbox("person", "show", written)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 1


def test_nothing_kept_is_no_error(outbox: Operator) -> None:
    ran = outbox("person", "show", number(7), number(8))

    assert (ran.returncode, ran.stdout.strip()) == (0, "nothing is kept of this person")
