"""Connections do what processes, operators and apps do, at once and in any order. Then the accepted batches are counted."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from random import Random
from threading import Lock
from typing import Any

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from tests import calls
from tests.engine import insert, later
from tests.nightly import amount, by_day
from tests.stack import Connection

CROWDS = amount("CROWDS", 60)
MEMBERS, STEPS = 5, 80
TEXTS = ("Your order is on its way", "Your table is ready", "Your code is 1234")


@dataclass(frozen=True, slots=True)
class Fate:
    """The outcome of a request: whether the provider accepts it, hides it from its list, and what its sender learns.

    ``late``: the request was accepted, but so late that another process may have decided meanwhile.
    """

    taken: bool
    hidden: bool
    learns: str


class Provider:
    """Decides each request once, at its submission or its first lookup. A request that was looked up first never arrives."""

    def __init__(self) -> None:
        self.fates: dict[str, Fate] = {}
        self.late: list[dict[str, Any]] = []
        self.hides = True
        self._lock = Lock()

    def submit(self, dispatch: dict[str, Any], random: Random) -> Fate:
        learns = random.choice(
            ("accepted", "accepted", "late", "late", "nothing", "nothing", "recipient", "shared", "released")
        )
        taken = learns in ("accepted", "late") or (learns == "nothing" and random.random() < 0.6)
        fate = self._decide(dispatch["dispatch_id"], Fate(taken, taken and learns != "accepted", learns))
        if fate.learns == "late":
            self.late.append(dispatch)
        return fate

    def batches(self, dispatch_id: str) -> list[str]:
        fate = self._decide(dispatch_id, Fate(taken=False, hidden=False, learns="nothing"))
        return [batch(dispatch_id)] if fate.taken and not (fate.hidden and self.hides) else []

    def _decide(self, dispatch_id: str, fate: Fate) -> Fate:
        with self._lock:
            return self.fates.setdefault(dispatch_id, fate)


def batch(dispatch_id: object) -> str:
    return f"batch {dispatch_id}"


class Slow(psycopg.Connection[tuple[Any, ...]]):
    """Commits some of its calls slowly, so that other connections meet uncommitted changes."""

    random: Random

    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        if self.random.random() < 0.7:
            return super().execute(*args, **kwargs)
        with self.transaction():
            cursor = super().execute(*args, **kwargs)
            super().execute("select count(*) from generate_series(1, 50000)")
        return cursor


class Actor:
    """One connection."""

    def __init__(self, db: Connection, provider: Provider, seed: int) -> None:
        self._db = db
        self._provider = provider
        self._random = Random(seed)

    def act(self, steps: int) -> None:
        often = (self.send, self.look_up)
        seldom = (self.insert, self.learn_late, self.report, self.cancel, self.retry, self.tidy, self.wait)
        actions = 2 * often + seldom
        for _ in range(steps):
            action = self._random.choice(actions)
            try:
                action()
            except psycopg.errors.DeadlockDetected:
                continue  # A process repeats such a call too.

    def insert(self) -> None:
        insert(self._db, self._random.randint(1, 4), body=self._random.choice(TEXTS), first=self._random.randrange(5000))

    def send(self) -> None:
        open_ones = calls.claim_all(self._db, plan=self._random.choice(("p", "q")))
        while open_ones:
            dispatch = open_ones.pop()
            fate = self._provider.submit(dispatch, self._random)
            if fate.learns == "accepted":
                calls.accept(self._db, dispatch, batch(dispatch["dispatch_id"]))
            elif fate.learns == "released":
                calls.release(self._db, dispatch)
            elif fate.learns in ("recipient", "shared"):
                open_ones += calls.refuse(self._db, dispatch, fate.learns)
            elif self._random.random() < 0.8:
                calls.mark_ambiguous(self._db, dispatch)

    def learn_late(self) -> None:
        if self._provider.late:
            dispatch = self._provider.late[self._random.randrange(len(self._provider.late))]
            calls.accept(self._db, dispatch, batch(dispatch["dispatch_id"]))

    def report(self) -> None:
        """A report on one message of a random accepted request. It carries the request's reference, as callbacks do."""
        if taken := [dispatch for dispatch, fate in list(self._provider.fates.items()) if fate.taken]:
            dispatch = self._random.choice(taken)
            self._db.execute(
                "select public.outbox_record_reports('webhook', array[%(batch)s], array[recipient], array[%(status)s],"
                " array['0'], array[''], array[%(reference)s], array['{}']) from outbox_engine.dispatch_members"
                " where dispatch_id = %(reference)s::uuid order by outbox_id limit 1",
                {"batch": batch(dispatch), "reference": dispatch, "status": self._random.choice(("dispatched", "delivered"))},
            )

    def look_up(self) -> None:
        for plan in ("p", "q"):
            for lookup in calls.claim_lookups(self._db, plan=plan):
                members = self._db.execute(
                    "select recipient from outbox_engine.dispatch_members where dispatch_id = %s", [lookup["dispatch_id"]]
                ).fetchall()
                batches = self._provider.batches(lookup["dispatch_id"])
                calls.record_lookup(self._db, lookup, batches, [str(recipient) for (recipient,) in members])

    def cancel(self) -> None:
        self._db.execute("select public.outbox_cancel(%s, false)", [self._some_rows()])

    def retry(self) -> None:
        self._db.execute("select public.outbox_retry(%s, false, 86400, false)", [self._some_rows()])

    def tidy(self) -> None:
        self._db.execute("select public.outbox_upkeep(90, null, 1000)")

    def wait(self) -> None:
        later(self._db, "15 seconds")

    def _some_rows(self) -> list[int]:
        found = self._db.execute("select id from public.outbox order by id desc limit 20").fetchall()
        ids = [int(str(row)) for (row,) in found]
        return self._random.sample(ids, min(3, len(ids)))


