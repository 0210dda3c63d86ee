"""One provider after the other is away for long, and how soon another one sends instead."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from statistics import median
from typing import Final, Literal

from sandbox.simulator.behaviour import ProviderName
from sandbox.simulator.books import Accepted
from tests.chaos.providers import Accounts

Kind = Literal["refuses connections", "hangs"]
PAUSE: Final = 0.25
"""The time before each, as a share of its length."""
_UNABLE: Final = ("is paused", "has no running process")
"""What the history says of a plan that cannot send. One at its limit, or with less weight, is not away."""


@dataclass(slots=True)
class Outage:
    """When a provider was away, in seconds since the epoch."""

    provider: ProviderName
    kind: Kind
    began: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Failover:
    """What followed. ``failover`` counts from the outage's begin to the first acceptance by another provider of a message

    that went there because of it; ``back`` from its end to the first acceptance by the provider itself. Seconds; None where
    that did not happen. ``unused``: the provider was not sending before, so nothing had to move.
    """

    provider: ProviderName
    kind: Kind
    seconds: float
    failover: float | None
    back: float | None
    unused: bool


def planned(accounts: Accounts) -> deque[tuple[ProviderName, Kind]]:
    """Each provider refuses connections once, and hangs once, in turn. None where there is no other one."""
    kinds: tuple[Kind, ...] = ("refuses connections", "hangs")
    return deque((name, kind) for kind, name in product(kinds, accounts.names)) if accounts.several else deque()


def after(outages: Sequence[Outage], accepted: Iterable[Accepted], why: Mapping[str, str]) -> list[Failover]:
    """Compare the outages with the books. ``why`` says of requests, by their reference, why they did not go the usual way."""
    entries = [(entry, datetime.fromisoformat(entry.at).timestamp()) for entry in accepted]
    found = []
    for place, outage in enumerate(outages):
        ended = outage.ended if outage.ended is not None else float("inf")
        until = outages[place + 1].began if place + 1 < len(outages) else float("inf")
        before = outages[place - 1].ended if place else 0.0
        moved = _first(
            at - outage.began
            for entry, at in entries
            if outage.began <= at <= ended and entry.provider != outage.provider and _was_away(outage.provider, why, entry)
        )
        back = _first(at - ended for entry, at in entries if ended <= at < until and entry.provider == outage.provider)
        used = any((before or 0.0) <= at < outage.began and entry.provider == outage.provider for entry, at in entries)
        found.append(Failover(outage.provider, outage.kind, round(ended - outage.began, 1), moved, back, unused=not used))
    return found


def summarized(found: Sequence[Failover]) -> dict[str, float | None]:
    """Median and longest, of the outages of providers that were sending."""
    moved = [one.failover for one in found if not one.unused and one.failover is not None]
    back = [one.back for one in found if not one.unused and one.back is not None]
    return {
        "failover_median": round(median(moved), 1) if moved else None,
        "failover_longest": max(moved, default=None),
        "back_median": round(median(back), 1) if back else None,
        "back_longest": max(back, default=None),
    }


def _first(seconds: Iterable[float]) -> float | None:
    first = min(seconds, default=None)
    return None if first is None else round(first, 1)


def _was_away(provider: ProviderName, why: Mapping[str, str], entry: Accepted) -> bool:
    said = why.get(entry.reference or "", "")
    return f"because {provider} " in said and any(word in said for word in _UNABLE)
