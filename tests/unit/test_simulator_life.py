"""The fate of messages in the simulator, computed instead of scheduled."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulator.behaviour import Behaviour, ReportFaults
from sandbox.simulator.clock import NEVER
from sandbox.simulator.outcomes import DELIVERED, DISPATCHED, QUEUED, Outcome, Rule, Share
from sandbox.simulator.report_faults import PlannedReport, apply_faults
from sandbox.simulator.sinch.life import Course, Life, live, rule_book
from sandbox.simulator.sinch.texts import Texts
from sandbox.simulator.sinch.timeline import CONTRADICTIONS

START = 1_000_000
NUMBERS = st.lists(
    st.sampled_from([*(f"1415555{i:04d}" for i in range(20)), "14159990402", "14159990002", "14159990407"]),
    min_size=1,
    unique=True,
)
DELAYS = st.floats(min_value=0, max_value=100)


def lives(
    numbers: list[str], *, behaviour: Behaviour | None = None, expire: int = NEVER, rate: float | None = None, ordinal: int = 1
) -> Life:
    behaves = behaviour or Behaviour()
    return live(
        Course(
            recipients=numbers,
            texts=Texts("Hello", None),
            behaviour=behaves,
            rules=rule_book(behaves),
            ordinal=ordinal,
            queue_start=START,
            expire=expire,
            rate=rate,
            most_parts=None,
        )
    )


@given(NUMBERS, DELAYS, DELAYS, st.integers(START + 1, START + 300_000), st.none() | st.floats(0.5, 100))
def test_states_only_move_forward(numbers: list[str], dispatch: float, final: float, expire: int, rate: float | None) -> None:
    behaviour = Behaviour(dispatch_delay=(0, dispatch), final_delay=(0, final))
    life = lives(numbers, behaviour=behaviour, expire=expire, rate=rate)
    rank = {QUEUED: 0, DISPATCHED: 1}

    for index in range(len(numbers)):
        states = [life.state(index, START + second * 1000) for second in range(0, 400, 7)]
        ranks = [rank.get(state.outcome, 2) for state in states]
        assert ranks == sorted(ranks)
        assert [state.at for state in states] == sorted(state.at for state in states)


@given(NUMBERS, st.integers(0, 5000))
def test_cancel_ends_queued_messages_but_not_dispatched_ones(numbers: list[str], after: int) -> None:
    life, untouched = lives(numbers), lives(numbers)
    now = START + after

    life.cancel(now)

    for index in range(len(numbers)):
        before, afterwards = untouched.state(index, now), life.state(index, now)
        if before.outcome == QUEUED:
            assert afterwards.outcome.code == 407
        else:
            assert life.state(index, NEVER - 1) == untouched.state(index, NEVER - 1)


@given(NUMBERS, st.integers(0, 5000))
def test_hurrying_brings_the_same_end_at_once(numbers: list[str], after: int) -> None:
    life, untouched = lives(numbers), lives(numbers)
    now = START + after

    life.hurry(now)

    for index in range(len(numbers)):
        assert life.state(index, now).outcome == untouched.state(index, NEVER - 1).outcome
        assert life.state(index, now).at <= now


def test_only_seed_and_ordinal_decide_outcomes() -> None:
    behaviour = Behaviour(outcomes=(Share(outcome=Outcome("Failed", 62), share=0.5),))
    numbers = [f"1415555{i:04d}" for i in range(100)]

    first, again = lives(numbers, behaviour=behaviour), lives(numbers, behaviour=behaviour)
    later = lives(numbers, behaviour=behaviour, ordinal=2)

    assert (first.outcomes, first.final) == (again.outcomes, again.final)
    assert first.outcomes != later.outcomes


def test_longest_suffix_wins_until_its_rule_expires() -> None:
    behaviour = Behaviour(
        rules=(Rule(suffix="34", outcome=Outcome("Failed", 1)), Rule(suffix="1234", outcome=Outcome("Failed", 2), times=1))
    )
    book = rule_book(behaviour)

    outcomes = [book.outcome(number, Random(1)).code for number in ("14155551234", "14155551234", "14155550034", "1")]

    assert outcomes == [2, 0, 1, 0]


CERTAIN = st.sampled_from([0.0, 1.0])


@given(st.builds(ReportFaults, late=CERTAIN, repeated=CERTAIN, reordered=CERTAIN, lost=CERTAIN, contradictory=CERTAIN))
def test_report_faults_lose_all_or_keep_true_reports(faults: ReportFaults) -> None:
    truth = [PlannedReport(10, 0, DISPATCHED, 10), PlannedReport(20, 0, DELIVERED, 20)]

    sent = apply_faults(truth, faults, Random(1), CONTRADICTIONS)

    if faults.lost:
        assert sent == []
    else:
        said = {(report.outcome, report.at) for report in sent}
        assert {(DISPATCHED, 10), (DELIVERED, 20)} <= said
        assert len(sent) == (3 if faults.contradictory else 2) * (2 if faults.repeated else 1)
        assert all(report.when >= 10 for report in sent)