@pytest.mark.parametrize("seed", by_day(2, range(CROWDS)))
def test_no_duplicate_send_goes_unnoticed_under_concurrency(db: Connection, stack: LocalStack, seed: int) -> None:
    provider = Provider()
    with ThreadPoolExecutor(MEMBERS) as threads:
        crowd = [threads.submit(take_part, stack.admin_url, provider, MEMBERS * seed + n) for n in range(MEMBERS)]
        for member in crowd:
            member.result()

    settle(db, provider)

    assert list(complaints(db, provider)) == []


def take_part(url: str, provider: Provider, seed: int) -> None:
    with closing(Slow.connect(url, autocommit=True)) as db:
        db.random = Random(seed)
        Actor(db, provider, seed).act(STEPS)


def settle(db: Connection, provider: Provider) -> None:
    """Let the list show every accepted batch, and send every row that is still due."""
    provider.hides = False
    last = Actor(db, provider, 0)
    for _ in range(40):
        later(db, "1 minute")
        last.look_up()
        last.tidy()
        for plan in ("p", "q"):
            for dispatch in calls.claim_all(db, plan=plan):
                provider.fates[dispatch["dispatch_id"]] = Fate(taken=True, hidden=False, learns="accepted")
                calls.accept(db, dispatch, batch(dispatch["dispatch_id"]))


def complaints(db: Connection, provider: Provider) -> Iterator[str]:
    accepted: dict[object, list[str]] = defaultdict(list)
    for row, dispatch in db.execute("select outbox_id, dispatch_id::text from outbox_engine.dispatch_members order by 1, 2"):
        if provider.fates[str(dispatch)].taken:
            accepted[row].append(str(dispatch))
    reported = reported_duplicates(db)
    for row, status, name, queue in db.execute("select id, status, batch_id, queue from public.outbox order by id"):
        by = accepted[row]
        if queue is not None or status not in ("sent", "dispatched", "delivered", "failed", "cancelled"):
            yield f"{row} is {status} still"
        if name not in {batch(dispatch) for dispatch in by} and (by or name is not None):
            yield f"{row} is {status} with {name}, the provider took {by}"
        if len(by) > 1 and not any(provider.fates[dispatch].hidden for dispatch in by):
            yield f"{row} was sent twice, though nothing was hidden: {by}"
        if len(by) > 1 and row not in reported:
            yield f"{row} was sent twice and no alarm says so: {by}"
    for dispatch, state in db.execute(
        "select id, state from outbox_engine.dispatches where state in ('claimed', 'awaiting_half', 'ambiguous')"
    ):
        yield f"dispatch {dispatch} is {state} still"
    for (row,) in db.execute("select outbox_id from outbox_engine.duplicate_sends where confirmed_at is null"):
        yield f"whether {row} was sent twice is undecided"


def reported_duplicates(db: Connection) -> set[Any]:
    """Rows with a confirmed duplicate send that is also in the history and in an alarm."""
    records = (
        "select outbox_id from outbox_engine.duplicate_sends where confirmed_at is not null",
        "select outbox_id from public.outbox_events where event = 'duplicate_send'",
        """
        select jsonb_array_elements(detail -> 'outbox_ids')::bigint
        from outbox_engine.alarms where kind = 'message.duplicate_send'
        """,
    )
    return set[Any].intersection(*({row for (row,) in db.execute(question.encode())} for question in records))
