"""STOP, START and HELP: what counts as one, for how long, and for which numbers."""

from datetime import timedelta

import psycopg
import pytest

from tests.calls import SentReport, claim, claim_all, release, report, report_all
from tests.campaigns import template
from tests.engine import SENDER, Clocks, Rig, column, insert, number, statuses
from tests.integration.replies import NOW, PHONE, carrier_blocks, suppressed, text_in
from tests.stack import Connection


@pytest.fixture(autouse=True)
def noon(clocks: Clocks) -> None:
    clocks.set(NOW)


@pytest.mark.parametrize(
    "body",
    [
        "STOP", "stop", " Stop. ", "S T O P", "“Stop!”", "stop-all", "STOP ALL", "unsubscribe", "Cancel", "end", "QUIT",
        "Revoke", "opt out", "Opt-Out", "arret", "ARRÊT", "Arrêt !", "arre\u0302t", "ＳＴＯＰ", "stop 🛑", "STOP\n",
        "stop\u200b",
    ],
)  # fmt: skip
def test_stop_is_recognised_in_many_spellings(db: Connection, body: str) -> None:
    text_in(db, body)
    assert suppressed(db) == [(PHONE, "replied STOP")]


@pytest.mark.parametrize(
    "body", ["please stop by at 5", "don't stop", "stoppage", "the end", "", "🛑", "!!!", "start stop", "0"]
)
def test_opt_out_word_within_a_sentence_is_ignored(db: Connection, body: str) -> None:
    text_in(db, body)
    assert suppressed(db) == []


async def test_opt_out_suppresses_waiting_and_new_messages(db: Connection, rig: Rig) -> None:
    """One-time codes as well."""
    insert(db, first=1)
    insert(db, first=1, send_at=NOW + timedelta(days=1))
    text_in(db, "Stop")
    assert statuses(db) == {"suppressed": 2}

    insert(db, first=1, body="Your code is 1234", priority=0)
    await rig.tick("dispatch")
    assert statuses(db) == {"suppressed": 3}
    assert rig.simulator.summary().messages == 0


def test_an_opt_out_counts_before_a_missing_text(db: Connection) -> None:
    template(db)
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [PHONE])
    db.execute("insert into public.outbox (recipient, template, parameters) values (%s, 'hi', %s)", [PHONE, '{"name": " "}'])
    db.execute("update public.outbox_templates set body = '{{name}}'")

    assert claim_all(db) == []

    assert statuses(db) == {"suppressed": 1}


@pytest.mark.parametrize("order", [["STOP", "START"], ["START", "STOP"]])
def test_latest_reply_decides_in_any_order(db: Connection, order: list[str]) -> None:
    ages = {"STOP": 60, "START": 30}
    for word in order:
        text_in(db, word, ago=ages[word])
    assert suppressed(db) == []


@pytest.mark.parametrize("order", [["STOP", "START"], ["START", "STOP"]])
def test_stop_wins_over_start_at_one_instant(db: Connection, order: list[str]) -> None:
    for word in order:
        text_in(db, word)
    assert len(suppressed(db)) == 1


@pytest.mark.parametrize("ids", [["1", "2"], ["2", "1"]])
def test_stop_beats_start_within_one_page(db: Connection, ids: list[str]) -> None:
    """Both at the same instant, whatever their ids and their order."""
    db.execute(
        "select public.outbox_record_inbounds('reconcile', '{sinch,sinch}', %s, '{mo_text,mo_text}', array[%s, %s],"
        ' array[%s, %s], \'{STOP,START}\', array[%s, %s], \'{"",""}\', \'{"{}","{}"}\')',
        [ids, PHONE, PHONE, SENDER, SENDER, NOW.isoformat(), NOW.isoformat()],
    )
    assert suppressed(db) == [(PHONE, "replied STOP")]


@pytest.mark.parametrize("phone", ["12345", "Acme"])
def test_a_word_from_no_number_changes_nothing(db: Connection, phone: str) -> None:
    text_in(db, "STOP", phone=phone)
    assert suppressed(db) == []
    assert db.execute("select count(*) from public.outbox_inbound").fetchone() == (1,)


