"""The protocol of a provider, and the values that cross it.

A provider is one folder beside this file that fulfils :class:`Provider`. The jobs know only the values defined here. Wire
formats, status codes and signatures stay inside the folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Submission:
    """One request to send one text to up to :attr:`Provider.max_recipients` numbers.

    ``recipients`` are E.164 with ``+``, no number twice. ``body`` is the text exactly as it must arrive. Where ``parameters``
    is given, ``body`` holds ``{{key}}`` placeholders and ``parameters[key][recipient]`` the values. ``expire_at`` is the
    instant after which the provider must not deliver, or None for the provider's own default. With ``media_url``, an https URL,
    this is an MMS and ``body`` its caption. ``options`` belong to the sender, such as an ``entity_id`` in India; a provider
    ignores those that it does not know.
    """

    reference: str
    sender: str | None
    body: str
    recipients: Sequence[str]
    expire_at: datetime | None = None
    parameters: Mapping[str, Mapping[str, str]] | None = None
    media_url: str | None = None
    options: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the request, and its answer was read: ``batch_id`` is a fact."""

    batch_id: str


class Refusal(StrEnum):
    """Why the provider certainly did not take a request. The reason decides what happens next."""

    RECIPIENT = "recipient"
    """The refusal names a recipient: halve the request until that recipient is alone."""
    SHARED = "shared"
    """A recipient may be at fault, or the part that all recipients share: split the request to find out."""
    SETTING = "setting"
    """A setting of this process is wrong: hold the rows, and fail none."""
    NO_CALLBACK = "no_callback"
    """The provider has no URL for the callbacks that were asked for: send again without callbacks, and poll."""
    THROTTLED = "throttled"
    """The plan sends too fast: every process waits."""
    ACCOUNT = "account"
    """The account or its credential is refused: sending stops, and a probe follows now and then."""
    UNREACHABLE = "unreachable"
    """No connection was established: nothing was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider certainly did not take the request. ``retry_after`` is in seconds."""

    why: Refusal
    error: str
    http_status: int | None = None
    code: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The provider may or may not have taken the request. It is looked up, never resent."""

    error: str
    http_status: int | None = None


Outcome = Accepted | Refused | Ambiguous


class ProviderError(Exception):
    """The provider did not answer a question (not a submission). Nothing is known; ask again later.

    ``unreadable`` is the body of an answer that looks like the provider's own and cannot be read.
    """

    def __init__(
        self,
        error: str,
        *,
        why: Refusal | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
        unreadable: bytes | None = None,
    ) -> None:
        super().__init__(error)
        self.error = error
        self.why = why
        self.http_status = http_status
        self.retry_after = retry_after
        self.unreadable = unreadable

    @property
    def is_about_the_question(self) -> bool:
        """Whether another question may succeed: this one took too long, or its answer could not be read."""
        return self.why not in (Refusal.THROTTLED, Refusal.ACCOUNT, Refusal.UNREACHABLE)


@dataclass(frozen=True, slots=True)
class Batch:
    """A request that the provider lists. ``recipients`` are E.164 with ``+``; ``is_whole``: all of them could be read."""

    batch_id: str
    reference: str | None
    recipients: tuple[str, ...]
    created_at: datetime | None
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class ListedReference:
    """The reference of a request that the provider lists, None if it has none, and when the provider took the request."""

    reference: str | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A request that the provider lists, with the text that each recipient got, None if the list does not give it.

    ``recipients`` are E.164 with ``+``, and ``""`` for each that cannot be read.
    """

    batch_id: str
    reference: str | None
    created_at: datetime
    recipients: tuple[str, ...]
    texts: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery report on one recipient of one batch.

    ``status`` is one of the outbox's own statuses (``sent`` ``dispatched`` ``delivered`` ``failed`` ``rejected`` ``aborted``
    ``expired`` ``cancelled`` ``deleted`` ``unknown``). ``raw`` is the JSON text it was read from.
    """

    batch_id: str
    recipient: str
    status: str
    code: int | None
    at: datetime | None
    reference: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A report on a whole batch that does not name the recipients: the full report has to be fetched."""

    batch_id: str
    reference: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message from a phone. ``sender`` is the phone, ``recipient`` our number, empty if unknown; ``body`` is text or None.

    Without ``received_at`` it counts from its arrival. ``provider`` is the name of the provider that passed it on.
    """

    inbound_id: str
    kind: str
    sender: str
    recipient: str
    body: str | None
    received_at: datetime | None
    reference: str | None
    raw: str
    provider: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """An item that this version cannot read. It is kept as bytes and raises an alarm; it is never dropped."""

    why: str
    raw: bytes


CallbackItem = Report | Summary | Inbound | Unusable


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing. ``last``: no more pages follow. ``total`` is the number of items on all pages, None if unknown."""

    items: tuple[T, ...]
    last: bool
    unusable: tuple[Unusable, ...] = field(default=())
    total: int | None = None


