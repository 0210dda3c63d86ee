"""Bad numbers among good ones: however the provider refuses them, only they fail, within a bound of requests."""

import json
from collections.abc import Callable
from math import ceil, log2

import pytest

from jobs.providers.answers import Answer
from tests.calls import accept, find_nothing, mark_ambiguous, pauses, release
from tests.engine import column, insert, later, number, stand_still, statuses
from tests.refusing import Sending, errors, insert_many, refusal, refusing
from tests.stack import Connection

ILLEGAL = "Illegal phone number type of MSISDN for a chosen region was used"
LONGEST_WAIT = "31 minutes"


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


ANSWERS: dict[str, Callable[[int, str], Answer]] = {
    "named": lambda place, _: refusal(400, "syntax_invalid_parameter_format", f"The value of to[{place}] is no MSISDN"),
    "named by number": lambda _, number: refusal(400, text=f"Destination {number} not allowed"),
    "unnamed": lambda *_: refusal(400, text="Destination number not allowed"),
    "unnamed 403": lambda *_: refusal(403, "unsupported_number", "not supported"),
    "illegal type": lambda *_: refusal(403, "illegal_number_type", ILLEGAL),
    "description": lambda *_: Answer(400, {}, body(code="syntax_constraint_violation", description="not allowed")),
    "numeric code": lambda *_: Answer(400, {}, body(code=40003, message="not allowed")),
    "envelope": lambda *_: Answer(400, {}, body(error={"code": 400, "status": "INVALID_ARGUMENT", "message": "not allowed"})),
    "no JSON": lambda *_: Answer(400, {}, b"<html>Bad request</html>"),
    "no body": lambda *_: Answer(422, {}, b""),
    "broken off": lambda *_: Answer(400, {}, None),
}
PLACES = {
    "one": [613],
    "two, one in each half": [3, 998],
    "two, the first and the last": [0, 999],
    "five, close together": [400, 401, 402, 403, 404],
    "five, spread": [77, 277, 477, 677, 877],
    "twenty, close together": list(range(600, 620)),
    "twenty, spread": list(range(11, 1000, 50)),
    # Where the first three single messages are tried.
    "five, three of them tried first": [9, 166, 500, 833, 990],
}


@pytest.mark.parametrize("places", PLACES)
def test_only_bad_numbers_among_1000_fail(db: Connection, places: str) -> None:
    check_only_bad_numbers_fail(db, 1000, PLACES[places], ANSWERS["unnamed"])


@pytest.mark.parametrize("answer", [name for name in ANSWERS if name != "unnamed"])
def test_every_shape_of_refusal_is_bisected(db: Connection, answer: str) -> None:
    check_only_bad_numbers_fail(db, 100, [3, 5, 98], ANSWERS[answer])


@pytest.mark.parametrize("answer", ["unnamed", "illegal type"])
@pytest.mark.parametrize(("count", "bad"), [(14, [0, 13]), (48, [0, 1, 2, 3, 4, 5, 6, 7]), (4, [0, 2]), (3, [0, 2])])
def test_small_requests_lose_only_bad_numbers(db: Connection, answer: str, count: int, bad: list[int]) -> None:
    check_only_bad_numbers_fail(db, count, bad, ANSWERS[answer])


def check_only_bad_numbers_fail(db: Connection, count: int, bad: list[int], answer: Callable[[int, str], Answer]) -> None:
    stand_still(db)
    insert_many(db, count)
    sending = Sending(db, refusing({number(n) for n in bad}, answer))

    sending.tick()
    for _ in range(3):
        later(db, LONGEST_WAIT)
        sending.tick()

    assert statuses(db) == {"sent": count - len(bad), "failed": len(bad)}
    assert sending.accepted == {(number(n), "hello"): 1 for n in range(count) if n not in bad}
    assert all(error.startswith("HTTP 4") for error in errors(db))
    assert pauses(db) == []
    assert len(sending.requests) <= len(bad) * (2 * ceil(log2(count)) + 1)


def test_one_acceptance_continues_the_halving_at_once(db: Connection) -> None:
    """Also beside requests whose outcome is not known."""
    insert(db, 8)
    sending = Sending(db, refusing({number(0), number(7)}, ANSWERS["unnamed"]))
    (root,) = sending.claim()
    one, other = sending.request(root)
    assert sending.request(one) == []
    first, second, third = sending.request(other)
    mark_ambiguous(db, first)
    assert statuses(db) == {"sending": 8}

    halves = sending.request(second)

    assert sum(len(half["recipients"]) for half in halves) == 5
    sending.send([*halves, third])
    assert statuses(db) == {"sent": 5, "failed": 2, "sending": 1}
    accept(db, first, "B1")
    assert statuses(db) == {"sent": 6, "failed": 2}


@pytest.mark.parametrize("released", [True, False])
def test_part_that_was_never_judged_fails_no_message(db: Connection, released: bool) -> None:
    insert(db, 8)
    sending = Sending(db, refusing({number(0), number(7)}, ANSWERS["unnamed"]))
    (root,) = sending.claim()
    one, other = sending.request(root)
    sending.request(one)
    first, *others = sending.request(other)
    if released:
        release(db, first)
    else:
        mark_ambiguous(db, first)
        find_nothing(db)

    sending.send(others)
    sending.tick()

    assert statuses(db) == {"sent": 6, "failed": 2}
    assert set(sending.accepted.values()) == {1}


def test_ended_messages_leave_a_waiting_part(db: Connection) -> None:
    cancelled, stopped, *_ = rows = insert(db, 8)
    sending = Sending(db, refusing({number(2), number(7)}, ANSWERS["unnamed"]))
    (root,) = sending.claim()
    one, other = sending.request(root)
    sending.request(one)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [cancelled])
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'asked')", [number(1)])

    sending.send(sending.request(other))
    sending.tick()

    assert (column(db, "status", cancelled), column(db, "status", stopped)) == ("cancelled", "suppressed")
    assert [column(db, "status", row) for row in rows[2:]] == ["failed", "sent", "sent", "sent", "sent", "failed"]


def test_families_of_one_text_are_judged_apart(db: Connection) -> None:
    insert_many(db, 32)
    sending = Sending(db, refusing({number(n) for n in (0, 9, 17, 31)}, ANSWERS["unnamed"]), most_recipients=16)

    sending.send(sending.claim())
    sending.tick()

    assert statuses(db) == {"sent": 28, "failed": 4}
    assert set(sending.accepted.values()) == {1}
