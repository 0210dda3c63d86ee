"""Who made a suppression: a START lifts the recipient's own, and only an operator lifts an operator's."""

from datetime import timedelta

import pytest

from tests.engine import Clocks, Rig, insert, number
from tests.integration.replies import NOW, PHONE, carrier_blocks, suppressed, text_in
from tests.stack import Connection


@pytest.fixture(autouse=True)
def noon(clocks: Clocks) -> None:
    clocks.set(NOW)


def as_role(db: Connection, role: str, statement: str) -> None:
    """As PostgREST does (service_role), or as the dashboard does (postgres)."""
    db.execute(f"set role {role}")
    try:
        db.execute(statement)
    finally:
        db.execute("reset role")


LIFT = "delete from public.outbox_suppressions"


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("role", "lift"), [("postgres", LIFT), ("service_role", LIFT), ("postgres", "truncate public.outbox_suppressions")]
)
def test_older_stop_does_not_undo_an_operators_lift(db: Connection, role: str, lift: str, own: bool) -> None:
    if own:
        text_in(db, "STOP", ago=300)
    else:
        db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [PHONE])

    as_role(db, role, lift)
    text_in(db, "STOP", ago=60, name="found by polling")
    assert suppressed(db) == []

    text_in(db, "STOP", ago=-60, name="said afterwards")
    assert len(suppressed(db)) == 1


@pytest.mark.parametrize("role", ["postgres", "service_role"])
def test_number_replaced_by_an_operator_is_lifted(db: Connection, role: str) -> None:
    db.execute("insert into public.outbox_suppressions (recipient) values (%s)", [PHONE])

    as_role(db, role, f"update public.outbox_suppressions set recipient = '{number(2)}'")
    text_in(db, "STOP", ago=60)

    assert suppressed(db) == [(number(2), "operator")]


def test_stop_after_a_start_counts_again(db: Connection) -> None:
    text_in(db, "STOP", ago=300)
    text_in(db, "START", ago=200)
    text_in(db, "STOP", ago=100, name="again")
    assert len(suppressed(db)) == 1


UPSERT = "insert into public.outbox_suppressions (recipient{0}) values ('{2}'{1}) on conflict (recipient) do update set "


@pytest.mark.parametrize("role", ["postgres", "service_role"])
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (UPSERT.format("", "", PHONE) + "recipient = excluded.recipient", "replied STOP"),
        (UPSERT.format(", reason", ", 'asked by phone'", PHONE) + "reason = excluded.reason", "asked by phone"),
        ("update public.outbox_suppressions set reason = 'asked by phone'", "asked by phone"),
    ],
    ids=["upsert", "upsert with reason", "update"],
)
def test_start_does_not_undo_an_operators_later_decision(db: Connection, role: str, statement: str, reason: str) -> None:
    text_in(db, "STOP", ago=60)
    as_role(db, role, statement)
    text_in(db, "START")
    assert suppressed(db) == [(PHONE, reason)]


def imported(db: Connection, *lines: tuple[str, str, str]) -> object:
    """Lines of number, reason and source. Answers how many were new."""
    numbers, reasons, sources = (list(column) for column in zip(*lines, strict=True))
    row = db.execute("select public.outbox_import_suppressions(%s, %s, %s)", [numbers, reasons, sources]).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(("given", "reason"), [("", "replied STOP"), ("asked by phone", "asked by phone")])
def test_operators_import_takes_over_an_opt_out(db: Connection, given: str, reason: str) -> None:
    text_in(db, "STOP", ago=60)
    assert imported(db, (PHONE, given, "operator"), (number(2), "", "operator")) == 1
    text_in(db, "START")
    assert suppressed(db) == [(PHONE, reason), (number(2), "imported")]


@pytest.mark.parametrize("sources", [("reply", "operator"), ("operator", "reply")])
def test_operators_line_wins_within_one_import(db: Connection, sources: tuple[str, str]) -> None:
    assert imported(db, *((PHONE, source, source) for source in sources)) == 1
    text_in(db, "START", ago=-60)
    assert suppressed(db) == [(PHONE, "operator")]


def test_import_changes_no_existing_suppression(db: Connection) -> None:
    """Neither an operator's decision nor a recipient's opt-out."""
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'first')", [number(2)])
    text_in(db, "STOP", ago=60)
    before = db.execute("select ctid::text, * from public.outbox_suppressions order by 2").fetchall()

    assert imported(db, (PHONE, "second", "reply"), (number(2), "second", "operator")) == 0
    assert db.execute("select ctid::text, * from public.outbox_suppressions order by 2").fetchall() == before


def stranger(db: Connection, *, recipient: str = PHONE, ago: float = 0, code: str = "257") -> None:
    """A report for a batch that this project did not send."""
    db.execute(
        "select public.outbox_record_reports('webhook', '{elsewhere}', array[%s], '{failed}', array[%s],"
        " array[(%s::timestamptz - %s * interval '1 second')::text], '{\"\"}', '{\"{}\"}')",
        [recipient, code, NOW, ago],
    )


def test_opt_out_in_another_apps_report_counts(db: Connection) -> None:
    stranger(db)
    stranger(db, recipient=number(2), code="402")
    stranger(db, recipient="no number")
    assert suppressed(db) == [(PHONE, "sinch code 257")]


async def test_foreign_report_undoes_neither_start_nor_lift(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """The START is newer than the report."""
    clocks.set(NOW - timedelta(hours=1))
    insert(db, first=1)
    await rig.tick("dispatch")
    clocks.set(NOW)
    text_in(db, "START", ago=30)
    stranger(db, ago=60)
    assert suppressed(db) == []

    stranger(db, ago=10)
    as_role(db, "postgres", "delete from public.outbox_suppressions")
    stranger(db, ago=10)
    carrier_blocks(db, ago=5)
    assert suppressed(db) == []


def test_lift_covers_a_stop_dated_after_it(db: Connection) -> None:
    """The provider's clock is ahead: its STOP is later than the operator's lift, and so is what the carrier then reports."""
    text_in(db, "STOP", ago=-60)
    as_role(db, "postgres", LIFT)

    stranger(db, ago=-30)

    assert suppressed(db) == []
