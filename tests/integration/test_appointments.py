"""The appointments example of this repository, run for a week of the database's clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import SENDER, Clocks, Rig
from tests.stack import Connection

EXAMPLE = Path(__file__).parents[2] / "supabase" / "examples" / "appointments.sql"
BERLIN, NEW_YORK, TOKYO = "+4915112345678", "+12125550101", "+819012345678"
MOVED, CANCELLED, STOPPED, DELETED = "+12125550102", "+12125550103", "+12125550104", "+12125550105"


@pytest.fixture(autouse=True)
def example(db: Connection, clocks: Clocks) -> Iterator[None]:
    """On the Friday before the clocks of Europe go back."""
    clocks.set("2026-10-23 12:00+00")
    db.execute(EXAMPLE.read_bytes())
    yield
    db.execute("drop table public.appointments")
    db.execute("drop function public.remind_of_appointment, public.forget_appointments")


def book(db: Connection, patient: str, phone: str, zone: str, local_time: str) -> None:
    db.execute(
        "insert into public.appointments (patient, phone, timezone, starts_at)"
        " values (%s, %s, %s, %s::timestamp at time zone %s)",
        [patient, phone, zone, local_time, zone],
    )


async def test_patients_are_reminded_by_their_own_clocks(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """A day and an hour before; moved, cancelled and deleted appointments and opt-outs count."""
    book(db, "Ada", BERLIN, "Europe/Berlin", "2026-10-25 09:00")
    book(db, "Grace", NEW_YORK, "America/New_York", "2026-10-25 09:00")
    book(db, "Edsger", TOKYO, "Asia/Tokyo", "2026-10-25 09:00")
    book(db, "Barbara", MOVED, "America/New_York", "2026-10-25 09:00")
    book(db, "Tony", CANCELLED, "America/New_York", "2026-10-25 09:00")
    book(db, "Radia", STOPPED, "America/New_York", "2026-10-25 09:00")
    book(db, "Alan", DELETED, "America/New_York", "2026-10-25 09:00")

    for hour in range(74):
        if hour == 26:
            db.execute("update public.appointments set starts_at = starts_at + interval '1 day' where patient = 'Barbara'")
            db.execute("update public.appointments set status = 'cancelled' where patient = 'Tony'")
            db.execute("delete from public.appointments where patient = 'Alan'")
            rig.simulator.text_in(sender=STOPPED.removeprefix("+"), to=SENDER.removeprefix("+"), body="Stop!")
        await rig.tick("campaigns", "dispatch", "inbound")
        clocks.move("1 hour")

    sent = db.execute(
        "select recipient, to_char(sent_at at time zone 'utc', 'DD HH24:MI') from public.outbox"
        " where sent_at is not null order by 1, 2"
    ).fetchall()
    day_before_of_the_new_yorkers = "24 13:00"
    assert sent == sorted(
        [
            # The night between has 25 hours in Berlin; a day is a day on the wall clock all the same.
            (BERLIN, "24 07:00"), (BERLIN, "25 07:00"),
            (NEW_YORK, day_before_of_the_new_yorkers), (NEW_YORK, "25 12:00"),
            (TOKYO, "24 00:00"), (TOKYO, "24 23:00"),
            (MOVED, day_before_of_the_new_yorkers), (MOVED, "25 13:00"), (MOVED, "26 12:00"),
            (CANCELLED, day_before_of_the_new_yorkers),
            (STOPPED, day_before_of_the_new_yorkers),
            (DELETED, day_before_of_the_new_yorkers),
        ]
    )  # fmt: skip
    accepted = [(f"+{tally.recipient}", tally.body, tally.accepted) for tally in rig.simulator.tallies()]
    assert sum(times for *_, times in accepted) == len(sent)
    hi = "To get no more texts, reply STOP."
    assert {text for to, text, _ in accepted if to == MOVED} == {
        f"Hi Barbara, we see you Sun 25 Oct at 09:00. {hi}",
        f"Hi Barbara, we see you Mon 26 Oct at 09:00. {hi}",
    }
    skipped = db.execute(
        "select reason from public.outbox_campaign_occurrences where external_id = '6' and reason is not null"
    ).fetchone()
    assert "the recipient opted out" in str(skipped)


def patients_to_remind(db: Connection) -> list[str]:
    found = db.execute("select external_id from public.outbox_campaign_members order by external_id::integer").fetchall()
    return [str(external_id) for (external_id,) in found]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("phone", "0151 2345", "recipient '0151 2345' is not an E.164 number"),
        ("phone", "", "recipient '' is not an E.164 number"),
        ("timezone", "Berlin", "timezone 'Berlin' is not in the tz database; its names are such as Europe/Berlin"),
        ("patient", "x" * 2000, "2000 are allowed"),
        ("starts_at", "infinity", "event_at must be an instant"),
    ],
)
def test_booking_that_cannot_have_reminders_is_kept(db: Connection, column: str, value: str, says: str) -> None:
    book(db, "Ada", BERLIN, "Europe/Berlin", "2026-10-25 09:00")
    warnings: list[str] = []
    db.add_notice_handler(lambda notice: warnings.append(f"{notice.severity}: {notice.message_primary}"))

    # A patient with planned reminders gets none for a time that no longer applies.
    db.execute(f"update public.appointments set {column} = %s".encode(), [value])
    assert patients_to_remind(db) == []
    assert "WARNING: appointment 1 gets no reminders: " in warnings[0]
    assert says in warnings[0]

    db.execute(
        "insert into public.appointments (patient, phone, timezone, starts_at) select patient, phone, timezone, starts_at"
        " from public.appointments"
    )
    assert patients_to_remind(db) == []
    assert db.execute("select count(*) from public.appointments").fetchone() == (2,)

    book(db, "Grace", NEW_YORK, "America/New_York", "2026-10-25 09:00")
    assert patients_to_remind(db) == ["3"]


def test_app_books_and_cancels_without_the_campaign(db: Connection) -> None:
    book(db, "Ada", BERLIN, "Europe/Berlin", "2026-10-25 09:00")
    db.execute("delete from public.outbox_campaigns")

    book(db, "Grace", NEW_YORK, "America/New_York", "2026-10-25 09:00")
    db.execute("update public.appointments set status = 'cancelled'")
    db.execute("delete from public.appointments where id = 1")

    assert db.execute("select id, status from public.appointments").fetchall() == [(2, "cancelled")]


async def test_truncated_appointments_have_no_reminders(db: Connection, rig: Rig, clocks: Clocks) -> None:
    book(db, "Ada", BERLIN, "Europe/Berlin", "2026-10-24 15:00")
    clocks.move("61 minutes")
    await rig.tick("campaigns")
    assert db.execute("select recipient, status from public.outbox").fetchall() == [(BERLIN, "pending")]

    db.execute("truncate public.appointments restart identity")
    book(db, "Grace", NEW_YORK, "America/New_York", "2026-10-24 09:00")
    # An hour before both appointments. The new one has the id of the old one.
    clocks.move("23 hours")
    await rig.tick("campaigns", "dispatch")

    assert [tally.recipient for tally in rig.simulator.tallies()] == [NEW_YORK.removeprefix("+")]
    assert db.execute("select status from public.outbox where recipient = %s", [BERLIN]).fetchall() == [("cancelled",)]


@pytest.mark.parametrize("patient", ["", "  "])
def test_patient_without_name_gets_the_default_greeting(db: Connection, patient: str) -> None:
    book(db, patient, BERLIN, "Europe/Berlin", "2026-10-25 09:00")

    bodies = db.execute(
        "select r ->> 'body' from jsonb_array_elements(public.outbox_preview_campaign('appointments', 1)) r"
    ).fetchall()
    assert bodies == [("Hi there, we see you Sun 25 Oct at 09:00. To get no more texts, reply STOP.",)]
