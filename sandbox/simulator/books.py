"""The provider's own records, for judging others: what was accepted, how often, and when each request came."""

from array import array
from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from sandbox.simulator.behaviour import Kind
from sandbox.simulator.clock import iso
from sandbox.simulator.sinch.batches import Batch
from sandbox.simulator.sinch.life import State

_EXCUSES = frozenset((404, 407))


class Accepted(Struct, kw_only=True, omit_defaults=True):
    """One message that was accepted: the truth about it now."""

    batch_id: str
    reference: str | None = None
    recipient: str
    body: str
    at: str
    status: str
    code: int
    status_at: str


class Tally(Struct, kw_only=True):
    """How many times one text was accepted for one number.

    ``excused`` of them ended before the carrier in a way that allows another try (temporary failure, cancelled), so the phone
    never saw them. A text was sent twice where ``accepted - excused`` exceeds 1.
    """

    recipient: str
    body: str
    accepted: int
    excused: int
    batch_ids: list[str]


class Asked(Struct, kw_only=True, omit_defaults=True):
    """One request. ``status`` 0 means that it got no answer; ``accepted`` counts messages."""

    at: str
    kind: str
    status: int
    accepted: int = 0


class Summary(Struct, kw_only=True):
    """The totals. ``busiest_minute`` counts requests in any 60 seconds, ``busiest_second`` messages accepted in any one."""

    batches: int
    messages: int
    texts: int
    sent_twice: int
    statuses: dict[str, int]
    requests: dict[str, int]
    answers: dict[str, int]
    busiest_minute: int
    busiest_second: int


class Books:
    """Grows by one entry a batch and a few bytes a request; everything else is computed on request."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._messages = 0
        self._times = array("q")
        self._accepted = array("L")
        self._statuses = array("H")
        self._kinds: list[Kind] = []
        self._answered: Counter[str] = Counter()

    @property
    def messages(self) -> int:
        return self._messages

    def accept(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._messages += len(batch.recipients)

    def replace(self, old: Batch, new: Batch) -> None:
        """An update changed a batch that nothing has left yet: it was accepted once, in its new form."""
        self.batches[self.batches.index(old)] = new
        self._messages += len(new.recipients) - len(old.recipients)

    def begin(self, at: int, kind: Kind) -> int:
        """A request came in. Returns its place, for :meth:`end`."""
        self._times.append(at)
        self._kinds.append(kind)
        self._statuses.append(0)
        self._accepted.append(0)
        return len(self._times) - 1

    def end(self, place: int, status: int, accepted: int) -> None:
        """The request was answered (status 0: without an answer), and put ``accepted`` messages into the queue."""
        self._statuses[place] = status
        self._accepted[place] = accepted
        self._answered[self._kinds[place]] += 1

    def answered(self, kind: str) -> int:
        """How many requests of a kind were answered."""
        return sum(self._answered.values()) if kind == "any" else self._answered[kind]

    def accepted(self, now: int, *, after: int = 0) -> Iterator[Accepted]:
        """Every accepted message, oldest first, leaving out the first ``after`` batches."""
        for batch in self.batches[after:]:
            for index, recipient in enumerate(batch.recipients):
                state = batch.life.state(index, now)
                yield Accepted(
                    batch_id=batch.id,
                    reference=batch.reference,
                    recipient=recipient,
                    body=_text(batch, recipient),
                    at=iso(batch.created),
                    status=state.outcome.status,
                    code=state.outcome.code,
                    status_at=iso(state.at),
                )

    def tallies(self, now: int) -> list[Tally]:
        """One line for each number and text."""
        tallies: dict[tuple[str, str], Tally] = {}
        for batch in self.batches:
            for index, recipient in enumerate(batch.recipients):
                body = _text(batch, recipient)
                tally = tallies.get((recipient, body))
                if tally is None:
                    tally = tallies[recipient, body] = Tally(
                        recipient=recipient, body=body, accepted=0, excused=0, batch_ids=[]
                    )
                tally.accepted += 1
                tally.excused += _excused(batch.life.state(index, now))
                tally.batch_ids.append(batch.id)
        return list(tallies.values())

    def asked(self, *, after: int = 0) -> Iterator[Asked]:
        """Every request, oldest first, leaving out the first ``after``."""
        for place in range(after, len(self._times)):
            yield Asked(
                at=iso(self._times[place]),
                kind=self._kinds[place],
                status=self._statuses[place],
                accepted=self._accepted[place],
            )

    def summary(self, now: int) -> Summary:
        tallies = self.tallies(now)
        statuses = Counter(
            batch.life.state(index, now).outcome.status for batch in self.batches for index in range(len(batch.recipients))
        )
        return Summary(
            batches=len(self.batches),
            messages=self._messages,
            texts=len(tallies),
            sent_twice=sum(tally.accepted - tally.excused > 1 for tally in tallies),
            statuses=dict(statuses),
            requests=dict(Counter(self._kinds)),
            answers={str(status): number for status, number in Counter(self._statuses).items()},
            busiest_minute=self.busiest(60.0, messages=False),
            busiest_second=self.busiest(1.0, messages=True),
        )

    def busiest(self, seconds: float, *, messages: bool) -> int:
        """The most requests, or accepted messages, within any window of that length."""
        most = running = first = 0
        for place, moment in enumerate(self._times):
            running += self._accepted[place] if messages else 1
            while self._times[first] <= moment - seconds * 1000:
                running -= self._accepted[first] if messages else 1
                first += 1
            most = max(most, running)
        return most


def _text(batch: Batch, recipient: str) -> str:
    text = batch.texts.of(recipient)
    return batch.texts.body if text is None else text


def _excused(state: State) -> bool:
    return state.outcome.code in _EXCUSES and state.outcome.status in ("Aborted", "Cancelled")
