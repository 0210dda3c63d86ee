"""Plays hypothesis state machines on a database."""

from collections.abc import Collection

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.nightly import FACTOR
from tests.simulation.database import Database


def play(
    machine: type[RuleBasedStateMachine],
    database: Database,
    *,
    steps: int,
    examples: int = 60,
    phases: Collection[Phase] = tuple(Phase),
) -> None:
    """Run the machine this often with this many steps, ten times as often in `make nightly`. Raises what an invariant raises.

    ``machine`` finds ``database`` among its attributes.
    """
    run_state_machine_as_test(
        type(machine.__name__, (machine,), {"database": database}),
        settings=settings(
            max_examples=examples * FACTOR,
            stateful_step_count=steps,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )
