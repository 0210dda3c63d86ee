"""Different texts share a request if there are more texts than requests, and each recipient gets its own text."""

from typing import Any

from psycopg.types.json import Jsonb

from sandbox.simulator.behaviour import Fault
from tests.engine import Rig, column, insert, number, statuses
from tests.stack import Connection


def bodies(rig: Rig) -> dict[str, str]:
    """Text by number, as the phones received it."""
    return {f"+{message.recipient}": message.body for message in rig.simulator.accepted()}


def insert_texts(db: Connection, texts: list[str], **columns: Any) -> list[int]:
    return [insert(db, first=place, body=text, **columns)[0] for place, text in enumerate(texts)]


async def test_differing_texts_share_a_request_and_arrive_intact(rig: Rig, db: Connection) -> None:
    texts = [f"Dear guest {guest}, your table is ready{'!' * (guest % 3)} 🙂" for guest in range(300)]
    ids = insert_texts(db, texts)

    await rig.tick("dispatch")

    assert rig.simulator.summary().requests["send"] == 1
    assert bodies(rig) == {number(place): text for place, text in enumerate(texts)}
    assert statuses(db) == {"sent": 300}
    assert (column(db, "body", ids[7]), column(db, "parts", ids[7])) == (texts[7], 1)


async def test_template_texts_share_a_request_and_are_stored(rig: Rig, db: Connection) -> None:
    db.execute("insert into public.outbox_templates (name, body) values ('ready', 'Dear {{name}}, see you at {{time}}.')")
    for guest in range(40):
        db.execute(
            "insert into public.outbox (recipient, template, parameters) values (%s, 'ready', %s)",
            [number(guest), Jsonb({"name": f"Ada {guest}", "time": f"{guest % 24}:00"})],
        )

    await rig.tick("dispatch")

    assert rig.simulator.summary().requests["send"] == 1
    assert bodies(rig) == {number(guest): f"Dear Ada {guest}, see you at {guest % 24}:00." for guest in range(40)}
    kept = db.execute("select recipient, body from public.outbox").fetchall()
    assert set(kept) == set(bodies(rig).items())


async def test_text_resembling_a_placeholder_goes_alone(rig: Rig, db: Connection) -> None:
    texts = [f"text {place} {{{{name}}}} {{x}}" for place in range(20)] + ["costs ${price}", "{{0}} ${p0}", "$"]
    insert_texts(db, texts)

    await rig.tick("dispatch")

    assert bodies(rig) == {number(place): text for place, text in enumerate(texts)}
    assert rig.simulator.summary().requests["send"] == 3


async def test_texts_longer_than_a_value_share_too(rig: Rig, db: Connection) -> None:
    texts = [f"{place} " + "".join(chr(97 + (place * place + n * n) % 26) for n in range(700)) for place in range(30)]
    insert_texts(db, texts)

    await rig.tick("dispatch")

    assert bodies(rig) == {number(place): text for place, text in enumerate(texts)}
    assert rig.simulator.summary().requests["send"] == 1


async def test_few_texts_use_a_request_each(rig: Rig, db: Connection) -> None:
    insert_texts(db, [f"text {place}" for place in range(8)])

    await rig.tick("dispatch")

    assert rig.simulator.summary().requests["send"] == 8


async def test_urgent_text_shares_no_request_with_patient_ones(rig: Rig, db: Connection) -> None:
    insert_texts(db, [f"news {place}" for place in range(20)], priority=200)
    insert(db, first=20, body="Your code is 1234", priority=0)

    await rig.tick("dispatch")

    first, *_ = rig.simulator.accepted()
    assert first.body == "Your code is 1234"
    assert rig.simulator.summary().requests["send"] == 2


async def test_a_text_that_is_refused_fails_alone(rig: Rig, db: Connection) -> None:
    ids = insert_texts(db, [f"text {place}" for place in range(64)])
    wrong = column(db, "recipient", ids[23])
    rig.simulator.add(Fault(effect="answer", status=403, code="unknown_campaign", text="no", contains=f"{wrong}"))

    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 63, "failed": 1}
    assert column(db, "status", ids[23]) == "failed"
    assert rig.simulator.summary().requests["send"] <= 14


async def test_refused_sharing_falls_back_to_single_requests(rig: Rig, db: Connection) -> None:
    insert_texts(db, [f"text {place}" for place in range(20)])
    rig.simulator.add(Fault(effect="answer", status=403, code="unknown_campaign", text="no", contains='"parameters"'))

    await rig.tick("dispatch")
    await rig.tick("dispatch")

    assert statuses(db) == {"sent": 20}
    assert bodies(rig) == {number(place): f"text {place}" for place in range(20)}
    assert rig.simulator.summary().requests["send"] == 23


async def test_repeated_claim_returns_the_same_texts(rig: Rig, db: Connection) -> None:
    insert_texts(db, [f"text {place}" for place in range(12)])
    question = (
        "select public.outbox_claim_due('5f0c3f7e-0000-4000-8000-000000000001', 'w', 'sinch', 'p', 'h', 'c', 30, 10,"
        " 8::smallint, 1000::smallint, 100, null, 600, null, true)"
    )

    claims = [db.execute(question).fetchone() for _ in range(2)]

    first, again = (claim[0]["dispatches"][0] for claim in claims if claim is not None)  # type: ignore[index]
    assert dict(zip(first["recipients"], first["texts"], strict=True)) == {number(n): f"text {n}" for n in range(12)}
    assert dict(zip(again["recipients"], again["texts"], strict=True)) == {number(n): f"text {n}" for n in range(12)}
    assert (first["dispatch_id"], first["body"]) == (again["dispatch_id"], None)
