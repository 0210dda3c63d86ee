"""A machine of one message and its requests at several plans, whose answers, lookups and reports come in every order.

A model knows what the books of the providers hold. While one of them may have the message, no plan may take it again, unless
an operator had it sent again since. Walks are random; by night all short ones are made too.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import pytest

from tests import calls
from tests.engine import insert, later, number
from tests.moving import THIRD, allow_network, begin, claim_of, upkeep
from tests.nightly import FACTOR, at_night
from tests.shares import FIRST, SECOND, Named, pause, weigh
from tests.stack import Connection

SAID = {
    "sinch": [("dispatched", 401), ("delivered", 0), ("aborted", 402), ("aborted", 404), ("unknown", 0), ("failed", 60),
              ("aborted", 407)],
    "vonage": [("dispatched", 0), ("delivered", 0), ("aborted", 1100), ("aborted", 1000), ("unknown", 1330), ("failed", 1180),
               ("aborted", 1470)],
}  # fmt: skip
STOPPED = {("aborted", 402), ("aborted", 404), ("aborted", 1100), ("aborted", 1000)}
NO_PROOF = {("unknown", 0), ("unknown", 1330), ("aborted", 407), ("aborted", 1470)}
HANDED_ON = {"dispatched", "unknown"}
MOST = 3
"""Requests of one walk."""


class Event(NamedTuple):
    """``nth`` is a request, ``batch`` one of its batches, in the order in which they came up."""

    kind: str
    nth: int = 0
    batch: int = 0
    said: tuple[str, int] = ("", 0)
    plan: Named = FIRST


@dataclass(slots=True)
class Batch:
    """``era`` counts the operator's retries before it was found; reports are by the era in which they came."""

    id: str
    era: int
    reports: list[tuple[int, tuple[str, int]]] = field(default_factory=list)

    def said_since(self, era: int) -> set[tuple[str, int]]:
        return {said for heard, said in self.reports if heard == era}


@dataclass(slots=True)
class Request:
    """``era`` is that of its claim, or of the time when it was given up."""

    plan: Named
    dispatch: dict[str, Any]
    era: int
    state: str = "open"
    batches: list[Batch] = field(default_factory=list)

    def find(self, name: str, era: int) -> None:
        self.batches.append(Batch(f"{name} {self.dispatch['dispatch_id']}", era))


@dataclass(slots=True)
class Books:
    """What the providers have. ``trusts_network`` is the setting of the route."""

    trusts_network: bool = False
    era: int = 0
    done: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)

    def against_claim(self) -> list[str]:
        """Why no plan may take the message."""
        return [f"{request.plan} {why}" for request in self.requests for why in self._against(request, self._came_to_nothing)]

    def against_retry(self) -> list[str]:
        """Why an operator has to force its retry."""
        return [f"{request.plan} {why}" for request in self.requests for why in self._against(request, self._has_ended)]

    def _against(self, request: Request, is_over: Callable[[Request, set[tuple[str, int]]], bool]) -> Iterator[str]:
        if not request.batches:
            if request.state in ("open", "ambiguous") or (request.state == "given up" and request.era == self.era):
                yield request.state
            return
        if len(request.batches) > 1 and request.batches[1].era == self.era:
            yield "has it twice"
        for batch in request.batches:
            said = batch.said_since(self.era)
            if ("delivered", 0) in said or (batch.era == self.era and not is_over(request, said)):
                yield f"has it and said {sorted(said)}"

    def _came_to_nothing(self, request: Request, said: set[tuple[str, int]]) -> bool:
        """A code that has it sent again, or a proof without a doubt."""
        statuses = {status for status, _ in said}
        if statuses & {"failed"} and not self.trusts_network:
            return False
        is_doubted = bool(statuses & HANDED_ON)
        return (
            ("aborted", 404) in said
            or (("aborted", 1000) in said and not is_doubted)
            or (bool(said & STOPPED) and not is_doubted and not said & NO_PROOF)
            or ("failed" in statuses and not said & NO_PROOF)
        )  # fmt: skip

    def _has_ended(self, request: Request, said: set[tuple[str, int]]) -> bool:
        statuses = {status for status, _ in said}
        return "failed" in statuses or ("aborted" in statuses and not statuses & HANDED_ON)


