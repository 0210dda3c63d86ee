"""A mutation of the engine, which removes one rule, and the search for a history that notices it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from tests.simulation.database import Database
from tests.simulation.history import Result, simulate
from tests.simulation.process import Wire


@dataclass(frozen=True, slots=True)
class Mutation:
    """``faults`` are the faults that the missing rule protects against; a complaint must contain ``complaint``.

    ``rewrites`` are (function, its text, the text that replaces it), ``rows`` are statements that change rows of the engine's
    own tables, each with the one that undoes it. The history of ``seed`` noticed it when this was written: tests begin with it.
    """

    name: str
    seed: int
    faults: tuple[str, ...]
    complaint: str
    rewrites: tuple[tuple[str, str, str], ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    wire: type[Wire] = Wire
    patch: Callable[[], AbstractContextManager[object]] = nullcontext


@contextmanager
def made_worse(database: Database, mutation: Mutation) -> Iterator[None]:
    """Apply ``mutation`` to the code and the database, and undo it at the end.

    Meanwhile no guard stands behind the transitions: it would stop some of them before a history shows what they do.
    """
    functions = dict.fromkeys(function for function, _, _ in mutation.rewrites)
    originals = {function: database.definition(function) for function in functions}
    try:
        database.execute("alter table public.outbox disable trigger outbox_8_transition")
        for function, says, instead in mutation.rewrites:
            definition = database.definition(function)
            if definition.count(says) != 1:
                raise LookupError(f"{function} does not say once: {says}")
            database.execute(definition.replace(says, instead))
        for change, _ in mutation.rows:
            database.execute(change)
        with mutation.patch():
            yield
    finally:
        for _, undo in mutation.rows:
            database.execute(undo)
        for original in originals.values():
            database.execute(original)
        database.execute("alter table public.outbox enable trigger outbox_8_transition")


_MOST_ROUNDS: Final = 300
"""Without its rule a history may never settle, and each further round costs time."""


def first_to_notice(mutation: Mutation, database: Database, seeds: Iterable[int]) -> Result | None:
    """The result of the first of these histories that complains about ``mutation``, or None."""
    with made_worse(database, mutation):
        for seed in seeds:
            result = simulate(seed, database, wire=mutation.wire, certain=mutation.faults, most_rounds=_MOST_ROUNDS)
            if any(mutation.complaint in complaint for complaint in result.complaints):
                return result
    return None
