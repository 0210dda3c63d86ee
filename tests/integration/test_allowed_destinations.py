"""Rows to countries or recipients that are not allowed fail at the claim."""

import pytest

from tests.engine import MakeRig, column
from tests.stack import Connection


async def test_row_outside_the_allowed_countries_fails(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig(allowed_countries="GB,US")
    (foreign,) = [
        row for (row,) in db.execute("insert into outbox (recipient, body) values ('+33199005500', 'x') returning id")
    ]
    (home,) = [row for (row,) in db.execute("insert into outbox (recipient, body) values ('+12025550100', 'x') returning id")]

    await rig.tick("dispatch")

    assert column(db, "status", int(str(foreign))) == "failed"
    assert column(db, "error", int(str(foreign))) == "country FR is not allowed"
    assert column(db, "status", int(str(home))) == "sent"


@pytest.mark.parametrize(
    ("settings", "french", "american"),
    [
        ({"allowed_recipients": "+3319900,+12025550199"}, None, "the number is not among the allowed recipients"),
        ({"allowed_recipients": "+1202*"}, "the number is not among the allowed recipients", None),
        ({"allowed_recipients": "+1202,+33", "allowed_countries": "US"}, "country FR is not allowed", None),
    ],
)
async def test_row_to_another_recipient_fails(
    make_rig: MakeRig, db: Connection, settings: dict[str, str], french: str | None, american: str | None
) -> None:
    rig = await make_rig(**settings)
    db.execute("insert into outbox (recipient, body) values ('+33199005500', 'x'), ('+12025550100', 'x')")

    await rig.tick("dispatch")

    outcomes = db.execute("select status, error from outbox order by id").fetchall()
    assert outcomes == [("sent", None) if error is None else ("failed", error) for error in (french, american)]
    assert rig.simulator.summary().messages == 1