class Machine:
    """Plays events on the database and on the model. Raises an AssertionError where they do not fit."""

    def __init__(self, db: Connection, plans: tuple[Named, ...], *, trusts_network: bool = False) -> None:
        self.db, self.plans = db, plans
        self.books = Books(trusts_network)
        (self.row,) = insert(db, expires_at="2099-01-01 00:00:00+00")

    def play(self, event: Event) -> None:
        act: Callable[[Event], None] = getattr(self, f"_{event.kind}")
        act(event)
        self._check()

    def events(self) -> list[Event]:
        books, message = self.books, self._message()
        if not books.requests:
            return [Event("claim", plan=plan) for plan in self.plans]
        can = [*self._of_requests()]
        if message["queue"] is not None:
            can += [Event("claim", plan=plan) for plan in self.plans if len(books.requests) < MOST]
            can += [Event("reschedule"), *(Event("reroute", plan=plan) for plan in self.plans[:2])]
        can += [Event("retry"), Event("force")] if message["is_final"] else [Event("cancel")]
        return [event for event in can if event.kind not in books.done]

    def _of_requests(self) -> Iterator[Event]:
        for nth, request in enumerate(self.books.requests):
            if not request.batches:
                yield Event("accept", nth)
                yield from (Event("say", nth, said=said) for said in SAID[request.plan[0]][:3])
            elif len(request.batches) == 1:
                yield Event("repeat", nth)
            for place, batch in enumerate(request.batches):
                heard = {said for _, said in batch.reports}
                yield from (Event("say", nth, place, said) for said in SAID[request.plan[0]] if said not in heard)
            if request.state == "open" and not request.batches:
                yield from (Event(kind, nth) for kind in ("lose", "release", "refuse", "throttle"))
            elif request.state == "ambiguous" and not request.batches:
                yield from (Event(kind, nth) for kind in ("miss", "give_up"))
            if request.state in ("ambiguous", "not found") and not request.batches:
                yield from (Event("find", nth, more) for more in (0, 1))

    # The events

    def _claim(self, event: Event) -> None:
        """By this plan, the others paused, when every wait is over."""
        self._pass("20 minutes")
        for other in self.plans:
            if other != event.plan:
                pause(self.db, other, "operator", 3600)
        taken = claim_of(self.db, event.plan)
        self.db.execute("delete from outbox_engine.plan_pauses")
        for dispatch in taken:
            assert self.books.against_claim() == []
            self.books.requests.append(Request(event.plan, dispatch, self.books.era))

    def _accept(self, event: Event) -> None:
        request = self.books.requests[event.nth]
        request.find("B", self.books.era)
        calls.accept(self.db, request.dispatch, request.batches[0].id)

    def _repeat(self, event: Event) -> None:
        """The provider has a second batch of the request."""
        self.books.done.add("repeat")
        request = self.books.requests[event.nth]
        request.find("again", self.books.era)
        calls.accept(self.db, request.dispatch, request.batches[1].id)

    def _find(self, event: Event) -> None:
        """A lookup finds one batch, or two."""
        request = self.books.requests[event.nth]
        for name in ("B", "again")[: 1 + event.batch]:
            request.find(name, self.books.era)
        found = [batch.id for batch in request.batches]
        assert calls.record_lookup(self.db, request.dispatch, found, [number(0)]) == "found"

    def _say(self, event: Event) -> None:
        """A report carries the reference of its request, which proves that it was accepted."""
        request = self.books.requests[event.nth]
        if not request.batches:
            request.find("B", self.books.era)
        batch = request.batches[event.batch]
        batch.reports.append((self.books.era, event.said))
        calls.report(self.db, batch.id, number(0), *event.said, reference=request.dispatch["dispatch_id"])

    def _lose(self, event: Event) -> None:
        calls.mark_ambiguous(self.db, self._closing(event, "ambiguous").dispatch)

    def _release(self, event: Event) -> None:
        calls.release(self.db, self._closing(event, "released").dispatch)

    def _refuse(self, event: Event) -> None:
        calls.refuse(self.db, self._closing(event, "refused").dispatch)

    def _throttle(self, event: Event) -> None:
        calls.refuse(self.db, self._closing(event, "refused").dispatch, "throttled", http_status=429)
        self.db.execute("delete from outbox_engine.plan_pauses")

    def _closing(self, event: Event, state: str) -> Request:
        request = self.books.requests[event.nth]
        request.state, request.era = state, self.books.era
        return request

    def _miss(self, event: Event) -> None:
        """Two lookups find nothing, which proves something at Sinch only."""
        request = self.books.requests[event.nth]
        for _ in range(2):
            self._pass("30 seconds")
            for lookup in calls.claim_lookups(self.db, provider=request.plan[0], plan=request.plan[1]):
                if calls.record_lookup(self.db, lookup, [], []) == "not_found":
                    assert request.plan[0] == "sinch"
                    request.state = "not found"

    def _give_up(self, event: Event) -> None:
        self._pass("14 days")
        request = self._closing(event, "given up")
        calls.claim_lookups(self.db, provider=request.plan[0], plan=request.plan[1])

    def _retry(self, event: Event) -> None:
        self.books.done.add(event.kind)
        answer = self.db.execute(
            "select public.outbox_retry(array[%s::bigint], %s, null, false) -> 0 ->> 'outcome'",
            [self.row, event.kind == "force"],
        ).fetchone()
        if answer == ("retried",):
            assert event.kind == "force" or self.books.against_retry() == []
            self.books.era += 1

    _force = _retry

    def _cancel(self, event: Event) -> None:
        self.books.done.add(event.kind)
        calls.cancel(self.db, self.row)

    def _reschedule(self, event: Event) -> None:
        self.books.done.add(event.kind)
        self.db.execute(
            "select public.outbox_reschedule(%s, p_send_at => outbox_engine.now() + interval '1 minute')", [self.row]
        )

    def _reroute(self, event: Event) -> None:
        """The default route has this plan alone."""
        self.books.done.add(event.kind)
        self.db.execute("delete from public.outbox_route_plans")
        weigh(self.db, {event.plan: 100})
        self.db.execute("select public.outbox_match_again(0, 100)")

    def settle(self) -> None:
        """A message that waits at last is taken by a plan, or ends because none is left."""
        for plan in self.plans:
            if self._message()["queue"] is not None:
                self._claim(Event("claim", plan=plan))
        upkeep(self.db)
        assert self._message()["queue"] is None

    def _pass(self, interval: str) -> None:
        """The processes of all plans go on."""
        later(self.db, interval)
        self.db.execute("update outbox_engine.heartbeats set at = outbox_engine.now()")
        self.db.execute("update outbox_engine.plans set asked_at = outbox_engine.now()")

    # What holds after each

    def _message(self) -> dict[str, Any]:
        found = self.db.execute(
            "select jsonb_build_object('status', o.status, 'queue', o.queue, 'is_final', o.finalized_at is not null,"
            "  'dispatch_id', o.dispatch_id, 'turned_up', exists ("
            "    select from outbox_engine.duplicate_sends x where x.outbox_id = o.id and x.confirmed_at is null))"
            " from public.outbox o where o.id = %s",
            [self.row],
        ).fetchone()
        assert found is not None
        return cast("dict[str, Any]", found[0])

    def _check(self) -> None:
        """A request that turned up is adopted by the next claim, whichever plan's."""
        message = self._message()
        assert (message["status"] in ("pending", "scheduled")) == (message["queue"] is not None)
        if message["queue"] is not None and not message["turned_up"]:
            assert self.books.against_claim() == []
        present = [r for r in self.books.requests if r.dispatch["dispatch_id"] == message["dispatch_id"]]
        if message["status"] == "sending":
            assert [(r.state in ("open", "ambiguous"), r.batches) for r in present] == [(True, [])]
        elif message["status"] in ("sent", "dispatched"):
            assert all(r.batches for r in present)
            assert present


