"""What a message waits for, in words."""

from jobs.gateway.history import Carrier, Waiting
from jobs.runtime.masking import scrub
from jobs.runtime.times import utc


def waits(waiting: Waiting, route: str | None) -> str:
    """What for. ``route`` is None for the default one. The plans stand below it, so the first reason that counts is enough."""
    if waiting.until is not None:
        why = ", the next try of a text that was refused" if waiting.is_held else ""
        return f"until {utc(waiting.until)}{why}"
    if not waiting.plans:
        if route is None:
            return "for a scheduler: none has claimed yet, start `outbox run`"
        return f"for a plan of route {route}: it has none, see `outbox routes`"
    if all(one.cannot_send is not None for one in waiting.plans):
        return "for a plan: none of its route can send"
    return "for the next claim of a plan of its route"


def weight(one: Carrier) -> str:
    """The weight of a plan, and what health leaves of it."""
    words = "stands by" if one.weight == 0 else f"weight {one.weight}"
    return words if one.effective == one.weight else f"{words}, now {one.effective}"


def state(one: Carrier) -> str:
    """Whether the plan can send, or why not."""
    return "can send" if one.cannot_send is None else scrub(one.cannot_send)