def test_start_lifts_only_what_a_stop_suppressed(db: Connection) -> None:
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(2)])
    text_in(db, "STOP", ago=60)
    text_in(db, "start")
    text_in(db, "start", phone=number(2), name="other")
    assert suppressed(db) == [(number(2), "operator")]


def test_words_are_configured_by_language_and_by_sender(db: Connection) -> None:
    db.execute(
        "insert into public.outbox_opt_out_words (word, language, effect)"
        " values ('Baja!', 'es', 'stop'), ('стоп', 'ru', 'stop')"
    )
    db.execute("insert into public.outbox_opt_out_words (word, sender, effect) values ('end', '+12025550111', 'none')")
    db.execute("insert into public.outbox_opt_out_words (word, sender, effect) values ('bye', '12025550111', 'stop')")

    for n, (body, to) in enumerate(
        [("baja", SENDER), ("СТОП", SENDER), ("END", "+12025550111"), ("Bye", SENDER), ("bye", "+12025550111"), ("END", SENDER)]
    ):
        text_in(db, body, phone=number(n), to=to)
    assert [recipient for recipient, _ in suppressed(db)] == [number(n) for n in (0, 1, 4, 5)]


def test_invalid_opt_out_word_is_refused_with_reason(db: Connection) -> None:
    for values, says in {
        "('!', 'stop', null)": "word has no letter",
        "('x', 'pause', null)": "effect 'pause' is not",
        "('x', 'stop', 'Bye')": "only a help word has a reply",
    }.items():
        with pytest.raises(psycopg.DataError, match=says):
            db.execute(f"insert into public.outbox_opt_out_words (word, effect, reply) values {values}")
    with pytest.raises(psycopg.DataError, match=r"recipient '0151' is not an E.164 number"):
        db.execute("insert into public.outbox_suppressions (recipient) values ('0151')")


