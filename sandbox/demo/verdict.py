"""The verdict: messages lost, sent twice, or sent although they must not be, by the provider's records alone."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from sandbox.demo.work import Message
from sandbox.simulator.books import Tally


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the demo came to. ``seconds`` are from the first insert to the last final state.

    ``lost`` were never accepted by the provider, ``sent_twice`` more often than once, ``sent_wrongly`` though they must not be.
    ``stuck`` rows had no final status when the demo gave up, which was before ``steps_left`` steps. ``statuses`` are ours, and
    so are the ``reminders``: what became of each, those that were too late to become a message included. ``messages`` counts
    what was inserted, without the ``campaign_messages``; both are in ``statuses``. ``overnight`` of these wait for the morning.
    ``requests`` are those that send. ``providers`` says of each how many messages it accepted, with how many such requests.
    ``killed`` counts schedulers. ``burst`` is not in ``messages``.
    """

    messages: int
    campaign_messages: int
    statuses: dict[str, int]
    reminders: dict[str, int]
    lost: int
    sent_twice: int
    sent_wrongly: int
    stuck: int
    steps_left: int
    requests: int
    seconds: float
    version: str
    providers: dict[str, dict[str, int]] = field(default_factory=dict)
    killed: int = 0
    overnight: int = 0
    burst: dict[str, float] | None = None

    @property
    def good(self) -> bool:
        return not (self.lost or self.sent_twice or self.sent_wrongly or self.stuck or self.steps_left)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Count:
    """Messages, by (number, text)."""

    lost: int
    sent_twice: int
    sent_wrongly: int


def together(books: Iterable[Tally]) -> list[Tally]:
    """The books of several simulators as one: what two of them accepted, one tally counts."""
    found: dict[tuple[str, str], Tally] = {}
    for tally in books:
        place = tally.recipient.removeprefix("+"), tally.body
        one = found.get(place)
        found[place] = tally if one is None else _added(one, tally)
    return list(found.values())


def _added(one: Tally, other: Tally) -> Tally:
    return Tally(
        recipient=one.recipient,
        body=one.body,
        accepted=one.accepted + other.accepted,
        excused=one.excused + other.excused,
        batch_ids=[*one.batch_ids, *other.batch_ids],
    )


def compare(messages: Iterable[Message], books: Iterable[Tally]) -> Count:
    """Compare the inserted messages with those that the provider accepted."""
    wanted = {(message.recipient.removeprefix("+"), message.text) for message in messages if message.sent}
    accepted = {(tally.recipient.removeprefix("+"), tally.body): tally for tally in books}
    return Count(
        lost=len(wanted - accepted.keys()),
        sent_twice=sum(tally.accepted - tally.excused > 1 for tally in accepted.values()),
        sent_wrongly=len(accepted.keys() - wanted),
    )
