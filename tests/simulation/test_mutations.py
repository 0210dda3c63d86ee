"""The histories can fail: they notice each rule of the sending protocol that is taken away. By night, all of them."""

import pytest

from tests.nightly import at_night
from tests.simulation.database import Database
from tests.simulation.mutation import Mutation, first_to_notice, made_worse
from tests.simulation.mutations import MUTATIONS

_HISTORIES = 15
"""As many as `make test` runs, which must fail for a change that breaks the rule."""


_SLOW = {
    "a refused message does not move",
    "absence is believed where nothing proves it",
    "an account that stands by takes its turn",
    "an error counts as a lookup",
    "an unreadable number holds nothing",
    "candidate ignored",
    "every route moves what a network refused",
    "missing batches are not adopted",
    "move when nothing was heard for some time",
    "201 believed",
    "no fence",
    "no write-ahead",
    "the database's clock alone decides",
    "the fence blocks acceptances too",
    "weight is ignored",
}
"""Each takes more than six seconds, the longest two minutes."""


@pytest.mark.parametrize(
    "mutation",
    [at_night(one) if one.name in _SLOW else one for one in MUTATIONS],
    ids=lambda mutation: mutation.name,
)
def test_a_history_notices_that_a_rule_is_missing(mutation: Mutation, database: Database) -> None:
    noticed = first_to_notice(mutation, database, dict.fromkeys((mutation.seed, *range(_HISTORIES))))

    assert noticed is not None, f"none of {_HISTORIES} histories found anything wrong with: {mutation.name}"


def test_mutation_that_changes_nothing_is_rejected(database: Database) -> None:
    nothing = Mutation("nothing", 0, (), "", rewrites=(("outbox_engine.lock_leased", "a line that is not there", ""),))

    with pytest.raises(LookupError, match="does not say once"), made_worse(database, nothing):
        pass
