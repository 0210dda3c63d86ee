"""Events in a run: a server that gets them through a link of its own, and what it must have got in the end."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from random import Random
from time import monotonic, sleep
from typing import Final

from sandbox.local.ports import HOST
from sandbox.receiver.app import Received, Receiver
from sandbox.receiver.server import receiving
from tests.chaos.database import Database
from tests.chaos.fleet import Fleet

LINK: Final = "events"
DISTURBANCES: Final = ("cut events", "events half-open")
SETTINGS: Final = {"EVENTS_ALLOW_PRIVATE_NETWORKS": "1"}
_REFUSED: Final = (500, 500, 503, 302)
_REFUSED_SHARE: Final = 0.05
_SETTLE_SECONDS: Final = 240.0
_NOTHING_NEW_SECONDS: Final = 20.0
"""So long after the last delivery the rest is lost."""
_CHECK_SECONDS: Final = 1.0

_ADD: Final = "select public.outbox_add_event_endpoint('chaos', %s) ->> 'secret'"
_FINALS: Final = "select id, status from public.outbox where finalized_at is not null"
_OPEN: Final = "select count(*) from public.outbox_event_deliveries where status = 'pending'"
_STATES: Final = "select count(*) filter (where status <> 'delivered'), max(attempts) from public.outbox_event_deliveries"
# What failed is tried again in minutes or hours otherwise.
_HASTEN: Final = "update public.outbox_event_deliveries set next_at = outbox_engine.now() where next_at > outbox_engine.now()"
_HASTEN_PROBES: Final = "update outbox_engine.event_lanes set probe_at = outbox_engine.now() where probe_at is not null"


@dataclass(frozen=True, slots=True)
class EventsVerdict:
    """``messages`` with a final status; ``lost`` of them, no event told the server so. ``arrived`` events were taken, those of
    them ``repeated`` more than once, and requests were ``refused`` by the server on purpose. ``unsigned`` requests did not
    verify, ``changed`` events came with two bodies, ``left`` deliveries are not delivered.
    """

    messages: int
    arrived: int
    repeated: int
    refused: int
    most_attempts: int
    lost: int
    unsigned: int
    changed: int
    left: int

    @property
    def broken(self) -> dict[str, int]:
        """Counts of what may not happen, by what it is called."""
        return {
            "messages whose event never arrived": self.lost,
            "events with a wrong signature": self.unsigned,
            "events that came with two bodies": self.changed,
            "events that are not delivered": self.left,
        }

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Events:
    """The server of a run. It refuses one request in twenty."""

    def __init__(self, receiver: Receiver, seed: int) -> None:
        self._receiver = receiver
        self._random = Random(seed)
        receiver.on_event = self._refuse_next

    def connect(self, fleet: Fleet, db: Database) -> None:
        """Have the endpoint added: events go to it through a link that a run disturbs."""
        port = fleet.network.connect(LINK, int(self._receiver.url.rpartition(":")[2]))
        rows = db.ask(_ADD, f"http://{HOST}:{port}/hook")
        if rows is None:
            raise RuntimeError("the endpoint could not be added")
        self._receiver.secrets.append(str(rows[0][0]))

    def settle(self, db: Database, say: Callable[[str], None]) -> EventsVerdict:
        """Wait until each final message was told, and nothing waits. Returns what came, also where that is not all."""
        limit, idle_until = monotonic() + _SETTLE_SECONDS, monotonic() + _NOTHING_NEW_SECONDS
        while True:
            finals, (waiting,) = db.ask(_FINALS) or [], (db.ask(_OPEN) or [(1,)])[0]
            told = self._told()
            lost = [row for row in finals if (int(row[0]), str(row[1])) not in told]
            if waiting:
                idle_until = monotonic() + _NOTHING_NEW_SECONDS
            if (finals and not lost and not waiting) or monotonic() > min(limit, idle_until):
                return self._judge(db, len(finals), len(lost))
            say(f"events: {len(lost)} messages are not told yet, {waiting} deliveries wait")
            db.does(_HASTEN)
            db.does(_HASTEN_PROBES)
            sleep(_CHECK_SECONDS)

    def _told(self) -> set[tuple[int, str]]:
        events = [one.json for one in self._receiver.events()]
        return {(event["data"]["id"], event["data"]["status"]) for event in events if event["type"].startswith("message.")}

    def _judge(self, db: Database, messages: int, lost: int) -> EventsVerdict:
        received, taken = list(self._receiver.received), Counter(one.event_id for one in self._receiver.events())
        bodies: dict[str, set[bytes]] = {}
        for one in received:
            bodies.setdefault(one.event_id, set()).add(one.body)
        left, most = (db.ask(_STATES) or [(1, 0)])[0]
        return EventsVerdict(
            messages=messages,
            arrived=len(taken),
            repeated=sum(count > 1 for count in taken.values()),
            refused=sum(one.status >= 300 for one in received),
            most_attempts=most or 0,
            lost=lost,
            unsigned=sum(not one.verified for one in received),
            changed=sum(len(found) > 1 for found in bodies.values()),
            left=left,
        )

    def _refuse_next(self, _received: Received) -> None:
        if self._random.random() < _REFUSED_SHARE:
            self._receiver.answers.append(self._random.choice(_REFUSED))


@contextmanager
def events(seed: int, *, wanted: bool) -> Iterator[Events | None]:
    """A server for the block, None if none is ``wanted``."""
    if not wanted:
        yield None
        return
    with receiving() as receiver:
        yield Events(receiver, seed)
