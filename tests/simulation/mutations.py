"""The engine made worse on purpose, one rule at a time: histories that did not notice would prove nothing."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from jobs.dispatching.leases import Leases
from jobs.gateway.values import Lookup
from jobs.providers.base import ProviderError
from jobs.recover import Recovery
from tests.simulation.chaos import Chaos
from tests.simulation.database import Database
from tests.simulation.history import Result, tell
from tests.simulation.process import Observer, Process, Wire
from tests.simulation.witness import Witness

_ROLL_BACK: Final = """
    with gone as (
      delete from outbox_engine.dispatches where worker = %s and state = 'claimed' returning id
    ),
    left_behind as (
      delete from outbox_engine.dispatch_members m using gone where m.dispatch_id = gone.id
    )
    update public.outbox o
    set status = 'pending', queue = 'r', dispatch_id = null
    from gone
    where o.dispatch_id = gone.id and o.status = 'sending'
"""


class _OpenTransaction(Wire):
    """A claim is committed together with its outcome. A process that dies takes with it that it ever claimed."""

    def __init__(self, process: Process, database: Database, chaos: Chaos, witness: Witness, observer: Observer) -> None:
        super().__init__(process, database, chaos, witness, observer)
        die = process.die

        def roll_back() -> None:
            die()
            database.query(_ROLL_BACK, [process.name])

        process.die = roll_back  # type: ignore[method-assign]


class _Resending(Wire):
    """Whoever got no answer takes it for a no."""

    async def call(self, function: str, arguments: dict[str, Any]) -> Any:
        if function == "outbox_mark_ambiguous":
            held = {name: arguments[name] for name in ("p_dispatch_ids", "p_lease_tokens")}
            return await super().call("outbox_release", held)
        return await super().call(function, arguments)


def _leases_never_end() -> AbstractContextManager[object]:
    return mock.patch.object(Leases, "left", return_value=math.inf)


def _errors_find_nothing() -> AbstractContextManager[object]:
    read = Recovery._read

    async def careless(recovery: Recovery, look: Lookup) -> Mapping[str, Sequence[str]] | None:
        try:
            return await read(recovery, look)
        except ProviderError:
            return {}

    return mock.patch.object(Recovery, "_read", careless)


@dataclass(frozen=True, slots=True)
class Mutation:
    """``faults`` are what the missing rule stands against, ``complaint`` is part of what has to be found wrong.

    ``rewrites`` are (function, what it says, what it says instead).
    """

    name: str
    faults: tuple[str, ...]
    complaint: str
    rewrites: tuple[tuple[str, str, str], ...] = ()
    wire: type[Wire] = Wire
    patch: Callable[[], AbstractContextManager[object]] = nullcontext


TWICE: Final = "was accepted more than once"
UNKNOWN: Final = "was accepted and nobody here knows"

MUTATIONS: Final = (
    Mutation("no write-ahead", ("request.crash",), UNKNOWN, wire=_OpenTransaction),
    Mutation("resend on timeout", ("request.unanswered",), TWICE, wire=_Resending),
    Mutation(
        "no fence",
        ("process.stall", "call.slow"),
        "it never comes to rest",
        rewrites=(("outbox_engine.lock_leased", "and d.lease_token = f.token::bigint and d.state = 'claimed'", ""),),
    ),
    Mutation(
        "the fence stops facts too",
        ("process.stall", "call.slow"),
        UNKNOWN,
        rewrites=(
            ("outbox_engine.accept_dispatches", "and d.batch_id is null", "and d.batch_id is null and d.state = 'claimed'"),
        ),
    ),
    Mutation(
        "one look is enough",
        ("list.lag", "request.unanswered"),
        TWICE,
        rewrites=(
            (
                "outbox_engine.record_missed_lookup",
                "lookup_misses >= 2 and v_now >= v_dispatch.first_missed_at + p_settle",
                "lookup_misses >= 1",
            ),
        ),
    ),
    Mutation("an error is a look", ("list.error", "request.unanswered"), TWICE, patch=_errors_find_nothing),
    Mutation("leases are not looked at before a request", ("process.stall",), "a request is made for", patch=_leases_never_end),
    Mutation(
        "a claim cannot be asked again",
        ("call.unanswered",),
        "a claim that was asked again took more",
        rewrites=(("outbox_engine.claimed_before", "d.state = 'claimed'", "false"),),
    ),
    Mutation(
        "the last report wins",
        ("report.repeated", "report.late"),
        "the provider said",
        rewrites=(
            ("outbox_engine.advance_status", "when n.rank = n.reported_rank then", "when false then"),
            ("outbox_engine.advance_status", "n.rank > coalesce(n.reported_rank, 0)", "true"),
        ),
    ),
    Mutation(
        "expiry is not checked at the claim",
        ("app.hurries", "process.stall"),
        "although it has expired",
        rewrites=(("outbox_engine.judge_messages", "when m.expires_at <= p_now then 'expired'\n", "\n"),),
    ),
)


def named(name: str) -> Mutation:
    """The mutation of that name."""
    return next(mutation for mutation in MUTATIONS if mutation.name == name)


@contextmanager
def made_worse(database: Database, mutation: Mutation) -> Iterator[None]:
    """The code and the database as ``mutation`` has them, and at the end as they were."""
    functions = dict.fromkeys(function for function, _, _ in mutation.rewrites)
    originals = {function: database.definition(function) for function in functions}
    try:
        for function, says, instead in mutation.rewrites:
            definition = database.definition(function)
            if definition.count(says) != 1:
                raise LookupError(f"{function} does not say once: {says}")
            database.execute(definition.replace(says, instead))
        with mutation.patch():
            yield
    finally:
        for original in originals.values():
            database.execute(original)


_MOST_ROUNDS: Final = 300
"""Without its rule a history may never come to rest, and each round of those costs time."""


def first_to_notice(mutation: Mutation, database: Database, seeds: Iterable[int]) -> Result | None:
    """The first of these histories in which what ``mutation`` breaks is found wrong, or None."""
    with made_worse(database, mutation):
        for seed in seeds:
            result = tell(seed, database, wire=mutation.wire, certain=mutation.faults, most_rounds=_MOST_ROUNDS)
            if any(mutation.complaint in complaint for complaint in result.complaints):
                return result
    return None
