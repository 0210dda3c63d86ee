"""The scenario of the demo: one step after the other, each through the interface that a user would use."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
from postgrest.types import ReturnMethod
from supabase import Client

from jobs.runtime.masking import mask
from sandbox.demo.appointments import Appointments, Book, Connection
from sandbox.demo.parts import READY_SECONDS, SENDER, PartFailed
from sandbox.demo.work import TEMPLATE, TEMPLATE_BODY, Message, Work
from sandbox.local import processes
from sandbox.simulator.behaviour import ProviderName, ReportFaults
from sandbox.simulator.control import Control, reset_after_accepting

_ROWS_A_CALL = 500
_LOST_REPORTS = 0.02
_AWAY_SECONDS = 8

Act = Callable[[], str]
"""Does something and returns a sentence about it."""


class Scenario:
    """The steps that insert ``work`` and cause failures. Times are in seconds from the first insert.

    Of several providers the first is away for a while, and the others send instead.
    """

    def __init__(
        self,
        client: Client,
        simulators: Mapping[ProviderName, Control],
        work: Work,
        appointments: Appointments | None,
        db: Connection,
    ) -> None:
        self._client = client
        self._appointments = appointments
        self._db = db
        self._first, *self._others = simulators
        self._simulator = simulators[self._first]
        self._work = work
        self._acts = deque(self._script())
        self.caption = ""
        self.away: ProviderName | None = None
        """The provider that takes no connection, nor does its simulator one for its controls."""

    @property
    def finished(self) -> bool:
        return not self._acts

    def advance(self, elapsed: float) -> bool:
        """Perform the next step if its time has come. Returns whether one was performed."""
        if self.finished or self._acts[0][0] > elapsed:
            return False
        self.caption = self._acts.popleft()[1]()
        return True

    def end(self) -> None:
        """End all faults."""
        self._simulator.change(requests=(), reports=ReportFaults())

    def _script(self) -> Iterator[tuple[float, Act]]:
        work = self._work
        yield 0, self._template
        book = None if self._appointments is None else Book(self._db, self._appointments)
        if book is not None:
            yield 0, book.open
        for start in range(0, len(work.first), _ROWS_A_CALL):
            yield 0, lambda rows=work.first[start : start + _ROWS_A_CALL]: self._insert(rows)  # type: ignore[misc]
        yield 0, self._insert_again
        if work.stopper is not None and not self._others:
            yield 1, self._lose
        if work.codes:
            yield 4, self._codes
        later = 0
        if self._others:
            later = _AWAY_SECONDS
            yield 5, self._go_away
            yield 9, self._others_send
            yield 6 + _AWAY_SECONDS, self._come_back
            # Not before: a poll for a lost report that meets no provider is repeated two minutes later.
            if work.stopper is not None:
                yield 7 + _AWAY_SECONDS, self._lose
        if work.stopper is not None:
            yield 8 + later, lambda: self._stop(work.stopper or "")
        if work.cancelled is not None:
            yield 12 + later // 2, lambda: self._cancel(work.cancelled or "")
        if book is not None and self._appointments is not None:
            stopped = self._appointments.stopped.phone
            yield 14 + later // 2, book.move
            yield 15 + later // 2, book.cancel
            yield 16 + later // 2, lambda: self._stop(stopped)

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
