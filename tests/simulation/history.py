"""One history: everything between the first message and the last event, determined by a seed."""

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final, cast

from jobs.gateway.gateway import Gateway
from jobs.gateway.rpc import Rpc
from jobs.inbound import InboundPolling
from tests.simulation import actors, invariants, operators
from tests.simulation.actors import Stage, Worker
from tests.simulation.books import Books, Request, Taken
from tests.simulation.chaos import Chaos
from tests.simulation.clockwork import Hang, calendar, run
from tests.simulation.database import Database
from tests.simulation.frame import Calm, logs_to, seeded
from tests.simulation.mail import Mail
from tests.simulation.process import Process, Wire
from tests.simulation.provider import Line
from tests.simulation.records import LineWithoutList
from tests.simulation.waiting import Waiting
from tests.simulation.watch import Watch
from tests.simulation.witness import Witness
from tests.snapshots import Snapshot

_HORIZON_SECONDS: Final = 8 * 86400.0
MOST_ROUNDS: Final = 3000
"""Ticks after the last fault. The longest history so far took 939, most of them under 100."""
_MOST_POLLS: Final = 30
_LONGEST_SLEEP: Final = 6 * 3600.0

_RESTORE_SECONDS: Final = 90.0
"""Longer than any call stays on its way, so that none from before the restore arrives after it."""

_RESTORED: Final = "select 1 from outbox_engine.plan_pauses where kind = 'restored'"
_INSERTED: Final = "select recipient, body, count(*) as n from public.outbox group by 1, 2"

