"""How the simulator behaves: one value, read and replaced over ``/_sim/faults``. Durations are in seconds.

The defaults have no faults. Faults occur at random (drawn from ``seed``) or for the next ``times`` requests.
"""

from random import Random
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from sandbox.simulator.outcomes import SINCH_RULES, VONAGE_RULES, Rule, Share

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
    "records",
    "account",
    "any",
]
"""The kinds of requests. ``send`` exists at both providers, ``records`` and ``account`` at Vonage, the others at Sinch."""

ProviderName = Literal["sinch", "vonage"]


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
    (``json``, ``description``, ``numeric``, ``envelope``) or Vonage does (``problem``: they are its title and detail), or no
    such body; without code and text the body is empty.
    ``hang`` says nothing for ``seconds`` and then drops the connection; ``reset`` drops it at once, ``close`` closes it without
    a TCP reset; ``cut`` sends half of the real answer and closes it; ``delay`` only takes its time; ``overtaken`` accepts, and
    answers once a callback was tried or ``seconds`` have passed. ``stale`` sends the answer to the request of this kind before
    it; ``unreferenced`` leaves out the references of an answer's batches, reports or records, ``rewritten`` writes their
    numbers in another way, and ``unreadable`` adds an item that is no JSON to a list.

    It applies to requests of kind ``on``, at one ``provider`` or both, whose body or query holds ``contains``, with
    ``probability``, at most ``times`` often. ``plan`` limits it to one of Sinch's service plans.
    """

    effect: Literal[
        "answer", "hang", "reset", "close", "cut", "delay", "overtaken", "stale", "unreferenced", "rewritten", "unreadable"
    ]
    on: Kind = "send"
    accept: bool = False
    status: Annotated[int, Meta(ge=200, le=599)] = 500
    page: Literal["json", "description", "numeric", "envelope", "problem", "html", "empty", "truncated"] = "json"
    code: str | None = None
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: Span = 3600.0
    contains: str | None = None
    provider: ProviderName | None = None
    plan: str | None = None
    probability: float = 1.0
    times: int | None = None


class VonageBehaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of Vonage alone.

    ``records_lag``: seconds until the Reports API shows a message, and each change of its status. It returns at most
    ``records_page`` records a page and answers at most ``records_per_second`` requests of an account in any second. Whether
    messages without a status have a record is documented nowhere; ``records_of_accepted`` decides.
    ``unsigned`` is the probability that a webhook comes without a signature at its first try; ``retry_unanswered`` tries
    webhooks again that got no answer, and not only those answered with 429 or 5xx. ``example_types`` numbers refusals as the
    examples of the specification do, and not as its list of errors does: the two disagree.
    """

    rules: tuple[Rule, ...] = VONAGE_RULES
    outcomes: tuple[Share, ...] = ()
    records_lag: Span = 180.0
    records_page: int = 1000
    records_per_second: int | None = 10
    records_of_accepted: bool = True
    unsigned: float = 0.0
    retry_unanswered: bool = False
    example_types: bool = False


class Behaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. The delays of a message's life are counted from one state to the next.

    ``rules``, ``outcomes``, ``list_lag`` and ``queued_callbacks`` are Sinch's; Vonage has its own in ``vonage``.
    """

    seed: int = 1
    latency: Span = 0.0
    list_lag: Span = 0.0
    dispatch_delay: Span = (0.1, 0.4)
    final_delay: Span = (0.4, 1.6)
    rules: tuple[Rule, ...] = SINCH_RULES
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
    vonage: VonageBehaviour = VonageBehaviour()


def milliseconds(span: Span, random: Random) -> int:
    """Draw from a span, in milliseconds."""
    if isinstance(span, tuple):
        return int(random.uniform(*span) * 1000)
    return int(span * 1000)