async def test_help_is_answered_once_a_day(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The answer comes from the number that was texted."""
    text_in(db, "HELP", ago=5)
    assert statuses(db) == {}

    db.execute("update public.outbox_opt_out_words set reply = 'Acme. STOP ends this.' where effect = 'help'")
    for n in range(3):
        text_in(db, "help?", name=f"again {n}")
    text_in(db, "Aide", to="+12025550111", phone=number(2))
    text_in(db, "HELP", phone=number(3), ago=90_000)
    await rig.tick("dispatch")
    asked = db.execute("select recipient, sender, body, status from public.outbox order by id").fetchall()
    assert asked == [
        (PHONE, SENDER, "Acme. STOP ends this.", "sent"),
        (number(2), "+12025550111", "Acme. STOP ends this.", "sent"),
    ]

    clocks.move("25 hours")
    text_in(db, "HELP", name="tomorrow", ago=-25 * 3600)
    assert statuses(db) == {"sent": 2, "pending": 1}


def test_help_after_an_opt_out_is_not_answered(db: Connection) -> None:
    db.execute("update public.outbox_opt_out_words set reply = 'Acme' where effect = 'help'")
    text_in(db, "STOP", ago=60)
    text_in(db, "HELP")
    assert statuses(db) == {}


async def send_an_hour_ago(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """To the phone."""
    clocks.set(NOW - timedelta(hours=1))
    insert(db, first=1)
    await rig.tick("dispatch")
    clocks.set(NOW)


async def test_the_carriers_own_opt_out_counts(db: Connection, rig: Rig) -> None:
    insert(db, first=1)
    await rig.tick("dispatch")
    carrier_blocks(db)
    assert [recipient for recipient, _ in suppressed(db)] == [PHONE]


@pytest.mark.parametrize("start_first", [True, False])
@pytest.mark.parametrize(("start_ago", "stays"), [(60, True), (30, True), (10, False)])
async def test_later_of_carrier_opt_out_and_start_decides(
    db: Connection, rig: Rig, clocks: Clocks, start_first: bool, start_ago: int, stays: bool
) -> None:
    await send_an_hour_ago(db, rig, clocks)
    if start_first:
        text_in(db, "START", ago=start_ago)
    carrier_blocks(db, ago=30)
    if not start_first:
        text_in(db, "START", ago=start_ago)
    assert [recipient for recipient, _ in suppressed(db)] == ([PHONE] if stays else [])


async def test_late_report_does_not_undo_an_operators_lift(db: Connection, rig: Rig, clocks: Clocks) -> None:
    await send_an_hour_ago(db, rig, clocks)
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [PHONE])
    db.execute("set role service_role")
    db.execute("delete from public.outbox_suppressions")
    db.execute("reset role")

    clocks.move("1 hour")
    carrier_blocks(db, ago=30)
    assert suppressed(db) == []


async def test_carrier_opt_out_applies_to_its_number(db: Connection, rig: Rig) -> None:
    insert(db, first=1)
    await rig.tick("dispatch")
    batch = db.execute("select batch_id from public.outbox").fetchone()
    assert batch is not None
    db.execute("update public.outbox set recipient = %s", [number(2)])
    db.execute(
        "select public.outbox_record_reports('webhook', array[%s], array[%s], '{failed}', '{257}', array[%s], '{\"\"}',"
        " '{\"{}\"}')",
        [batch[0], PHONE, NOW.isoformat()],
    )
    assert [recipient for recipient, _ in suppressed(db)] == [PHONE]


@pytest.mark.parametrize(("start_ago", "stays"), [(60, True), (-60, False)])
def test_imported_opt_out_is_lifted_by_later_start(db: Connection, clocks: Clocks, start_ago: int, stays: bool) -> None:
    imported = 'select public.outbox_import_suppressions(array[%s, %s], \'{"",""}\', \'{reply,""}\')'
    row = db.execute(imported, [PHONE, number(2)]).fetchone()
    assert row == (2,)
    assert db.execute(imported, [PHONE, number(2)]).fetchone() == (0,)
    clocks.move("1 minute")

    text_in(db, "START", ago=start_ago)
    text_in(db, "START", ago=start_ago, phone=number(2), name="other")
    assert [recipient for recipient, _ in suppressed(db)] == ([PHONE] if stays else []) + [number(2)]


@pytest.mark.parametrize(("hours", "answers"), [(23.9, 1), (24, 2), (-1, 2)])
def test_help_is_answered_once_in_a_day(db: Connection, clocks: Clocks, hours: float, answers: int) -> None:
    """Upkeep deletes no reply before its day is over. After a step back the clock cannot tell the day."""
    db.execute("update public.outbox_opt_out_words set reply = 'Acme' where effect = 'help'")
    text_in(db, "HELP")
    clocks.move(f"{hours} hours")
    db.execute("select public.outbox_upkeep(90, null, 1000)")

    text_in(db, "HELP", name="again", ago=-hours * 3600)

    assert db.execute("select count(*) from public.outbox").fetchone() == (answers,)


def test_a_repeated_reply_acts_once(db: Connection) -> None:
    """This holds after the message was deleted too: an operator's later decision stays."""
    text_in(db, "STOP", name="the same")
    db.execute("delete from public.outbox_inbound")
    db.execute("delete from public.outbox_suppressions")
    db.execute("delete from outbox_engine.consents")

    text_in(db, "STOP", name="the same")

    assert suppressed(db) == []


@pytest.mark.parametrize("order", [(60, 10), (10, 60)])
async def test_the_latest_of_two_carrier_reports_decides(db: Connection, rig: Rig, order: tuple[int, int]) -> None:
    """Both reports are in one call. A START came between their times."""
    insert(db, first=1)
    await rig.tick("dispatch")
    text_in(db, "START", ago=30)
    (batch,) = db.execute("select batch_id from public.outbox").fetchall()[0]
    at = [(NOW - timedelta(seconds=ago)).isoformat() for ago in order]

    report_all(db, *(SentReport(batch=str(batch), recipient=PHONE, status="failed", code=257, at=time) for time in at))

    assert suppressed(db) == [(PHONE, "sinch code 257")]


def test_an_unknown_batchs_opt_out_needs_a_time(db: Connection) -> None:
    """A report without a time may be older than a START. It waits for its batch."""
    report(db, "elsewhere", PHONE, "failed", 257)
    assert suppressed(db) == []


def test_opt_out_leaves_messages_in_a_request(db: Connection) -> None:
    (row,) = insert(db, first=1)
    dispatch = claim(db)

    text_in(db, "STOP")

    assert column(db, "status", row) == "sending"
    release(db, dispatch)
    assert claim_all(db) == []
    assert column(db, "status", row) == "suppressed"
