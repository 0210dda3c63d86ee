"""How the simulator behaves: one value, read and replaced over ``/_sim/faults``. Durations are in seconds.

The defaults have no faults. Faults occur at random (drawn from ``seed``) or for the next ``times`` requests.
"""

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Span = float | tuple[float, float]
"""A fixed number of seconds, or a lowest and a highest one."""

Kind = Literal[
    "send",
    "list",
    "dry_run",
    "get",
    "update",
    "replace",
    "cancel",
    "feedback",
    "batch_report",
    "recipient_report",
    "feed",
    "inbounds",
    "inbound",
    "any",
]


class Outcome(Struct, frozen=True, forbid_unknown_fields=True):
    """A status of the provider with its code."""

    status: str
    code: int


DELIVERED = Outcome("Delivered", 0)
QUEUED = Outcome("Queued", 400)
DISPATCHED = Outcome("Dispatched", 401)
UNMATCHED = Outcome("Aborted", 405)
EXPIRED_EARLY = Outcome("Aborted", 406)
CANCELLED = Outcome("Cancelled", 407)
TOO_LONG = Outcome("Aborted", 411)
EXPIRED = Outcome("Expired", 34)
STUCK = Outcome("Dispatched", 401)
"""As an outcome: handed to the carrier, and never reported again."""

STOPPED = frozenset(("Aborted", "Cancelled"))
"""These end before the carrier, so Dispatched is skipped."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of numbers that end in ``suffix``: refused when sent, or accepted with an outcome.

    ``times`` limits it to the first so many messages to each such number; later ones are delivered.
    """

    suffix: str
    outcome: Outcome | None = None
    refused: bool = False
    times: int | None = None


class Share(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share (0 to 1) of all messages ends with this outcome."""

    outcome: Outcome
    share: float


class ReportFaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults of callbacks. Each is a probability per recipient.

    ``late`` holds a callback back for ``late_by`` seconds; ``repeated`` sends it twice; ``reordered`` sends the final one
    before Dispatched; ``lost`` sends none; ``contradictory`` adds a final report with another status. Polling returns
    the truth.
    """

    late: float = 0.0
    late_by: Span = 5.0
    repeated: float = 0.0
    reordered: float = 0.0
    lost: float = 0.0
    contradictory: float = 0.0

    def any(self) -> bool:
        return bool(self.late or self.repeated or self.reordered or self.lost or self.contradictory)


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault of requests. With ``accept`` the request takes effect first, and only its answer is affected.

    ``answer`` sends ``status`` with ``page`` as the body: ``code`` and ``text`` in one of the shapes that Sinch shows
    (``json``, ``description``, ``numeric``, ``envelope``), or no such body; without code and text the body is empty.
    ``hang`` says nothing for ``seconds`` and then drops the connection; ``reset`` drops it at once; ``cut`` sends half of the
    real answer and drops it; ``delay`` only takes its time. ``stale`` sends the answer to the request of this kind before it.
    ``unreferenced`` leaves out the references of an
    answer's batches or reports, ``rewritten`` writes their numbers in another way, and ``unreadable`` adds an item that is no
    JSON to a list.
    It applies to requests of kind ``on`` whose body or query holds ``contains``, with ``probability``, at most ``times`` often.
    """

    effect: Literal["answer", "hang", "reset", "cut", "delay", "stale", "unreferenced", "rewritten", "unreadable"]
    on: Kind = "send"
    accept: bool = False
    status: Annotated[int, Meta(ge=200, le=599)] = 500
    page: Literal["json", "description", "numeric", "envelope", "html", "empty", "truncated"] = "json"
    code: str | None = None
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: Span = 3600.0
    contains: str | None = None
    plan: str | None = None
    probability: float = 1.0
    times: int | None = None


def _magic() -> Iterator[Rule]:
    """Numbers that end in ``9990`` and a code of the provider end with that code: long enough not to be met by chance."""
    yield Rule(suffix="9990001", refused=True)
    yield Rule(suffix="9990002", outcome=STUCK)
    yield Rule(suffix="9990003", outcome=Outcome("Unknown", 0))
    yield Rule(suffix="9990034", outcome=EXPIRED)
    for code in (15, 60, 62, 64):
        yield Rule(suffix=f"9990{code:03d}", outcome=Outcome("Failed", code))
    yield Rule(suffix="9990152", outcome=Outcome("Rejected", 152))
    yield Rule(suffix="9990257", outcome=Outcome("Deleted", 257))
    for code in (402, 403, 404, 405, 406, 408, 410, 411, 412, 413):
        yield Rule(suffix=f"9990{code}", outcome=Outcome("Aborted", code))
    yield Rule(suffix="9990407", outcome=CANCELLED)
    yield Rule(suffix="9991404", outcome=Outcome("Aborted", 404), times=1)


MAGIC = tuple(_magic())


class Behaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. The delays of a message's life are counted from one state to the next."""

    seed: int = 1
    latency: Span = 0.0
    list_lag: Span = 0.0
    dispatch_delay: Span = (0.1, 0.4)
    final_delay: Span = (0.4, 1.6)
    rules: tuple[Rule, ...] = MAGIC
    outcomes: tuple[Share, ...] = ()
    reports: ReportFaults = ReportFaults()
    requests: tuple[Fault, ...] = ()
    max_outstanding: int | None = None
    callbacks: bool = True
    queued_callbacks: bool = False
    callback_connections: int = 32
    callback_timeout: float = 10.0
    retry_scale: float = 1.0
    record_callbacks: bool = False


def milliseconds(span: Span, random: Random) -> int:
    """Draw from a span, in milliseconds."""
    if isinstance(span, tuple):
        return int(random.uniform(*span) * 1000)
    return int(span * 1000)
