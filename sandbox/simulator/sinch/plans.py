"""Service plans. Each is isolated: its own token, batches, inbounds, queue and callback address."""

from bisect import insort

from msgspec import Struct, field

from sandbox.simulator.clock import iso
from sandbox.simulator.sinch.batches import Shelf
from sandbox.simulator.sinch.feed import Feed


class PlanSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of a plan. ``rate`` is in messages a second; without one the queue is never long.

    ``callback_url`` receives reports of batches that name no URL, and all inbounds unless ``inbound_url`` is set. A user and
    password in a URL become basic authentication, ``callback_headers`` are sent as they are, ``webhook_secret`` signs.
    """

    id: str = "demo-plan"
    token: str = "demo-token"
    callback_url: str | None = None
    inbound_url: str | None = None
    webhook_secret: str | None = None
    callback_headers: dict[str, str] = field(default_factory=dict)
    rate: float | None = None
    default_originator: str | None = None


class InboundView(Struct, kw_only=True, omit_defaults=True):
    """A message from a phone, as the API shows it."""

    type: str
    id: str
    from_: str = field(name="from")
    to: str
    body: str
    received_at: str
    operator_id: str | None = None
    sent_at: str | None = None
    client_reference: str | None = None
    udh: str | None = None


class Received(Struct, frozen=True, order=True):
    """An inbound and its time, in milliseconds."""

    at: int
    number: int
    view: InboundView


class Plan:
    """A plan's settings and its data."""

    def __init__(self, settings: PlanSettings) -> None:
        self.settings = settings
        self.shelf = Shelf()
        self.feed = Feed()
        self.inbounds: list[Received] = []
        self._queue_free = 0

    def queue(self, messages: int, start: int, now: int) -> int:
        """Put messages at the end of the queue; gives the instant its first one leaves.

        A batch for later takes its turn at ``start`` and, unlike at the provider, does not delay others then.
        """
        if self.settings.rate is None or start > now:
            return start
        begin = max(start, self._queue_free)
        self._queue_free = begin + int(messages * 1000 / self.settings.rate)
        return begin

    def receive(self, at: int, view: InboundView) -> None:
        view.received_at = iso(at)
        insort(self.inbounds, Received(at, len(self.inbounds), view))