def walk(db: Connection, machine: Machine, seed: int, steps: int) -> None:
    chance = random.Random(seed)
    books, played = copy.deepcopy(machine.books), []
    try:
        with db.transaction(force_rollback=True):
            for _ in range(steps):
                played.append(chance.choice(machine.events()))
                machine.play(played[-1])
            machine.settle()
    except AssertionError as error:
        raise AssertionError(f"{played}: {error}") from error
    finally:
        machine.books = books


def explore(db: Connection, machine: Machine, depth: int, played: tuple[Event, ...] = ()) -> None:
    """Every walk of this length."""
    for event in machine.events() if depth else []:
        books = copy.deepcopy(machine.books)
        try:
            with db.transaction(force_rollback=True):
                machine.play(event)
                explore(db, machine, depth - 1, (*played, event))
        except AssertionError as error:
            raise AssertionError(f"{(*played, event)}: {error}") from error
        finally:
            machine.books = books


def started(db: Connection, *others: Named, trusts_network: bool = False) -> Machine:
    begin(db)
    if THIRD in others:
        claim_of(db, THIRD)
    if trusts_network:
        allow_network(db)
    return Machine(db, (FIRST, *others), trusts_network=trusts_network)


@pytest.mark.parametrize("others", [(SECOND,), (SECOND, THIRD)])
@pytest.mark.parametrize("trusts_network", [False, True])
def test_random_walks_send_nothing_twice(db: Connection, others: tuple[Named, ...], trusts_network: bool) -> None:
    machine = started(db, *others, trusts_network=trusts_network)
    for seed in range(10 * FACTOR * FACTOR):
        walk(db, machine, seed, steps=9)


