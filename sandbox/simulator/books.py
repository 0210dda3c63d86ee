"""The provider's own records, for judging others: what was accepted, how often, and when each request came."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from msgspec import Struct

from sandbox.simulator.behaviour import Kind, ProviderName
from sandbox.simulator.clock import iso
from sandbox.simulator.outcomes import State


class Acceptance(Protocol):
    """One accepted request, as the books see it. Recipients are known by their index."""

    @property
    def provider(self) -> ProviderName: ...

    @property
    def id(self) -> str: ...

    @property
    def reference(self) -> str | None: ...

    @property
    def recipients(self) -> Sequence[str]: ...

    @property
    def created(self) -> int: ...

    @property
    def media(self) -> tuple[str, ...]: ...

    def text(self, index: int, /) -> str: ...

    def state(self, index: int, now: int, /) -> State: ...

    def excused(self, index: int, now: int, /) -> bool:
        """Whether the message ended in a way that allows another try, and no phone saw it."""


class Accepted(Struct, kw_only=True, omit_defaults=True):
    """One message that was accepted: the truth about it now. ``reference`` is the sender's own id of the request."""

    provider: ProviderName = "sinch"
    batch_id: str
    reference: str | None = None
    recipient: str
    body: str
    media: tuple[str, ...] = ()
    at: str
    status: str
    code: int
    status_at: str


class Tally(Struct, kw_only=True):
    """How many times one text was accepted for one number, by both providers together.

    ``excused`` of them ended before the carrier in a way that allows another try, or another plan (at Sinch aborted or
    cancelled, at Vonage a rejection before the network), so the phone never saw them. A text was sent twice where
    ``accepted - excused`` exceeds 1.
    """

    recipient: str
    body: str
    accepted: int
    excused: int
    batch_ids: list[str]


class Asked(Struct, kw_only=True, omit_defaults=True):
    """One request. ``status`` 0 means that it got no answer; ``accepted`` counts messages."""

    provider: ProviderName = "sinch"
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
    """Grows by one entry for each accepted request and a few bytes a request; everything else is computed on request."""

    def __init__(self) -> None:
        self._entries: list[Acceptance] = []
        self._messages = 0
        self._times = array("q")
        self._accepted = array("L")
        self._statuses = array("H")
        self._kinds: list[Kind] = []
        self._providers: list[ProviderName] = []
        self._answered: Counter[str] = Counter()

    @property
    def messages(self) -> int:
        return self._messages

    def accept(self, entry: Acceptance) -> None:
        self._entries.append(entry)
        self._messages += len(entry.recipients)

    def replace(self, old: Acceptance, new: Acceptance) -> None:
        """An update changed a batch that nothing has left yet: it was accepted once, in its new form."""
        self._entries[self._entries.index(old)] = new
        self._messages += len(new.recipients) - len(old.recipients)

    def begin(self, at: int, kind: Kind, provider: ProviderName) -> int:
        """A request came in. Returns its place, for :meth:`end`."""
        self._times.append(at)
        self._kinds.append(kind)
        self._providers.append(provider)
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

    def accepted(self, now: int, *, after: int = 0, provider: ProviderName | None = None) -> Iterator[Accepted]:
        """Every accepted message, oldest first, leaving out the first ``after`` requests."""
        for entry in islice(self._of(provider), after, None):
            for index, recipient in enumerate(entry.recipients):
                state = entry.state(index, now)
                yield Accepted(
                    provider=entry.provider,
                    batch_id=entry.id,
                    reference=entry.reference,
                    recipient=recipient,
                    body=entry.text(index),
                    media=entry.media,
                    at=iso(entry.created),
                    status=state.outcome.status,
                    code=state.outcome.code,
                    status_at=iso(state.at),
                )

    def newest(self, now: int) -> Iterator[tuple[Acceptance, int, State]]:
        """Every accepted message, newest request first: its request, its place in it, and its state."""
        for entry in reversed(self._entries):
            for index in range(len(entry.recipients)):
                yield entry, index, entry.state(index, now)

    def tallies(self, now: int, *, provider: ProviderName | None = None) -> list[Tally]:
        """One line for each number and text."""
        tallies: dict[tuple[str, str], Tally] = {}
        for entry in self._of(provider):
            for index, recipient in enumerate(entry.recipients):
                body = entry.text(index)
                tally = tallies.get((recipient, body))
                if tally is None:
                    tally = tallies[recipient, body] = Tally(
                        recipient=recipient, body=body, accepted=0, excused=0, batch_ids=[]
                    )
                tally.accepted += 1
                tally.excused += entry.excused(index, now)
                tally.batch_ids.append(entry.id)
        return list(tallies.values())

    def asked(self, *, after: int = 0, provider: ProviderName | None = None) -> Iterator[Asked]:
        """Every request, oldest first, leaving out the first ``after``."""
        for place in islice(self._places(provider), after, None):
            yield Asked(
                provider=self._providers[place],
                at=iso(self._times[place]),
                kind=self._kinds[place],
                status=self._statuses[place],
                accepted=self._accepted[place],
            )

    def summary(self, now: int, *, provider: ProviderName | None = None) -> Summary:
        """The totals, of one provider or both."""
        tallies, entries, places = self.tallies(now, provider=provider), list(self._of(provider)), list(self._places(provider))
        statuses = Counter(
            entry.state(index, now).outcome.status for entry in entries for index in range(len(entry.recipients))
        )
        return Summary(
            batches=len(entries),
            messages=sum(len(entry.recipients) for entry in entries),
            texts=len(tallies),
            sent_twice=sum(tally.accepted - tally.excused > 1 for tally in tallies),
            statuses=dict(statuses),
            requests=dict(Counter(self._kinds[place] for place in places)),
            answers={str(status): number for status, number in Counter(self._statuses[place] for place in places).items()},
            busiest_minute=self._busiest(places, 60.0, messages=False),
            busiest_second=self._busiest(places, 1.0, messages=True),
        )

    def _busiest(self, places: list[int], seconds: float, *, messages: bool) -> int:
        """The most requests, or accepted messages, within any window of that length."""
        most = running = first = 0
        for place in places:
            running += self._accepted[place] if messages else 1
            while self._times[places[first]] <= self._times[place] - seconds * 1000:
                running -= self._accepted[places[first]] if messages else 1
                first += 1
            most = max(most, running)
        return most

    def _of(self, provider: ProviderName | None) -> Iterator[Acceptance]:
        return (entry for entry in self._entries if provider in (entry.provider, None))

    def _places(self, provider: ProviderName | None) -> Iterator[int]:
        return (place for place, name in enumerate(self._providers) if provider in (name, None))
