"""The histories can fail: each rule of the sending protocol that is taken away is missed by one of them."""

import pytest

from tests.simulation.database import Database
from tests.simulation.mutations import MUTATIONS, Mutation, first_to_notice, made_worse

_HISTORIES = 120
"""As many as `test_histories.py` tells: whoever broke a rule would see it fail."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_history_notices_that_a_rule_is_missing(mutation: Mutation, database: Database) -> None:
    noticed = first_to_notice(mutation, database, range(_HISTORIES))

    assert noticed is not None, f"none of {_HISTORIES} histories found anything wrong with: {mutation.name}"


def test_a_mutation_that_finds_nothing_to_change_says_so(database: Database) -> None:
    nothing = Mutation("nothing", (), "", rewrites=(("outbox_engine.lock_leased", "a line that is not there", ""),))

    with pytest.raises(LookupError, match="does not say once"), made_worse(database, nothing):
        pass
