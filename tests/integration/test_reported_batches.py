"""Reports without a reference that name a number of a request of unknown outcome: the provider says whose batch it is."""

import pytest

from jobs.gateway.values import letters_digest
from jobs.providers.base import Accepted, Batch, Page, Submission
from jobs.providers.sinch.client import SinchClient
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Fault
from tests.calls import report
from tests.engine import Clocks, MakeRig, insert, number, statuses
from tests.stack import Connection

SETTLED = "21 seconds"


@pytest.mark.parametrize(
    ("reference", "text", "fault", "decided"),
    [
        ("order 7", "hello", None, True),
        ("order 7", "another", faults.list_without_references(times=None, on="get"), True),
        ("order 7", "Hello!", faults.list_without_references(times=None, on="get"), False),
        ("order 7", "another", faults.unavailable_page(times=None, on="get"), False),
        (None, "another", None, False),
    ],
)
async def test_reported_batch_of_another_application_is_excluded(
    make_rig: MakeRig, db: Connection, clocks: Clocks, reference: str | None, text: str, fault: Fault | None, decided: bool
) -> None:
    """Its report shows no reference and names a number of the request. ``reference`` None: the provider does not know it."""
    rig = await make_rig()
    insert(db)
    rig.simulator.add(faults.reset_before_accepting())
    await rig.tick("dispatch")
    batch = "unknown"
    if reference is not None:
        other = await rig.engine.served[0].provider.submit(Submission(reference, None, text, [number(0)]), deadline=5)
        assert isinstance(other, Accepted)
        batch = other.batch_id
    report(db, batch, number(0), "delivered")
    if fault is not None:
        rig.simulator.add(fault)

    for _ in range(3):
        clocks.move(SETTLED)
        await rig.tick("recover", "dispatch")

    assert statuses(db) == {"sent" if decided else "sending": 1}


async def test_many_reported_batches_are_excluded(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    """More than one lookup asks for, of an application that shares the plan."""
    rig = await make_rig()
    insert(db, 25)
    rig.simulator.add(faults.reset_before_accepting())
    await rig.tick("dispatch")
    for n in range(25):
        other = await rig.engine.served[0].provider.submit(Submission("order 7", None, "hello", [number(n)]), deadline=5)
        assert isinstance(other, Accepted)
        report(db, other.batch_id, number(n), "delivered")

    for _ in range(3):
        clocks.move(SETTLED)
        await rig.tick("recover", "dispatch")

    assert statuses(db) == {"sent": 25}


async def test_reported_batch_of_the_request_is_found(
    make_rig: MakeRig, db: Connection, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await make_rig()
    insert(db)
    rig.simulator.add(faults.reset_after_accepting())
    await rig.tick("dispatch")
    (sent,) = rig.simulator.accepted()
    report(db, sent.batch_id, number(0), "delivered")

    async def find(*_: object, **__: object) -> Page[Batch]:
        return Page((), last=True)

    monkeypatch.setattr(SinchClient, "find", find)
    clocks.move(SETTLED)
    await rig.tick("recover")

    assert statuses(db) == {"delivered": 1}


@pytest.mark.parametrize("text", ["", "Your code is 123-456!", "Señor İlker: è ß", "\u2013 'quoted'\n"])
def test_letters_are_digested_as_in_sql(db: Connection, text: str) -> None:
    assert db.execute("select outbox_engine.letters_digest(%s)::text", [text]).fetchone() == (letters_digest(text),)
