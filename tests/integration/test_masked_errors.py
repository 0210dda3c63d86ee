"""What a provider or the database says is kept without phone numbers and secrets."""

import re

import pytest

from jobs.gateway.gateway import Gateway
from jobs.providers.base import Unusable
from sandbox.simulator.behaviour import Fault
from tests.engine import Rig, insert, number
from tests.stack import Connection

SAID = f"no route for {number(7)} to:{number(8)[1:]} by https://:s3cret-word@example.com/x with sb_secret_abc-def123"
PRIVATE = (number(7)[1:], number(8)[1:], "s3cret-word", "def123")
KEPT = (
    "select error from public.outbox",
    "select detail from public.outbox_events",
    "select error from outbox_engine.dispatches",
    "select error from outbox_engine.refused_contents",
    "select reason from outbox_engine.plan_pauses",
    "select detail::text from outbox_engine.alarms",
    "select why from outbox_engine.kept_callbacks",
)


def words(db: Connection) -> str:
    return "\n".join(str(value) for query in KEPT for (value,) in db.execute(query.encode()).fetchall() if value is not None)


def assert_masked(kept: str) -> None:
    assert "no route for " in kept
    assert [secret for secret in PRIVATE if secret in kept] == []


async def test_refused_message_keeps_masked_words(rig: Rig, db: Connection) -> None:
    insert(db, 2)
    insert(db, 3, first=2, body="another")
    rig.simulator.add(Fault(effect="answer", status=400, text=SAID, times=9))
    rig.simulator.add(Fault(effect="answer", status=403, code="forbidden", text=SAID, times=9))

    for _ in range(3):
        await rig.tick("dispatch")

    assert_masked(words(db))


async def test_alarm_about_a_callback_is_masked(gateway: Gateway, db: Connection) -> None:
    await gateway.keep_callbacks([Unusable(why=SAID, raw=b"{}")])

    assert_masked(words(db))


@pytest.mark.parametrize("message", ["recipient '14155550123' is wrong", "key (+14155550123) exists", "to +1 (415) 555-0123"])
def test_database_errors_are_masked_in_alarms(db: Connection, message: str) -> None:
    (masked,) = db.execute("select outbox_engine.without_numbers(%s)", [message]).fetchone() or ()

    assert "•••" in str(masked)
    assert "4155550" not in re.sub(r"[ ()-]", "", str(masked))
