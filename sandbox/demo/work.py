"""The messages of the demo, and which of them must be sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

TEMPLATE = "order_ready"
TEMPLATE_BODY = "Hi {{name}}, order {{order}} is ready to pick up."
MOST_MESSAGES = 50_000
TROUBLE_FROM = 20
"""With fewer messages than this there are no failures."""

HELD_SECONDS = 32
"""When messages are due that must not be sent: later than the steps that stop them, also on a slow machine."""
_SOON = (1, 20)
_AFTERWARDS = (30, 34)
"""Between these no message is due, and the scheduler is killed."""
_CODES = 10
_TEMPLATED = 60
_NAMES = ("Ada", "Grace", "Edsger", "Barbara", "Tony", "Radia")
_NOW = ("Your table is ready.", "Your parcel has been handed in at the front desk.")
_BURST = "The concert begins an hour later, at 21:00."
_LATER = "Your appointment is tomorrow at 9:00."

# The simulator fails numbers by their last seven digits, so these cannot end in 01xx like numbers for fiction. No area code
# 555 exists, so they belong to no one.
_FAILING = tuple(f"+1555{ending}" for ending in ("9990402", "9990411", "9990034", "9990062", "9990152", "9990257"))
_REFUSED = "+15559990001"
_STOPPER = "+15555550199"
_CANCELLED = "+15555550198"


@dataclass(frozen=True, slots=True)
class Message:
    """A row to insert. Its recipient must get ``text`` once, or never if ``sent`` is false."""

    recipient: str
    text: str
    sent: bool = True
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """The row as an app inserts it."""
        return {"recipient": self.recipient, **({} if "template" in self.columns else {"body": self.text}), **self.columns}


@dataclass(frozen=True, slots=True)
class Work:
    """``first`` is inserted at once, ``codes`` while much of it still waits, and ``unanswered`` before the scheduler is killed.

    One key is inserted ``again``. ``stopper`` replies STOP, and ``cancelled`` is the key of a row: None where all goes well.
    ``burst`` is inserted when all others are final.
    """

    first: tuple[Message, ...]
    codes: tuple[Message, ...] = ()
    unanswered: tuple[Message, ...] = ()
    stopper: str | None = None
    cancelled: str | None = None
    burst: tuple[Message, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        return self.first + self.codes + self.unanswered

    @property
    def troubled(self) -> bool:
        """Whether something goes wrong on purpose."""
        return self.stopper is not None

    @property
    def again(self) -> Message:
        return self.first[0]


def plan_work(messages: int, *, seed: int = 1, began: datetime | None = None) -> Work:
    """Work with this many rows: half of it due now, half within the next half minute. The same seed gives the same work."""
    random, start = Random(seed), began or datetime.now(UTC)
    codes = min(_CODES, messages // TROUBLE_FROM)
    trouble = _trouble(start) if messages >= TROUBLE_FROM else []
    unanswered = 1 if trouble else 0
    ordinary = messages - codes - unanswered - len(trouble)
    places = random.sample(range(messages - len(trouble)), messages - len(trouble))

    first = [_ordinary(place, random, start, at_once=n < (ordinary + 1) // 2, n=n) for n, place in enumerate(places[:ordinary])]
    first[0] = replace(first[0], columns={**first[0].columns, "idempotency_key": "demo-repeated"})
    return Work(
        # Early in the queue, so that its text is sent before the reply comes.
        first=(first[0], *trouble, *first[1:]),
        codes=tuple(
            Message(number(place), f"Your code is {random.randrange(100_000, 1_000_000)}.", columns={"priority": 0})
            for place in places[ordinary : ordinary + codes]
        ),
        unanswered=tuple(Message(number(place), _NOW[1], columns={"priority": 0}) for place in places[ordinary + codes :]),
        stopper=_STOPPER if trouble else None,
        cancelled="demo-cancelled" if trouble else None,
    )


def plan_burst(messages: int) -> tuple[Message, ...]:
    """One text for so many numbers, due at once."""
    return tuple(Message(number(place), _BURST, columns={"priority": 200}) for place in range(messages))


def number(place: int) -> str:
    """The nth number; North America reserves 555-01xx for fiction in every area."""
    area, line = divmod(place, 100)
    return f"+1{201 + area}55501{line:02d}"


def _ordinary(place: int, random: Random, start: datetime, *, at_once: bool, n: int) -> Message:
    if not at_once:
        later = start + timedelta(seconds=random.uniform(*random.choice((_SOON, _AFTERWARDS))))
        return Message(number(place), _LATER, columns={"send_at": later.isoformat(), "priority": 200})
    if n % 3 == 1 and n < 3 * _TEMPLATED:
        name, order = random.choice(_NAMES), str(random.randrange(1000, 10_000))
        text = TEMPLATE_BODY.replace("{{name}}", name).replace("{{order}}", order)
        return Message(number(place), text, columns={"template": TEMPLATE, "parameters": {"name": name, "order": order}})
    return Message(number(place), random.choice(_NOW))


def _trouble(start: datetime) -> list[Message]:
    in_a_while = (start + timedelta(seconds=HELD_SECONDS)).isoformat()
    return [
        Message(_STOPPER, _NOW[0]),
        *(Message(number, _NOW[0]) for number in _FAILING),
        Message(_REFUSED, _NOW[0], sent=False),
        Message(_STOPPER, _LATER, sent=False, columns={"send_at": in_a_while}),
        Message(
            _CANCELLED,
            _LATER,
            sent=False,
            columns={"send_at": in_a_while, "idempotency_key": "demo-cancelled", "priority": 200},
        ),
    ]