# The next instant at which the engine has work.
_NEXT: Final = """
    select extract(epoch from min(x.at) - outbox_engine.now()) as wait from (
      select case when o.queue = 'r' then outbox_engine.now() else o.due_at end as at
        from public.outbox o where o.queue is not null
      union all select o.expires_at from public.outbox o where o.queue is not null
      union all select least(d.lookup_at, d.reconcile_at) from outbox_engine.dispatches d
      union all select d.lease_until + d.deadline from outbox_engine.dispatches d where d.state = 'claimed'
      union all select p.until from outbox_engine.plan_pauses p
        where exists (select from public.outbox where queue is not null) and p.until > outbox_engine.now()
      union all select r.probe_at from outbox_engine.refused_contents r
        where exists (
          select from outbox_engine.held_messages h
          join public.outbox o on o.id = h.outbox_id
          where h.content = r.content and o.queue is not null
        )
    ) x
"""
_OPEN: Final = "select count(*) as rows from public.outbox where finalized_at is null"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a history. ``complaints`` is empty if every invariant held."""

    seed: int
    complaints: tuple[str, ...]
    trace: str
    messages: int
    requests: int
    duplicate_sends: int
    moves: int


def simulate(
    seed: int,
    database: Database,
    *,
    wire: type[Wire] = Wire,
    certain: Collection[str] = (),
    most_rounds: int = MOST_ROUNDS,
) -> Result:
    """Run the history of ``seed``, with the faults of ``certain`` in any case.

    The same seed, code and migrations give the same history. A history that has not settled after ``most_rounds`` complains.
    """
    history = _History(seed, database, wire, Chaos(seed, certain=certain), most_rounds)
    with seeded(seed), logs_to(history.witness):
        database.begin(seed)
        try:
            run(history.play())
        except Hang as hang:
            history.witness.complain(str(hang))
    return history.result()


_EARLIER: Final = timedelta(days=12)
"""How much earlier an operator has the list read where batches before the backup are missing too."""


class _History:
    def __init__(self, seed: int, database: Database, wire: type[Wire], chaos: Chaos, most_rounds: int) -> None:
        self.witness = Witness()
        self._seed = seed
        self._most_rounds = most_rounds
        self._database = database
        self._wire = wire
        self._chaos = chaos
        self._accounts = tuple(
            Books(account, self.witness, prefix=prefix) for prefix, account in zip(("", "other-"), chaos.accounts, strict=False)
        )
        self._watch = Watch(database, self._accounts, self._chaos, self.witness)
        self._random = Random(f"history {seed}")
        self._workers: list[Worker] = []
        self._started = 0
        self._duplicate_sends = self._moves = 0

    def result(self) -> Result:
        return Result(
            self._seed,
            tuple(self.witness.complaints),
            self.witness.trace(),
            self._chaos.profile.messages,
            sum(len(books.requests) for books in self._accounts),
            self._duplicate_sends,
            self._moves,
        )

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        self.witness.now = loop.time
        for account in self._chaos.accounts:
            self.witness.say("seed", f"{self._seed}: {account.profile}")
        webhook = self._gateway(Process("webhook", Calm(self._chaos), self.witness))
        self._mails = {books: Mail(books, self.witness, webhook, self._seed) for books in self._accounts}
        stage = self._stage()
        for books in self._accounts:
            books.troubles = actors.troubles(stage, books.chaos)
        stories = [
            asyncio.create_task(story)
            for story in (
                actors.insert_messages(stage),
                actors.opt_out(stage),
                actors.jump_clocks(stage),
                actors.step_clocks(stage),
                actors.cut_lines(stage),
                *self._of_two_accounts(stage),
                self._keep_workers(),
            )
        ]
        backup = await self._trouble()
        self._chaos.end()
        for story in stories:
            story.cancel()
        for ended in await asyncio.gather(*stories, return_exceptions=True):
            if isinstance(ended, Exception):
                self.witness.complain(f"an actor raised {ended!r}")
        for books in self._accounts:
            books.troubles = []
            books.present.set()
        if self._chaos.profile.has_two:
            operators.resume(stage, self._accounts)
        if backup is not None and await self._restore(*backup):
            return
        await self._quieten()
        invariants.check(self._database, self._accounts, self._watch, self._chaos, self.witness)
        self._duplicate_sends = self._database.query("select count(*) as n from outbox_engine.duplicate_sends")[0]["n"]
        self._moves = self._database.query("select count(*) as n from public.outbox_events where event = 'moved'")[0]["n"]

    def _of_two_accounts(self, stage: Stage) -> Iterator[Coroutine[Any, Any, None]]:
        if self._chaos.profile.has_two:
            yield operators.pause_accounts(stage, self._accounts)
            yield operators.set_routes(stage, self._accounts)
            yield operators.pin_weights(stage, self._accounts)
            for books in self._accounts:
                yield operators.lose_provider(stage, books)

    async def _trouble(self) -> tuple[Snapshot, datetime] | None:
        """Faults happen meanwhile. Returns a backup and its time, where the history ends with its restore."""
        seconds = self._chaos.profile.trouble
        if not self._chaos.happens("database.restored"):
            await asyncio.sleep(seconds)
            return None
        before = self._chaos.between(0.1, 0.6) * seconds
        await asyncio.sleep(before)
        self._database.set_clock(calendar(asyncio.get_running_loop().time()))
        backup = self._database.back_up(), self._database.query("select outbox_engine.now() as at")[0]["at"]
        self.witness.say("backup", "is made")
        await asyncio.sleep(seconds - before)
        return backup

    async def _restore(self, backup: Snapshot, made_at: datetime) -> bool:
        """The database is away for a minute, and comes back as it was. Returns False if no process would notice that.

        Where clocks are set as well, a heartbeat does not tell whether it is older than the backup, and these processes read no
        list after the outage. Processes that learned nothing of the database since the backup end with it. The others send
        nothing afterwards.
        """
        if self._chaos.profile.steps:
            return False
        informed = [worker for worker in self._workers if worker.process.alive and self._knows_more(worker, made_at)]
        if not informed:
            return False
        for worker in self._workers:
            if worker not in informed:
                worker.process.die()
        self._chaos.outage = True
        await asyncio.sleep(_RESTORE_SECONDS)
        inserted = {(row["recipient"], row["body"]): row["n"] for row in self._database.query(_INSERTED)}
        backup.restore()
        self._watch.restored = True
        self.witness.say("backup", "is restored")
        restored_at = asyncio.get_running_loop().time()
        self._chaos.outage = False
        await asyncio.sleep(_RESTORE_SECONDS)
        for request in self._requests():
            if request.started > restored_at:
                self.witness.complain(f"request {request.reference} was made although the database was restored")
        for worker in informed:
            worker.process.die()
        await asyncio.sleep(0)
        await self._adopt(made_at, inserted)
        return True

    def _requests(self) -> Iterator[Request]:
        for books in self._accounts:
            yield from books.requests

    async def _adopt(self, made_at: datetime, inserted: Mapping[tuple[str, str], int]) -> None:
        """An operator adopts what was sent, and a process goes on. No text is sent more often than apps ``inserted`` it.

        What an account without a list has sent since the backup cannot be adopted, and may be sent again.
        """
        forgotten = sum(
            (invariants.sendings(books, since=made_at) for books in self._accounts if not books.chaos.profile.has_list),
            Counter(),
        )
        await self._adopt_since(made_at)
        await self._quieten(made_at)
        sent = sum((invariants.sendings(books) for books in self._accounts), Counter())
        for (recipient, body), times in sent.items():
            if times > inserted.get((recipient, body), 0) + forgotten[recipient, body]:
                self.witness.complain(f"{body!r} was sent to {recipient} {times} times after a restore")

    async def _adopt_since(self, made_at: datetime) -> None:
        operator = self._worker()
        (adoption,) = (one.adoption for one in operator.served if one.line.absence_proof is not None)
        assert adoption is not None
        done = await operator.process.start(adoption.run(made_at, dry_run=False))
        self.witness.say("operator", f"adopts: {done}")
        if done.earlier:
            # The provider's clock is behind.
            done = await operator.process.start(adoption.run(made_at - _EARLIER, dry_run=False))
            self.witness.say("operator", f"adopts from earlier on: {done}")
        if not done.is_complete:
            self.witness.complain(f"the adoption is not complete: {done}")
        for books in self._accounts:
            if not books.chaos.profile.has_list:
                self._database.call("outbox_resume_restored", {"p_provider": books.provider, "p_plan": Line.plan})
        operator.process.die()

    def _knows_more(self, worker: Worker, made_at: datetime) -> bool:
        question = "select %s::timestamptz > %s and %s::timestamptz <= outbox_engine.now() as yes"
        return all(
            self._database.query(question, [one.heartbeat_at, made_at, one.heartbeat_at])[0]["yes"] for one in worker.served
        )

    async def _quieten(self, backup_made_at: datetime | None = None) -> None:
        """Faults stop. One process works on until everything is settled, and an operator reads the alarms."""
        self.witness.say("quiet", "no more faults")
        for worker in self._workers:
            worker.process.die()
        await asyncio.sleep(0)
        self._database.set_clock(calendar(asyncio.get_running_loop().time()))
        self._watch.quiet_at = self._database.now
        survivor = self._worker()
        waiting = Waiting(self._database)
        for _ in range(self._most_rounds):
            await survivor.tick_all()
            if self._chaos.profile.has_two:
                for wrong in waiting.wrong():
                    self.witness.complain(wrong)
            if self._database.query("select 1 from outbox_engine.refused_contents where held_since is not null"):
                for books in self._accounts:
                    books.poisoned_texts = frozenset()  # The text is allowed now.
            if backup_made_at is not None and self._database.query(_RESTORED):
                # A request from before the restore arrived after the adoption.
                await self._adopt_since(backup_made_at)
            wait = self._next_wait()
            if wait is None:
                break
            await asyncio.sleep(wait)
        else:
            self.witness.complain("it never settles")
        await self._read_replies(survivor)
        await survivor.drain()

    async def _read_replies(self, survivor: Worker) -> None:
        """Polls bring every message of a phone that no callback brought, where a list is shorter than a poll's share.

        Not where the provider has no list of them.
        Not after a restore: in histories no process reads the provider's list at its start, so the first poll, which may come
        an hour later here, does not know the provider's clock.
        """
        if self._watch.restored:
            return
        for books, one in zip(self._accounts, survivor.served, strict=True):
            profile = books.chaos.profile
            if profile.has_list and not profile.rates["list.paged"]:
                await self._read_replies_of(books, survivor, one.inbound)

    async def _read_replies_of(self, books: Books, survivor: Worker, inbound: InboundPolling) -> None:
        missing: set[str] = set()
        for _ in range(_MOST_POLLS):
            missing = {inbound.inbound_id for _, inbound in books.inbounds} - {
                row["id"] for row in self._database.query("select id from public.outbox_inbound")
            }
            if not missing:
                return
            await asyncio.sleep(inbound.interval + 1)
            await survivor.tick(inbound)
        self.witness.complain(f"replies were never read: {sorted(missing)}")

    def _next_wait(self) -> float | None:
        """Seconds until something is due, or None if everything is settled or the horizon is reached."""
        now = asyncio.get_running_loop().time()
        self._database.set_clock(calendar(now))
        wait = self._database.query(_NEXT)[0]["wait"]
        open_rows = self._database.query(_OPEN)[0]["rows"]
        if now > _HORIZON_SECONDS or (wait is None and not open_rows):
            return None
        return min(_LONGEST_SLEEP, max(0.5, float(wait) + 0.001)) if wait is not None else _LONGEST_SLEEP

    # Processes

    async def _keep_workers(self) -> None:
        """Start processes, drain some, and start others for those that died."""
        while True:
            self._workers = [worker for worker in self._workers if worker.process.alive]
            while len(self._workers) < self._chaos.profile.workers:
                self._workers.append(self._worker(may_serve_one=True))
                self._workers[-1].start()
            await asyncio.sleep(self._chaos.between(1, 10))
            if self._chaos.happens("process.drain"):
                worker = self._chaos.pick(self._workers)
                if worker.process.alive:
                    await worker.drain()

    def _worker(self, *, may_serve_one: bool = False) -> Worker:
        """A process for all accounts, or for one of them where that happens."""
        self._started += 1
        process = Process(f"w{self._started}", self._chaos, self.witness)
        served: list[tuple[int | None, Books]] = list(enumerate(self._accounts))
        if may_serve_one and self._chaos.happens("process.one_account"):
            position, books = self._chaos.pick(served)
            # It knows of the other account, or not.
            served = [(self._chaos.pick((position, None)), books)]
        elif len(served) == 1:
            served = [(None, self._accounts[0])]
        lines = [(position, self._line(process, books), books.chaos.profile) for position, books in served]
        return Worker(process, self._gateway(process), lines, self.witness)

    def _line(self, process: Process, books: Books) -> Line:
        kind = Line if books.chaos.profile.has_list else LineWithoutList
        return kind(process, books, self.witness, on_start=self._watch.request_starts, on_taken=partial(self._taken, books))

    def _taken(self, books: Books, taken: Taken) -> None:
        self._watch.batch_taken(taken)
        self._mails[books].taken(taken)

    def _gateway(self, process: Process) -> Gateway:
        return Gateway(cast(Rpc, self._wire(process, self._database, self._chaos, self.witness, self._watch)))

    def _stage(self) -> Stage:
        profile, chaos = self._chaos.profile, self._chaos
        numbers = tuple(f"+1202555{n:04d}" for n in range(100, 100 + profile.numbers))
        texts = tuple(f"text {n}" for n in range(profile.texts))
        for books in self._accounts:
            happens = books.chaos.happens
            books.poisoned_numbers = frozenset(n for n in numbers if happens("answer.poisoned_number"))
            books.poisoned_texts = frozenset(text for text in texts if happens("answer.poisoned_text"))
        return Stage(self._database, chaos, tuple(self._mails.values()), self.witness, self._random, numbers, texts)