@pytest.mark.parametrize(("others", "depth"), [((SECOND,), 3), at_night((SECOND,), 5), at_night((SECOND, THIRD), 4)])
def test_short_walks_send_nothing_twice(db: Connection, others: tuple[Named, ...], depth: int) -> None:
    explore(db, started(db, *others), depth)


def told(nth: int, status: str, code: int, batch: int = 0) -> Event:
    return Event("say", nth, batch, (status, code))


@pytest.mark.parametrize(
    ("function", "rule", "events"),
    [
        ("outbox_engine.record_new_reports", "perform outbox_engine.end_waits_in_doubt(v_outbox_ids, v_now);", [
            Event("claim", plan=SECOND), told(0, "aborted", 1100), Event("claim"), told(0, "dispatched", 0),
            told(1, "aborted", 404)]),
        ("outbox_engine.end_waits_in_doubt", "perform outbox_engine.adopt_second_batches(p_ids, p_now);", [
            Event("claim"), told(0, "failed", 60), Event("retry"), Event("claim"), Event("repeat"), Event("release", 1)]),
        ("public.outbox_retry", "outbox_engine.may_have_arrived_after_all(a.id)", [
            Event("claim"), Event("accept"), Event("repeat"), told(0, "failed", 60), Event("retry")]),
    ],
)  # fmt: skip
def test_machine_notices_a_missing_rule(db: Connection, function: str, rule: str, events: list[Event]) -> None:
    machine = started(db, SECOND)
    found = db.execute("select pg_get_functiondef(%s::regproc)", [function]).fetchone()
    assert found is not None
    definition = str(found[0])
    assert rule in definition
    books = copy.deepcopy(machine.books)
    with db.transaction(force_rollback=True):
        for event in events:
            machine.play(event)
    machine.books = books
    db.execute(definition.replace(rule, "" if rule.endswith(";") else "false").encode())
    try:
        for event in events[:-1]:
            machine.play(event)
        with pytest.raises(AssertionError):
            machine.play(events[-1])
    finally:
        db.execute(definition.encode())
