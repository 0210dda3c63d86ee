"""Sinch: its service plans, and the operations that change their batches and inbounds."""

from dataclasses import replace

from sandbox.simulator.behaviour import milliseconds
from sandbox.simulator.callbacks import Notice
from sandbox.simulator.core import Core
from sandbox.simulator.identifiers import ulid
from sandbox.simulator.sinch.batches import Batch
from sandbox.simulator.sinch.errors import Refuse, forbidden, violation
from sandbox.simulator.sinch.life import rule_book
from sandbox.simulator.sinch.numbers import bad_recipient, msisdn, recipients, sender
from sandbox.simulator.sinch.plans import InboundView, Plan, PlanSettings
from sandbox.simulator.sinch.signing import signature_headers
from sandbox.simulator.sinch.timeline import SCHEDULE, Sign, Timeline
from sandbox.simulator.sinch.wanted import Options, Send, check_send, life_span, moment


class Sinch:
    """The provider behind XMS."""

    def __init__(self, core: Core, plans: list[PlanSettings]) -> None:
        self.core = core
        self.clock = core.clock
        self.plans = {settings.id: Plan(settings) for settings in plans}
        self.behave()

    def behave(self) -> None:
        """The behaviour changed. Accepted batches keep their states."""
        self._rules = rule_book(self.core.behaviour)

    def reset(self) -> None:
        """Delete everything except the plans' settings."""
        self.plans = {name: Plan(plan.settings) for name, plan in self.plans.items()}

    def agree(self, settings: PlanSettings) -> None:
        """Add a plan, or change one without touching its data."""
        if settings.id in self.plans:
            self.plans[settings.id].settings = settings
        else:
            self.plans[settings.id] = Plan(settings)

    def authorised(self, plan_id: str, authorization: str) -> Plan:
        """The plan that a request may use. An unknown plan and a wrong token get the same answer."""
        plan = self.plans.get(plan_id)
        if plan is None or authorization != f"Bearer {plan.settings.token}":
            raise Refuse(401)
        return plan

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
        self.core.books.accept(batch)
        self._follow(plan, batch)
        self.core.changed()
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
        self.core.books.replace(batch, updated)
        self.core.reporter.forget(batch.ordinal)
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
        timeline = self.core.reporter.timeline(batch.ordinal)
        if isinstance(timeline, Timeline):
            timeline.cancel(now)
            self.core.reporter.watch(timeline)

    def hurry(self, now: int) -> None:
        """Let every message become final now."""
        for plan in self.plans.values():
            for batch in plan.feed.unfinished():
                if batch.start <= now:
                    batch.life.hurry(now)
                    plan.feed.changed(batch)

    def receive(self, plan: Plan, view: InboundView, at: int | None = None) -> InboundView:
        """A phone sends a message to one of the plan's numbers: it is listed, and sent to the plan's URL."""
        view.id = view.id or ulid(self.clock.now(), self.core.ids)
        plan.receive(self.clock.now() if at is None else at, view)
        self.tell_inbound(plan, view)
        return view

    def tell_inbound(self, plan: Plan, view: InboundView) -> None:
        """Send the callback for an inbound (again)."""
        url = plan.settings.inbound_url or plan.settings.callback_url
        if url and self.core.behaviour.callbacks:
            self.core.callbacks.put([Notice(url, lambda: view, self._signer(plan), SCHEDULE)])

    def _new_batch(self, plan: Plan, options: Options, numbers: tuple[str, ...], asked: int, name: str | None) -> Batch:
        now = self.clock.now()
        start, expire = _span(options, now)
        return Batch(
            id=name or ulid(now, self.core.ids),
            ordinal=self.core.next_ordinal(),
            plan=plan.settings.id,
            options=options,
            recipients=numbers,
            asked=asked,
            behaviour=self.core.behaviour,
            rules=self._rules,
            created=now,
            modified=now,
            visible=now + milliseconds(self.core.behaviour.list_lag, self.core.random),
            start=start,
            expire=expire,
            queue_start=plan.queue(len(numbers), start, now),
            rate=plan.settings.rate,
        )

    def _follow(self, plan: Plan, batch: Batch) -> None:
        plan.feed.watch(batch)
        url = batch.options.callback_url or plan.settings.callback_url
        if url and batch.reporting != "none" and self.core.behaviour.callbacks:
            self.core.reporter.watch(Timeline(batch, url, self._signer(plan)))

    def _signer(self, plan: Plan) -> Sign:
        """The headers of callbacks, by the plan's settings at the time of each try."""

        def sign(body: bytes, _failed: int) -> dict[str, str]:
            settings, now = plan.settings, self.clock.now()
            headers = dict(settings.callback_headers)
            if settings.webhook_secret:
                headers |= signature_headers(settings.webhook_secret, body, ulid(now, self.core.ids), now // 1000)
            return headers

        return sign

    def _check_refused(self, numbers: tuple[str, ...], written: list[str]) -> None:
        refused = self._rules.first_refused(numbers)
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