@dataclass(frozen=True, slots=True)
class BatchReports:
    """The reports of some batches. ``unknown`` are the batches that the provider does not know."""

    items: tuple[Report, ...]
    unusable: tuple[Unusable, ...] = ()
    unknown: tuple[str, ...] = ()


class Provider(Protocol):
    """One account (Sinch: service plan, Vonage: application) at one provider.

    Each method makes at most the requests that its docstring names, and never retries. It gives up ``deadline`` seconds after
    the call and aborts the connection. All methods except :meth:`submit` raise :class:`ProviderError`.
    """

    @property
    def name(self) -> str: ...
    @property
    def plan(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def credential(self) -> str:
        """A fingerprint that changes when the credential does and does not reveal it."""
        ...

    @property
    def max_recipients(self) -> int: ...
    @property
    def absence_proof(self) -> timedelta | None:
        """The settling time after which a second empty lookup proves that a request never arrived.

        None: a lookup can find a request and never disprove it. The database decides by ``outbox_engine.providers``.
        """
        ...

    @property
    def has_feed(self) -> bool:
        """Whether :meth:`finished_reports` lists reports. Without it, missing reports are asked for by batch."""
        ...

    @property
    def batches_a_question(self) -> int:
        """The most batches that :meth:`batch_reports` takes."""
        ...

    @property
    def inbounds_every(self) -> timedelta:
        """The shortest time between two readings of :meth:`inbounds`, where each costs something."""
        ...

    @property
    def inbounds_lag(self) -> timedelta:
        """How much later than it arrived a message may appear in :meth:`inbounds`. Readings overlap by it."""
        ...

    @property
    def longest_value(self) -> int:
        """UTF-16 units that a value of :attr:`Submission.parameters` may have; 0 if requests cannot carry parameters."""
        ...

    async def submit(self, submission: Submission, *, deadline: float) -> Outcome:
        """Make exactly one request. Never raises for anything that the network or the provider does."""
        ...

    async def find(
        self,
        reference: str,
        *,
        recipients: Sequence[str],
        since: datetime,
        until: datetime | None,
        page: int,
        deadline: float,
    ) -> Page[Batch]:
        """One page (0-based) of the batches that carry ``reference``, created in ``[since, until)``. No ``until`` is now.

        ``recipients`` are the request's, empty where :attr:`max_recipients` is more than one.
        """
        ...

    async def references(self, *, start: datetime, page: int, deadline: float) -> Page[ListedReference]:
        """One page (0-based) of the references of all requests that the provider took since ``start``, newest first."""
        ...

    async def sent_batches(self, *, start: datetime, end: datetime | None, page: int, deadline: float) -> Page[SentBatch]:
        """One page (0-based) of all requests that the provider took in ``[start, end)``, newest first. No ``end`` is now."""
        ...

    async def batch(self, batch_id: str, *, deadline: float) -> SentBatch | None:
        """One request with its texts. None if the provider does not know it."""
        ...

    async def batch_reports(self, batch_ids: Sequence[str], *, deadline: float) -> BatchReports:
        """The reports of all recipients of these batches, at most :attr:`batches_a_question` of them, in one request."""
        ...

    async def finished_reports(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Report]:
        """One page (0-based) of final reports in ``[start, end)``, newest first."""
        ...

    async def inbounds(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Inbound]:
        """One page (0-based) of inbound messages in ``[start, end)``, newest first."""
        ...

    async def aclose(self) -> None: ...
