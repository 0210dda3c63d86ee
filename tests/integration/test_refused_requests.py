"""Requests that the simulator refuses, by the real jobs: what fails, what waits, and what goes out."""

import pytest
from msgspec.structs import replace

from sandbox.simulator.behaviour import Fault
from tests.engine import Rig, insert, later, number, statuses
from tests.stack import Connection


async def test_refused_text_fails_three_messages_and_holds_others(rig: Rig, db: Connection) -> None:
    insert(db, 100, body="forbidden text")
    insert(db, 100, first=100)
    rig.simulator.add(
        Fault(effect="answer", status=403, code="unknown_campaign", text="no such campaign", contains="forbidden text")
    )

    await rig.tick("dispatch")

    assert statuses(db) == {"failed": 3, "pending": 97, "sent": 100}
    assert rig.simulator.summary().requests["send"] == 7
    rig.simulator.heal()
    later(db, "1 minute")
    await rig.tick("dispatch")
    await rig.tick("dispatch")
    assert statuses(db) == {"failed": 3, "sent": 197}


NOT_ALLOWED = Fault(effect="answer", status=400, code="syntax_constraint_violation", text="Destination number not allowed")
ILLEGAL = "Illegal phone number type of MSISDN for a chosen region was used"


@pytest.mark.parametrize(
    ("fault", "good", "bad"),
    [
        (Fault(effect="answer", status=403, code="illegal_number_type", text=ILLEGAL), 40, 8),
        (NOT_ALLOWED, 12, 2),
        (replace(NOT_ALLOWED, page="description"), 12, 2),
        (replace(NOT_ALLOWED, page="numeric"), 12, 2),
        (replace(NOT_ALLOWED, page="envelope"), 12, 2),
        (replace(NOT_ALLOWED, page="html"), 12, 2),
        (replace(NOT_ALLOWED, status=403, code="unsupported_number", text=""), 12, 2),
    ],
)
async def test_refused_numbers_fail_and_the_rest_goes_out(rig: Rig, db: Connection, fault: Fault, good: int, bad: int) -> None:
    """The bad numbers stand at both ends of the request."""
    insert(db, good + bad)
    for n in [*range(bad // 2), *range(good + bad // 2, good + bad)]:
        rig.simulator.add(replace(fault, contains=number(n)[1:]))

    await rig.tick("dispatch")

    assert statuses(db) == {"sent": good, "failed": bad}
    assert rig.simulator.summary().messages == good
    assert db.execute("select count(*) from outbox_engine.plan_pauses").fetchone() == (0,)


async def test_refused_default_sender_fails_nothing(rig: Rig, db: Connection) -> None:
    for text in range(8):
        insert(db, 2, first=2 * text, body=f"text {text}")
    said = "The value of from must be a number"
    rig.simulator.add(Fault(effect="answer", status=400, code="syntax_invalid_parameter_format", text=said))

    await rig.tick("dispatch")
    await rig.tick("dispatch")
    assert statuses(db) == {"pending": 16}
    rig.simulator.heal()
    for _ in range(2):
        later(db, "10 minutes")
        await rig.tick("dispatch")

    assert statuses(db) == {"sent": 16}
