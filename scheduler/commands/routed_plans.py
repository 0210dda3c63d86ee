"""Plans on the command line, and refusals with what to do about them: for `outbox routes`, `senders` and `plans`."""

import re
from collections.abc import Awaitable
from typing import Final, TypeVar

import typer

from jobs.gateway.errors import GatewayRefused
from jobs.gateway.routing import RoutePlan
from jobs.runtime.masking import scrub
from scheduler.commands.operator import Failed
from scheduler.commands.times import all_in_utc

Answer = TypeVar("Answer")

_PLAN: Final = re.compile(r"(?P<provider>[^:=]+):(?P<plan>.+?)(?:=(?P<weight>[0-9]{1,3}))?")


def read_plan(written: str) -> RoutePlan:
    """A plan such as ``sinch:PLAN``, or ``sinch:PLAN=70`` with a weight. Raises a usage error."""
    found = _PLAN.fullmatch(written.strip())
    if found is None:
        raise typer.BadParameter(f"{written!r} is no plan: write sinch:PLAN or vonage:APPLICATION, with =WEIGHT to share")
    weight = found["weight"]
    return RoutePlan(found["provider"], found["plan"], None if weight is None else int(weight))


def read_single_plan(written: str) -> RoutePlan:
    """A plan without a weight. Raises a usage error."""
    plan = read_plan(written)
    if plan.weight is not None:
        raise typer.BadParameter(f"{written!r} has a weight, and only plans of routes have weights")
    return plan


async def advised(call: Awaitable[Answer]) -> Answer:
    """The answer of a call. If the database refuses it, the error also says what to do."""
    try:
        return await call
    except GatewayRefused as error:
        why = str(error).partition(": ")[2]
        raise Failed(scrub(all_in_utc(f"{why}. {error.hint}" if error.hint else why))) from None
