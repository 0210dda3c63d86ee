"""The scenario of the demo: one step after the other, each through the interface that a user would use."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import httpx
from postgrest.types import ReturnMethod
from supabase import Client

from jobs.runtime.masking import mask
from sandbox.demo.appointments import Book, Connection
from sandbox.demo.campaigns import Campaigns
from sandbox.demo.night import Menu
from sandbox.demo.parts import READY_SECONDS, SENDER, PartFailed, Parts
from sandbox.demo.snapshot import count_messages
from sandbox.demo.work import TEMPLATE, TEMPLATE_BODY, Message, Work
from sandbox.local import processes
from sandbox.simulator.behaviour import ProviderName, ReportFaults
from sandbox.simulator.control import reset_after_accepting, timeout_after_accepting

_ROWS_A_CALL = 500
_LOST_REPORTS = 0.2
_AWAY_SECONDS = 8
_BURST_ROWS_A_CALL = 1000
_DOWN_SECONDS = 3
_ALONE: Final = {
    "book": 6.0,
    "menu": 8.5,
    "stop": 11.0,
    "cancel": 13.0,
    "move": 15.0,
    "call off": 17.0,
    "opt out": 19.0,
    "hang": 21.0,
}
_SEVERAL: Final = {
    "go away": 4.5,
    "others send": 6.5,
    "book": 9.0,
    "menu": 14.0,
    "stop": 15.5,
    "cancel": 17.0,
    "move": 18.5,
    "call off": 20.0,
    "opt out": 21.5,
    "hang": 23.0,
}
"""When each step begins, with one provider and with several: seconds from the first insert."""
_BURST_AT: Final = 30.0
_HELD_REPORT_SECONDS = 8.0
_LONG_SECONDS = 10.0
"""Without a change for so long, the caption says for what the demo waits."""

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
        campaigns: Campaigns | None,
        db: Connection,
    ) -> None:
        self._client = client
        self._campaigns = campaigns
        self._db = db
        self._parts = parts
        self._first, *self._others = parts.simulators
        self._simulator = parts.simulators[self._first]
        self._work = work
        self._acts = deque(sorted(self._script(), key=lambda step: step.at))
        self._changed_at = 0.0
        self._final = 0
        self.caption = ""
        self.killed = 0
        self.burst_inserted = 0
        self._killed_at = 0.0
        self._unanswered_at = 0.0
        self._hastened_at: object = None
        self.away: ProviderName | None = None
        """The provider that takes no connection, nor does its simulator one for its controls."""

    @property
    def left(self) -> int:
        """How many steps are still to come."""
        return len(self._acts)

    def advance(self, elapsed: float) -> bool:
        """Perform the next step if its time has come. Returns whether one was performed."""
        if not self._acts or self._acts[0].at > elapsed or not self._acts[0].ready():
            self._explain(elapsed)
            return False
        self.caption, self._changed_at = self._acts.popleft().act(), elapsed
        return True

    def end(self) -> None:
        """End all faults."""
        for simulator in self._parts.simulators.values():
            simulator.change(requests=(), reports=ReportFaults())

    def _explain(self, elapsed: float) -> None:
        """Say what the demo waits for, if nothing changes for long."""
        if elapsed < self._changed_at + _LONG_SECONDS:
            return
        self._changed_at = elapsed
        now, before = count_messages(self._db), self._final
        self._final = now.final
        if now.final == before and 0 < now.open == now.unreported:
            self.caption = (
                f"the reports of {now.open} messages are missing: the scheduler asks the provider for them, "
                "and again after two minutes where it got no answer"
            )

    def _script(self) -> Iterator[Step]:
        """The steps of the first half minute in any order, and then those that wait for the ones before them."""
        work, at = self._work, _SEVERAL if self._others else _ALONE
        yield Step(0, self._template)
        for start in range(0, len(work.first), _ROWS_A_CALL):
            yield Step(0, lambda rows=work.first[start : start + _ROWS_A_CALL]: self._insert(rows))  # type: ignore[misc]
        yield Step(2, self._insert_again)
        if work.codes:
            yield Step(3, self._codes)
        if self._others:
            yield Step(at["go away"], self._go_away)
            yield Step(at["others send"], self._others_send)
            yield Step(at["go away"] + _AWAY_SECONDS, self._come_back)
        if self._campaigns is not None:
            yield from self._campaign_steps(self._campaigns, at)
        if work.cancelled is not None:
            yield Step(at["cancel"], lambda: self._cancel(work.cancelled or ""))
        if work.troubled:
            # A STOP before the first text would rightly keep it back.
            yield Step(at["stop"], lambda: self._stop(work.stopper or ""), self._stopper_was_sent)
            yield Step(at["hang"], self._leave_unanswered, self._is_quiet)
            yield Step(at["hang"], self._kill, self._is_unanswered)
            yield Step(at["hang"], self._take_over, lambda: self._down_seconds() >= _DOWN_SECONDS)
            # Not before: a poll for a lost report that ends unfinished is repeated two minutes later.
            yield Step(at["hang"], self._lose, lambda: self._down_seconds() >= _DOWN_SECONDS + 2)
        yield from self._burst()

    def _campaign_steps(self, campaigns: Campaigns, at: Mapping[str, float]) -> Iterator[Step]:
        book, menu = Book(self._db, campaigns.appointments), Menu(self._db, campaigns.night)
        yield Step(at["book"], book.open)
        yield Step(at["menu"], menu.announce)
        yield Step(at["move"], book.move)
        yield Step(at["call off"], book.cancel)
        yield Step(at["opt out"], lambda: self._stop(campaigns.appointments.stopped.phone))

    def _burst(self) -> Iterator[Step]:
        rows = self._work.burst
        if not rows:
            return
        yield Step(_BURST_AT, self._hasten, self._all_final)
        for start in range(0, len(rows), _BURST_ROWS_A_CALL):
            yield Step(_BURST_AT, lambda end=start + _BURST_ROWS_A_CALL: self._insert_burst(end), self._is_back)  # type: ignore[misc]

    def _stopper_was_sent(self) -> bool:
        query = "select count(*) from public.outbox where recipient = %s and sent_at is not null"
        return self._count(query, self._work.stopper) > 0

    def _all_final(self) -> bool:
        return count_messages(self._db).open == 0

    def _is_quiet(self) -> bool:
        """Whether no message is due. Vonage cannot say whether it got a request that a killed scheduler was about to make."""
        return self._count("select count(*) from public.outbox where status in ('pending', 'sending')") == 0

    def _is_unanswered(self) -> bool:
        """Whether a provider holds the only request that is on its way."""
        held = sum(sum(simulator.behaviour().struck) for simulator in self._parts.simulators.values())
        sending = self._count("select count(distinct dispatch_id) from public.outbox where status = 'sending'")
        return 0 < sending <= held or (held > 0 and monotonic() - self._unanswered_at > _HELD_REPORT_SECONDS)

    def _is_back(self) -> bool:
        """Whether the scheduler that was started last claims messages."""
        query = "select count(*) from outbox_engine.heartbeats where job = 'dispatch' and ended_at is null and since > %s"
        return self._count(query, self._hastened_at) > 0

    def _down_seconds(self) -> float:
        return monotonic() - self._killed_at

    def _count(self, query: str, *values: object) -> int:
        found = self._db.execute(query.encode(), values).fetchone()
        return int(str(found[0])) if found else 0

    def _kill(self) -> str:
        pid = self._parts.kill_scheduler()
        self.killed, self._killed_at = self.killed + 1, monotonic()
        self.end()
        waiting = count_messages(self._db).open
        return f"the scheduler, process {pid}, is killed with SIGKILL: its {waiting} open messages stay in the database"

    def _take_over(self) -> str:
        pid = self._parts.start_scheduler()
        return f"a new scheduler, process {pid}, takes over: it looks up what became of open requests, then sends the rest"

    def _hasten(self) -> str:
        self.end()
        found = self._db.execute("select now()").fetchone()
        self._hastened_at = found[0] if found else None
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
        return "the answer to a request gets lost, and one report in five: all are looked up, and nothing is sent again"

    def _leave_unanswered(self) -> str:
        # A report, which names the request, would answer it.
        late = ReportFaults(late=1, late_by=_HELD_REPORT_SECONDS)
        for simulator in self._parts.simulators.values():
            simulator.change(requests=(timeout_after_accepting(),), reports=late)
        self._insert(self._work.unanswered)
        self._unanswered_at = monotonic()
        return "the provider accepts the next message, and does not answer"

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
