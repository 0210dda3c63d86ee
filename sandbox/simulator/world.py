"""Everything that the simulator stores, and the operations that change it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

from sandbox.simulator.behaviour import Behaviour, Kind, milliseconds
from sandbox.simulator.books import Books
from sandbox.simulator.callbacks import Callbacks, Notice
from sandbox.simulator.clock import Clock
from sandbox.simulator.faults import Faults
from sandbox.simulator.http import Answer
from sandbox.simulator.identifiers import ulid
from sandbox.simulator.reporting import Reporter
from sandbox.simulator.rules import RuleBook
from sandbox.simulator.sinch.batches import Batch
from sandbox.simulator.sinch.errors import Refuse, forbidden, violation
from sandbox.simulator.sinch.numbers import bad_recipient, msisdn, recipients, sender
from sandbox.simulator.sinch.plans import InboundView, Plan, PlanSettings
from sandbox.simulator.sinch.wanted import Options, Send, check_send, life_span, moment


class World:
    """The provider behind the API. Must be made and used inside one event loop."""

    def __init__(self, behaviour: Behaviour, plans: list[PlanSettings]) -> None:
        self.clock = Clock()
        self.books = Books()
        self.plans = {settings.id: Plan(settings) for settings in plans}
        self.outstanding = 0
        self.answered: dict[Kind, Answer] = {}
        """The latest answer to a request of each kind that met no fault."""
        self.callbacks = Callbacks(self.clock, behaviour)
        self.reporter = Reporter(self.clock, self.callbacks)
        self._changed = asyncio.Event()
        self._ordinals = 0
        self._ids = Random()
        self.faults = Faults(behaviour)
        self.behave(behaviour)

    def behave(self, behaviour: Behaviour, *, anew: bool = True) -> None:
        """Behave like this from now on. Unless ``anew``, applied faults stay used up. Accepted batches keep their states."""
        self.behaviour = behaviour
        self.callbacks.behaviour = behaviour
        self.faults = Faults(behaviour, () if anew else self.faults.struck)
        self.rules = RuleBook(behaviour)
        self.random = Random(behaviour.seed)

    def agree(self, settings: PlanSettings) -> None:
        """Add a plan, or change one without touching its data."""
        if settings.id in self.plans:
            self.plans[settings.id].settings = settings
        else:
            self.plans[settings.id] = Plan(settings)

    async def reset(self) -> None:
        """Delete everything except the plans and the behaviour; clock and seed start again."""
        self.reporter.clear()
        await self.callbacks.clear()
        self.clock.reset()
        self.books = Books()
        self.answered = {}
        self.plans = {name: Plan(plan.settings) for name, plan in self.plans.items()}
        self._ordinals = 0
        self.behave(self.behaviour)
        self.changed()

    def accept(self, plan: Plan, wanted: Send, replaces: Batch | None = None) -> Batch:
        """Put a batch into the plan's queue. Raises the provider's refusal."""
        written = check_send(wanted)
        numbers = recipients(written)
        self._check_refused(numbers, written)
        self._complete(plan, wanted)
        wanted.to = None
        batch = self._new_batch(plan, wanted, numbers, len(written), replaces.id if replaces else None)
        if replaces is None:
            plan.shelf.put(batch)
        else:
            self.cancel(plan, replaces)
            plan.shelf.swap(replaces, batch)
        self.books.accept(batch)
        self._follow(plan, batch)
        self.changed()
        return batch

    def update(self, plan: Plan, batch: Batch, options: Options, numbers: tuple[str, ...]) -> Batch:
        """Change a batch if nothing of it has left the queue."""
        self._check_refused(numbers, list(numbers))
        self._complete(plan, options)
        now = self.clock.now()
        start, expire = _span(options, now)
        updated = replace(
            batch,
            options=options,
            recipients=numbers,
            modified=now,
            start=start,
            expire=expire,
            queue_start=max(start, batch.queue_start),
        )
        plan.shelf.swap(batch, updated)
        self.books.replace(batch, updated)
        self.reporter.forget(batch)
        plan.feed.forget(batch)
        self._follow(plan, updated)
        return updated

    def cancel(self, plan: Plan, batch: Batch) -> None:
        """Cancel the messages that have not left the queue. A second call changes nothing."""
        if batch.canceled is not None:
            return
        now = self.clock.now()
        batch.cancel(now)
        plan.feed.changed(batch)
        self.reporter.cancel(batch, now)

    def receive(self, plan: Plan, view: InboundView, at: int | None = None) -> InboundView:
        """A phone sends a message to one of the plan's numbers: it is listed, and sent to the plan's URL."""
        view.id = view.id or ulid(self.clock.now(), self._ids)
        plan.receive(self.clock.now() if at is None else at, view)
        self.tell_inbound(plan, view)
        return view

    def tell_inbound(self, plan: Plan, view: InboundView) -> None:
        """Send the callback for an inbound (again)."""
        url = plan.settings.inbound_url or plan.settings.callback_url
        if url and self.behaviour.callbacks:
            self.callbacks.put([Notice(url, plan, lambda: view)])

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.reporter.wake()

    async def settle(self, seconds: float, *, retries: bool) -> bool:
        """Let every message become final and every callback be tried, now. False if that took too long."""
        now = self.clock.now()
        for plan in self.plans.values():
            for batch in plan.feed.unfinished():
                if batch.start <= now:
                    batch.life.hurry(now)
                    plan.feed.changed(batch)
        self.reporter.hurry(now)
        if retries:
            self.callbacks.retry_now()
        return await self.wait_until(self.reporter.idle, seconds)

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until something becomes true. False if it did not within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def changed(self) -> None:
        """Something changed that a caller may be waiting for."""
        self._changed.set()

    async def run(self) -> None:
        """Keep sending callbacks about messages."""
        self.reporter.on_change = self.changed
        try:
            await self.reporter.run()
        finally:
            await self.callbacks.aclose()

    def _new_batch(self, plan: Plan, options: Options, numbers: tuple[str, ...], asked: int, name: str | None) -> Batch:
        now = self.clock.now()
        start, expire = _span(options, now)
        self._ordinals += 1
        return Batch(
            id=name or ulid(now, self._ids),
            ordinal=self._ordinals,
            plan=plan.settings.id,
            options=options,
            recipients=numbers,
            asked=asked,
            behaviour=self.behaviour,
            rules=self.rules,
            created=now,
            modified=now,
            visible=now + milliseconds(self.behaviour.list_lag, self.random),
            start=start,
            expire=expire,
            queue_start=plan.queue(len(numbers), start, now),
            rate=plan.settings.rate,
        )

    def _follow(self, plan: Plan, batch: Batch) -> None:
        plan.feed.watch(batch)
        url = batch.options.callback_url or plan.settings.callback_url
        if url and batch.reporting != "none" and self.behaviour.callbacks:
            self.reporter.watch(batch, url, plan)

    def _check_refused(self, numbers: tuple[str, ...], written: list[str]) -> None:
        refused = self.rules.first_refused(numbers)
        if refused is not None:
            raise bad_recipient("to", next(i for i, text in enumerate(written) if msisdn(text) == numbers[refused]))

    def _complete(self, plan: Plan, options: Options) -> None:
        """Check the limits that depend on the plan."""
        origin = options.from_ or plan.settings.default_originator
        if origin is None:
            raise violation("from is required")
        options.from_ = sender(origin)
        reporting = options.delivery_report or "none"
        if reporting != "none" and not (options.callback_url or plan.settings.callback_url):
            raise forbidden("missing_callback_url", "A delivery report was requested, but there is no callback URL")


def _span(options: Options, now: int) -> tuple[int, int]:
    return life_span(moment(options.send_at, "send_at"), moment(options.expire_at, "expire_at"), now)


def authorised(world: World, plan_id: str, authorization: str) -> Plan:
    """The plan that a request may use. An unknown plan and a wrong token get the same answer."""
    plan = world.plans.get(plan_id)
    if plan is None or authorization != f"Bearer {plan.settings.token}":
        raise Refuse(401)
    return plan
