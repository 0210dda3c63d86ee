"""A batch as it was accepted, and a plan's batches in order."""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from msgspec import Struct, field

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.clock import DAY, iso
from sandbox.simulator.outcomes import STOPPED, State
from sandbox.simulator.rules import RuleBook
from sandbox.simulator.sinch.life import Course, Life, live
from sandbox.simulator.sinch.texts import Texts
from sandbox.simulator.sinch.wanted import Options, Parameters

REMEMBERED = 14 * DAY
_EXCUSES = frozenset((402, 403, 404, 406, 407, 408, 410, 411, 412, 413))
"""Ended before the carrier, so that another try, or another plan, can send the text."""


class BatchView(Struct, kw_only=True, omit_defaults=True):
    """A batch as the API shows it. Nulls are omitted."""

    id: str
    to: tuple[str, ...]
    from_: str | None = field(name="from", default=None)
    canceled: bool
    type: str
    body: Any
    udh: str | None = None
    parameters: Parameters | None = None
    delivery_report: str
    send_at: str | None = None
    expire_at: str
    callback_url: str | None = None
    client_reference: str | None = None
    feedback_enabled: bool
    flash_message: bool | None = None
    truncate_concat: bool | None = None
    max_number_of_message_parts: int | None = None
    from_ton: int | None = None
    from_npi: int | None = None
    created_at: str
    modified_at: str


@dataclass(kw_only=True)
class Batch:
    """One accepted batch. Times are in milliseconds; ``ordinal`` counts all batches of the simulator."""

    id: str
    ordinal: int
    plan: str
    options: Options
    recipients: tuple[str, ...]
    asked: int
    behaviour: Behaviour
    rules: RuleBook
    created: int
    modified: int
    visible: int
    start: int
    expire: int
    queue_start: int
    rate: float | None
    canceled: int | None = None
    feedback: frozenset[str] = frozenset()
    provider: Literal["sinch"] = "sinch"

    @property
    def media(self) -> tuple[str, ...]:
        return (self.options.body["url"],) if self.kind == "mt_media" else ()

    def text(self, index: int) -> str:
        """What one recipient gets; with the placeholders where one has no value."""
        text = self.texts.of(self.recipients[index])
        return self.texts.body if text is None else text

    def state(self, index: int, now: int) -> State:
        return self.life.state(index, now)

    def excused(self, index: int, now: int) -> bool:
        outcome = self.state(index, now).outcome
        return outcome.code in _EXCUSES and outcome.status in STOPPED

    @property
    def reference(self) -> str | None:
        return self.options.client_reference

    @property
    def kind(self) -> str:
        return self.options.type or "mt_text"

    @property
    def reporting(self) -> str:
        return self.options.delivery_report or "none"

    @property
    def report_suffix(self) -> str:
        return "mms" if self.kind == "mt_media" else "sms"

    @cached_property
    def texts(self) -> Texts:
        body = self.options.body
        return Texts(body if isinstance(body, str) else str(body.get("message", "")), self.options.parameters)

    @cached_property
    def life(self) -> Life:
        """The states of its messages. Computed on first use: most batches of a benchmark are never read."""
        return live(self.course())

    def course(self) -> Course:
        return Course(
            recipients=self.recipients,
            texts=self.texts,
            behaviour=self.behaviour,
            rules=self.rules,
            ordinal=self.ordinal,
            queue_start=self.queue_start,
            expire=self.expire,
            rate=self.rate,
            most_parts=None if self.options.truncate_concat else self.options.max_number_of_message_parts,
        )

    def begun(self, now: int) -> bool:
        """Whether any message has left the queue."""
        return now >= self.queue_start and self.life.first_change() <= now

    def cancel(self, now: int) -> None:
        if self.canceled is None:
            self.canceled = self.modified = now
            self.life.cancel(now)

    @property
    def empty(self) -> bool:
        """A batch cancelled before its time has no messages to report on."""
        return self.canceled is not None and self.canceled < self.start

    def view(self) -> BatchView:
        wanted = self.options
        return BatchView(
            id=self.id,
            to=self.recipients,
            from_=wanted.from_,
            canceled=self.canceled is not None,
            type=self.kind,
            body=wanted.body,
            udh=wanted.udh,
            parameters=wanted.parameters,
            delivery_report=self.reporting,
            send_at=iso(self.start) if wanted.send_at else None,
            expire_at=iso(self.expire),
            callback_url=wanted.callback_url,
            client_reference=wanted.client_reference,
            feedback_enabled=bool(wanted.feedback_enabled),
            flash_message=wanted.flash_message,
            truncate_concat=wanted.truncate_concat,
            max_number_of_message_parts=wanted.max_number_of_message_parts,
            from_ton=wanted.from_ton,
            from_npi=wanted.from_npi,
            created_at=iso(self.created),
            modified_at=iso(self.modified),
        )


class Shelf:
    """One plan's batches: by id, by reference, and in the order they were made."""

    def __init__(self) -> None:
        self.by_id: dict[str, Batch] = {}
        self._by_reference: dict[str, list[Batch]] = {}
        self._in_order: list[Batch] = []

    def put(self, batch: Batch) -> None:
        self.by_id[batch.id] = batch
        self._in_order.append(batch)
        if batch.reference is not None:
            self._by_reference.setdefault(batch.reference, []).append(batch)

    def swap(self, old: Batch, new: Batch) -> None:
        """Put a replacement or an updated batch in the place of the one with the same id."""
        self.by_id[new.id] = new
        self._in_order[self._in_order.index(old)] = new
        if old.reference is not None:
            self._by_reference[old.reference].remove(old)
        if new.reference is not None:
            self._by_reference.setdefault(new.reference, []).append(new)

    def with_reference(self, reference: str) -> list[Batch]:
        return self._by_reference.get(reference, [])

    def between(self, start: int, end: int, reference: str | None) -> list[Batch]:
        """Batches created in ``[start, end)``, oldest first."""
        if reference is not None:
            return [batch for batch in self.with_reference(reference) if start <= batch.created < end]
        first = bisect_left(self._in_order, start, key=_created)
        return self._in_order[first : bisect_left(self._in_order, end, lo=first, key=_created)]


def _created(batch: Batch) -> int:
    return batch.created
