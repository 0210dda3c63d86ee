"""The fate of a Vonage message in the simulator, computed when it is accepted."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.clock import NEVER
from sandbox.simulator.outcomes import VONAGE_EXPIRED, VONAGE_RULES, VONAGE_SUBMITTED, Outcome
from sandbox.simulator.vonage.messages import early, live

CREATED = 1_000_000
OUTCOMES = st.sampled_from([rule.outcome for rule in VONAGE_RULES if rule.outcome] + [Outcome("delivered", 0)])
DELAYS = st.floats(min_value=0, max_value=1000)
TTLS = st.one_of(st.none(), st.integers(20, 604_800))


@given(OUTCOMES, DELAYS, DELAYS, TTLS)
def test_message_ends_once_and_within_its_ttl(outcome: Outcome, dispatch: float, final: float, ttl: int | None) -> None:
    life = live(outcome, Behaviour(dispatch_delay=dispatch, final_delay=final), Random(1), CREATED, ttl)

    expire = NEVER if ttl is None else CREATED + ttl * 1000
    assert CREATED <= min(life.submitted, life.final) <= expire
    assert life.outcome in (outcome, VONAGE_EXPIRED)
    assert life.final <= expire or life.outcome == VONAGE_SUBMITTED
    assert life.submitted <= life.final or life.submitted == NEVER
    if early(outcome):
        assert life.submitted == NEVER
    assert (life.final == NEVER) == (life.outcome == VONAGE_SUBMITTED)


@given(OUTCOMES, DELAYS, st.integers(0, 2_000_000))
def test_state_at_any_time_is_the_latest(outcome: Outcome, delay: float, later: int) -> None:
    life = live(outcome, Behaviour(dispatch_delay=delay, final_delay=delay), Random(1), CREATED, None)

    state = life.state(CREATED, CREATED + later)

    assert state.at == max(moment for moment in (CREATED, life.submitted, life.final) if moment <= CREATED + later)
