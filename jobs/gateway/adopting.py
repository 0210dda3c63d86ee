"""The calls about a database that was restored from a backup."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from jobs.gateway.rpc import Calls
from jobs.gateway.values import Plan
from jobs.providers.base import ListedReference

KNOWN: Final = "known"
"""The database has the request with this reference."""
UNKNOWN: Final = "unknown"
"""This installation made the request, and the database does not have it: it was restored from a backup."""


@dataclass(frozen=True, slots=True)
class Found:
    """A batch of the provider's list for adoption.

    ``recipients`` are empty where a number cannot be read. ``digests`` are the MD5s of the texts, and ``letters`` their
    ``letters_digest``, None for a text that is not known.
    """

    batch_id: str
    reference: str | None
    created_at: str
    recipients: Sequence[str]
    digests: Sequence[str | None]
    letters: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Counts:
    """What adoption did, or would do.

    In batches: ``other`` are not of this installation, ``known`` were in the database before, ``unknown`` were missing.
    ``doubtful`` show no reference, or a part of one, and may be of this installation: their messages are remembered. In
    messages: ``accepted`` have a known request whose outcome was not known; ``adopted`` waited or had ended, and were sent in a
    missing request; ``remembered`` are of missing requests and have no row. ``held`` of these hold a message that waits.
    ``unreadable`` are of missing requests too, and their numbers cannot be read: messages with their text are held.
    """

    other: int = 0
    known: int = 0
    unknown: int = 0
    doubtful: int = 0
    accepted: int = 0
    adopted: int = 0
    remembered: int = 0
    held: int = 0
    unreadable: int = 0

    def __add__(self, more: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(more, name) for name in self.__slots__))

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Counts":
        return cls(**{name: answer[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Example:
    """A message that adoption met: ``kind`` is ``adopted``, ``remembered`` or ``unreadable``. ``id`` None: it has no row."""

    kind: str
    recipient: str
    batch_id: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What one call did: ``taken`` are the ids of the adopted messages."""

    counts: Counts
    taken: tuple[int, ...]
    examples: tuple[Example, ...]


class Adopting(Calls):
    """Compares the provider's list with the database, and adopts what the database lacks."""

    async def check_references(
        self, plan: Plan, listed: Sequence[ListedReference], *, project: str | None
    ) -> tuple[str, ...] | None:
        """What each reference is: :data:`KNOWN`, :data:`UNKNOWN` or ``other``. The first unknown one stops all sending.

        None if the database does not send from this project: ``project`` is its host, None to not ask that.
        """
        answer = await self._rpc.call(
            "outbox_check_references",
            {
                "p_provider": plan.provider,
                "p_plan": plan.plan,
                "p_project": project,
                "p_references": [one.reference or "" for one in listed],
                "p_times": [None if one.created_at is None else one.created_at.isoformat() for one in listed],
            },
        )
        return None if answer is None else tuple(answer)

    async def begin_adoption(self, plan: Plan) -> None:
        """Stop sending for all plans, until each plan's list was adopted."""
        await self._rpc.call("outbox_begin_adoption", {"p_provider": plan.provider, "p_plan": plan.plan})

    async def adopt_batches(
        self,
        plan: Plan,
        batches: Sequence[Found],
        *,
        all_references: bool,
        taken: Sequence[int],
        dry_run: bool,
        provider_now: datetime | None,
    ) -> Step:
        """Adopt these batches.

        A dry run changes nothing; ``taken`` are the messages that its earlier calls adopted. ``provider_now`` is the provider's
        clock, None is unknown: the batches' times are corrected by what it is off.
        """
        answer = await self._rpc.call(
            "outbox_adopt_batches",
            {
                "p_provider": plan.provider,
                "p_plan": plan.plan,
                "p_host": plan.host,
                "p_credential": plan.credential,
                "p_batches": json.dumps([asdict(batch) for batch in batches]),
                "p_all_references": all_references,
                "p_taken": list(taken),
                "p_dry_run": dry_run,
                "p_provider_at": None if provider_now is None else provider_now.isoformat(),
            },
        )
        return Step(Counts.parse(answer), tuple(answer["taken"]), tuple(Example(**one) for one in answer["examples"]))

    async def finish_adoption(self, plan: Plan) -> tuple[str, ...]:
        """The plan's list was adopted. Returns the plans whose lists were not; while there are any, no plan sends."""
        answer = await self._rpc.call("outbox_finish_adoption", {"p_provider": plan.provider, "p_plan": plan.plan})
        return tuple(answer)
