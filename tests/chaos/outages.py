"""One provider after the other is away for long, and how soon another one sends instead."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_UNABLE: Final = r"because (?:.*; )?{provider} \S+ (?:is paused|has no running process|lost (?P<lost>\d+))"
"""What the history says of a plan that cannot send, or has less weight. One at its limit is not away."""


@dataclass(slots=True)
class Outage:
    """When a provider was away, in seconds since the epoch."""

    provider: ProviderName
    kind: Kind
    began: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Failover:
    """What followed, in seconds; None where it did not happen.

    ``failover`` counts from the outage's begin to the first acceptance by another provider of a message that went there
    because of it; ``back`` from its end to the first acceptance by the provider itself. One that ``stood_by`` carried nothing
    of its own that had to go elsewhere.
    """

    provider: ProviderName
    kind: Kind
    seconds: float
    failover: float | None
    back: float | None
    stood_by: bool


def planned(accounts: Accounts) -> deque[tuple[ProviderName, Kind]]:
    """Each provider refuses connections once, and hangs once, in turn. Nothing where there is no other one."""
    kinds: tuple[Kind, ...] = ("refuses connections", "hangs")
    return deque((name, kind) for kind, name in product(kinds, accounts.names)) if accounts.several else deque()


def after(
    outages: Sequence[Outage], accepted: Iterable[Accepted], why: Mapping[str, str], carriers: Sequence[ProviderName]
) -> list[Failover]:
    """Compare the outages with the books.

    ``why`` says of requests, by their reference, why they did not go the usual way. ``carriers`` are the providers that do not
    just stand by.
    """
    entries = sorted(((datetime.fromisoformat(entry.at).timestamp(), entry) for entry in accepted), key=lambda one: one[0])
    found = []
    for place, outage in enumerate(outages):
        ended = outage.ended if outage.ended is not None else float("inf")
        until = next((one.began for one in outages[place + 1 :] if one.provider == outage.provider), float("inf"))
        moved = _first_moved(outage, [(at, why.get(entry.reference or "", "")) for at, entry in entries if at <= ended])
        back = next((at - ended for at, entry in entries if ended <= at < until and entry.provider == outage.provider), None)
        failover = Failover(
            outage.provider,
            outage.kind,
            seconds=round(ended - outage.began, 1),
            failover=None if moved is None else round(moved, 1),
            back=None if back is None else round(back, 1),
            stood_by=outage.provider not in carriers,
        )
        found.append(failover)
    return found


def _first_moved(outage: Outage, said: Sequence[tuple[float, str]]) -> float | None:
    """Less weight counts only if it got less since: weights are given back after a quarter of an hour."""
    pattern, lost = re.compile(_UNABLE.format(provider=outage.provider)), 0
    for at, why in said:
        found = pattern.search(why)
        if found is not None and at >= outage.began and (found["lost"] is None or int(found["lost"]) > lost):
            return at - outage.began
        if found is not None and found["lost"] is not None:
            lost = max(lost, int(found["lost"]))
    return None


def summarized(found: Sequence[Failover]) -> dict[str, float | None]:
    """Median, longest, and how often it did not happen, of the outages of providers that did not just stand by."""
    carried = [one for one in found if not one.stood_by]
    return {
        f"{name}_{what}": value
        for name, all_seconds in (
            ("failover", [one.failover for one in carried]),
            ("back", [one.back for one in carried]),
        )
        for what, value in _figures([seconds for seconds in all_seconds if seconds is not None], of=len(carried))
    }


def _figures(seconds: Sequence[float], *, of: int) -> Iterator[tuple[str, float | None]]:
    yield "median", round(median(seconds), 1) if seconds else None
    yield "longest", max(seconds, default=None)
    yield "never", of - len(seconds)
