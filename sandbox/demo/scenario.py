"""The scenario of the demo: one step after the other, each through the interface that a user would use."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx
from postgrest.types import ReturnMethod
from supabase import Client

from jobs.runtime.masking import mask
from sandbox.demo.appointments import Appointments, Book, Connection
from sandbox.demo.parts import READY_SECONDS, SENDER, PartFailed, Parts
from sandbox.demo.work import TEMPLATE, TEMPLATE_BODY, Message, Work
from sandbox.local import processes
from sandbox.simulator.behaviour import ProviderName, ReportFaults
from sandbox.simulator.control import reset_after_accepting

_ROWS_A_CALL = 500
_LOST_REPORTS = 0.02
_AWAY_SECONDS = 8

_BURST_ROWS_A_CALL = 1000
_DOWN_SECONDS = 4

Act = Callable[[], str]
"""Does something and returns a sentence about it."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Step:
    """An act. It waits for its time, and then until it is ``ready``."""

    at: float
    act: Act
    ready: Callable[[], bool] = _always


class Scenario:
    """The steps that insert ``work`` and cause failures. Times are in seconds from the first insert.

    Of several providers the first is away for a while, and the others send instead.
    """

    def __init__(
        self,
        client: Client,
        parts: Parts,
        work: Work,
        appointments: Appointments | None,
        db: Connection,
    ) -> None:
        self._client = client
        self._appointments = appointments
        self._db = db
        self._parts = parts
        self._first, *self._others = parts.simulators
        self._simulator = parts.simulators[self._first]
        self._work = work
        self._acts = deque(self._script())
        self.caption = ""
        self.killed = 0
        self.burst_inserted = 0
        self._killed_at = 0.0
        self.away: ProviderName | None = None
        """The provider that takes no connection, nor does its simulator one for its controls."""

    @property
    def finished(self) -> bool:
        return not self._acts

    def advance(self, elapsed: float) -> bool:
        """Perform the next step if its time has come. Returns whether one was performed."""
        if self.finished or self._acts[0].at > elapsed or not self._acts[0].ready():
            return False
        self.caption = self._acts.popleft().act()
        return True

    def end(self) -> None:
        """End all faults."""
        self._simulator.change(requests=(), reports=ReportFaults())

    def _script(self) -> Iterator[Step]:
        work = self._work
        yield Step(0, self._template)
        book = None if self._appointments is None else Book(self._db, self._appointments)
        if book is not None:
            yield Step(0, book.open)
        for start in range(0, len(work.first), _ROWS_A_CALL):
            yield Step(0, lambda rows=work.first[start : start + _ROWS_A_CALL]: self._insert(rows))  # type: ignore[misc]
        yield Step(0, self._insert_again)
        yield from self._several() if self._others else self._alone()
        later = _AWAY_SECONDS if self._others else 0
        if work.troubled:
            # A STOP before the first text would rightly keep it back.
            yield Step(8 + later, lambda: self._stop(work.stopper or ""), self._stopper_was_sent)
        if work.cancelled is not None:
            yield Step(12 + later // 2, lambda: self._cancel(work.cancelled or ""))
        if book is not None and self._appointments is not None:
            stopped = self._appointments.stopped.phone
            yield Step(14 + later // 2, book.move)
            yield Step(15 + later // 2, book.cancel)
            yield Step(16 + later // 2, lambda: self._stop(stopped))
        if work.troubled:
            yield Step(17 + later // 2, self._kill)
            yield Step(0, self._take_over, lambda: monotonic() - self._killed_at >= _DOWN_SECONDS)
            # Not before: a poll for a lost report that ends unfinished is repeated two minutes later.
            yield Step(0, self._lose, lambda: monotonic() - self._killed_at >= _DOWN_SECONDS + 2)
        yield from self._burst()

    def _alone(self) -> Iterator[Step]:
        if self._work.codes:
            yield Step(4, self._codes)

    def _several(self) -> Iterator[Step]:
        if self._work.codes:
            yield Step(4, self._codes)
        yield Step(5, self._go_away)
        yield Step(9, self._others_send)
        yield Step(6 + _AWAY_SECONDS, self._come_back)

    def _burst(self) -> Iterator[Step]:
        rows = self._work.burst
        if not rows:
            return
        yield Step(0, self._hasten, self._all_final)
        for start in range(0, len(rows), _BURST_ROWS_A_CALL):
            yield Step(0, lambda end=start + _BURST_ROWS_A_CALL: self._insert_burst(end))  # type: ignore[misc]

    def _stopper_was_sent(self) -> bool:
        query = "select count(*) from public.outbox where recipient = %s and sent_at is not null"
        return self._count(query, self._work.stopper) > 0

    def _all_final(self) -> bool:
        return self._count("select count(*) from public.outbox where finalized_at is null") == 0

    def _count(self, query: str, *values: object) -> int:
        found = self._db.execute(query.encode(), values).fetchone()
        return int(str(found[0])) if found else 0

    def _kill(self) -> str:
        waiting = self._count("select count(*) from public.outbox where finalized_at is null")
        pid = self._parts.kill_scheduler()
        self.killed, self._killed_at = self.killed + 1, monotonic()
        return f"the scheduler, process {pid}, is killed with SIGKILL: its {waiting} open messages stay in the database"

    def _take_over(self) -> str:
        pid = self._parts.start_scheduler()
        return f"a new scheduler, process {pid}, takes over: it looks up what became of open requests, then sends the rest"

    def _hasten(self) -> str:
        self.end()
        self._parts.hasten()
        return "the scheduler restarts without a limit of its rate, for a burst at full speed"

    def _insert_burst(self, end: int) -> str:
        rows = self._work.burst
        self._insert(rows[end - _BURST_ROWS_A_CALL : end])
        self.burst_inserted = min(end, len(rows))
        return f"a burst at full speed: {self.burst_inserted} of {len(rows)} messages are inserted"

    def _template(self) -> str:
        self._client.table("outbox_templates").insert({"name": TEMPLATE, "body": TEMPLATE_BODY}).execute()
        return f"a template {TEMPLATE!r} is stored"

    def _insert(self, messages: Sequence[Message]) -> str:
        # PostgREST wants the same keys in every row of a call; null means the default.
        keys = {key for message in messages for key in message.row}
        rows: list[dict[str, Any]] = [{key: message.row.get(key) for key in keys} for message in messages]
        self._client.table("outbox").insert(rows, returning=ReturnMethod.minimal).execute()
        return f"an app inserts {len(rows)} rows with one call" if len(rows) > 1 else "an app inserts a row"

    def _insert_again(self) -> str:
        self._client.table("outbox").upsert(
            self._work.again.row, on_conflict="idempotency_key", ignore_duplicates=True, returning=ReturnMethod.minimal
        ).execute()
        return "the app inserts one of them again with the same idempotency key: it stays one message"

    def _lose(self) -> str:
        self._simulator.add(reset_after_accepting())
        self._simulator.change(reports=ReportFaults(lost=_LOST_REPORTS))
        return "the answer to a request gets lost, and one report in fifty: both are looked up, nothing is sent again"

    def _codes(self) -> str:
        self._insert(self._work.codes)
        return "one-time codes come in with priority 0: they overtake everything that waits"

    def _go_away(self) -> str:
        self._simulator.refuse(_AWAY_SECONDS)
        self.away = self._first
        return f"{self._first.capitalize()} dies: it hangs up, and takes no connection for {_AWAY_SECONDS} seconds"

    def _others_send(self) -> str:
        return (
            f"what waited for {self._first.capitalize()} goes through {self._others[0].capitalize()}: no one has to do anything"
        )

    def _come_back(self) -> str:
        if not processes.wait_until(self._answers, READY_SECONDS):
            raise PartFailed("the simulator took no connection again")
        self.away = None
        return f"{self._first.capitalize()} is back: it gets one message first, and if that works its share again"

    def _answers(self) -> bool:
        try:
            self._simulator.health()
        except httpx.TransportError:
            return False
        return True

    def _stop(self, stopper: str) -> str:
        self._simulator.text_in(sender=stopper, to=SENDER, body="Stop!")
        return f"{mask(stopper)} replies STOP: what still waits for that number will not be sent"

    def _cancel(self, key: str) -> str:
        self._client.table("outbox").update({"status": "cancelled"}).eq("idempotency_key", key).execute()
        return "the app cancels a row that still waits"
