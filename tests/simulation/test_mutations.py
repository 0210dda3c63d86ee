"""The histories can fail: they notice each rule of the sending protocol that is taken away."""

import pytest

from tests.simulation.database import Database
from tests.simulation.mutations import MUTATIONS, Mutation, first_to_notice, made_worse

_HISTORIES = 40
"""As many as `make test` runs, which must fail for a change that breaks the rule."""
_SEEDS = tuple(dict.fromkeys((1, 9, 10, 12, 14, 2, 13, *range(_HISTORIES), 97)))
"""The first ones noticed every mutation when this was written, so that most tests run one or two histories."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_history_notices_that_a_rule_is_missing(mutation: Mutation, database: Database) -> None:
    noticed = first_to_notice(mutation, database, _SEEDS)

    assert noticed is not None, f"none of {_HISTORIES} histories found anything wrong with: {mutation.name}"


def test_mutation_that_changes_nothing_is_rejected(database: Database) -> None:
    nothing = Mutation("nothing", (), "", rewrites=(("outbox_engine.lock_leased", "a line that is not there", ""),))

    with pytest.raises(LookupError, match="does not say once"), made_worse(database, nothing):
        pass
