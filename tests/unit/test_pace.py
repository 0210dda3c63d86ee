"""When the dispatch job claims, and for how many slots: calculated without a database, a provider or a clock."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatching.pace import AFTER_NOTICE_SECONDS, MOST_ROWS, PAIRED_REQUESTS, Pace, Wanted
from jobs.dispatching.silence import FIRST_SINGLES, SILENT_SECONDS, Silence
from jobs.dispatching.slots import FULL_REQUESTS, SINGLE_REQUESTS, URGENT_REQUESTS, Slots
from jobs.gateway.values import Claim, Dispatch

FULL = 1000
INTERVAL = 1.0
SIZES = st.lists(st.sampled_from([1, 100, 126, FULL]), max_size=12)
_numbers = count()


class Process:
    """Slots and the pace over them. ``now`` moves only when a test says so."""

    def __init__(self, *, waits_for_rates: bool = True, max_recipients: int = FULL) -> None:
        self.slots = Slots(max_recipients=max_recipients)
        self.silence = Silence(single=max_recipients == 1)
        self.pace = Pace(
            self.slots, self.silence, interval=INTERVAL, max_recipients=max_recipients, waits_for_rates=waits_for_rates
        )
        self.now = 100.0
        self.noticed = False

    def next_claim(self, *, under_way: int = 0) -> Wanted | None:
        return self.pace.next_claim(self.now, under_way=under_way, noticed=self.noticed)

    def answered(self, claim: Claim, *, slots: int = FULL_REQUESTS) -> None:
        self.pace.answered(claim, slots=slots, now=self.now)

    def hold(self, *sizes: int) -> None:
        for size in sizes:
            self.slots.take(size)


@pytest.fixture
def process() -> Process:
    return Process()


def brings(*sizes: int, more: bool = True, passed: bool = False, limited: str | None = None, wait: float = 0.0) -> Claim:
    dispatches = tuple(Dispatch(str(next(_numbers)), "1", None, "text", None, 0.0, ("+12025550100",) * size) for size in sizes)
    return Claim(dispatches, more, passed, (), None, limited, None, wait)


def test_first_claim_asks_for_all_slots(process: Process) -> None:
    assert process.next_claim() == Wanted(FULL_REQUESTS)
    assert process.next_claim(under_way=1) is None


def test_full_claims_are_made_in_pairs(process: Process) -> None:
    process.answered(brings(FULL, FULL))

    assert process.next_claim(under_way=0) == Wanted(PAIRED_REQUESTS)
    assert process.next_claim(under_way=1) == Wanted(PAIRED_REQUESTS)
    assert process.next_claim(under_way=2) is None


@pytest.mark.parametrize("claim", [brings(FULL, FULL, FULL), brings(900), brings(FULL, FULL, more=False)])
def test_other_claims_are_made_alone(process: Process, claim: Claim) -> None:
    process.answered(claim)

    assert process.next_claim(under_way=1) is None


@pytest.mark.parametrize("sizes", [(1,), (1, 1)])
def test_single_messages_are_never_claimed_in_pairs(sizes: tuple[int, ...]) -> None:
    process = Process(max_recipients=1)
    process.answered(brings(*sizes))

    assert process.next_claim() == Wanted(FIRST_SINGLES)
    assert process.next_claim(under_way=1) is None


@pytest.mark.parametrize(
    ("claim", "goes_on"),
    [
        (brings(1), True),
        (brings(more=True, passed=True), True),
        (brings(more=True), False),
        (brings(1, more=False), False),
    ],
)
def test_tick_goes_on_while_claims_bring_more(process: Process, claim: Claim, goes_on: bool) -> None:
    process.answered(claim)

    assert process.pace.goes_on is goes_on
    process.pace.begin_tick()
    assert process.pace.goes_on


def test_no_claim_while_most_slots_are_taken(process: Process) -> None:
    process.next_claim()
    process.hold(FULL, FULL, FULL, FULL)
    assert process.next_claim() == Wanted(4)

    process.hold(1)

    assert process.next_claim() is None


@pytest.mark.parametrize(("noticed", "after"), [(True, AFTER_NOTICE_SECONDS), (False, INTERVAL)])
def test_urgent_claim_follows_a_notice_or_an_interval(process: Process, noticed: bool, after: float) -> None:
    process.next_claim()
    process.hold(*[FULL] * FULL_REQUESTS)
    process.noticed = noticed
    assert process.pace.seconds_until_claim(process.now, noticed=noticed) == pytest.approx(after)
    assert process.next_claim() is None

    process.now += after + 1e-6

    assert process.next_claim() == Wanted(URGENT_REQUESTS, urgent_only=True)


def test_urgent_claim_waits_for_the_one_before(process: Process) -> None:
    process.hold(*[FULL] * FULL_REQUESTS)

    assert process.next_claim(under_way=1) is None
    assert process.next_claim(under_way=0) == Wanted(URGENT_REQUESTS, urgent_only=True)


def test_no_urgent_claim_without_an_extra_slot(process: Process) -> None:
    process.hold(*[FULL] * (FULL_REQUESTS + URGENT_REQUESTS - 1))
    assert process.next_claim() == Wanted(1, urgent_only=True)
    process.now += INTERVAL

    process.hold(FULL)

    assert process.next_claim() is None


def test_short_rate_limit_is_waited_for(process: Process) -> None:
    process.answered(brings(limited="messages_per_second", wait=0.5))

    assert process.pace.goes_on
    assert process.next_claim() is None
    assert process.pace.seconds_until_claim(process.now, noticed=False) == pytest.approx(0.5)
    process.now += 0.5
    assert process.next_claim() == Wanted(FULL_REQUESTS)


@pytest.mark.parametrize(
    ("waits_for_rates", "limited", "wait"),
    [(True, "messages_per_second", INTERVAL), (True, "requests_per_minute", 0.5), (False, "messages_per_second", 0.5)],
)
def test_other_limits_end_the_tick(waits_for_rates: bool, limited: str, wait: float) -> None:
    process = Process(waits_for_rates=waits_for_rates)

    process.answered(brings(limited=limited, wait=wait))

    assert not process.pace.goes_on


@pytest.mark.parametrize("waits_for_rates", [True, False])
def test_plan_ahead_of_its_share_waits(waits_for_rates: bool) -> None:
    process = Process(waits_for_rates=waits_for_rates)

    process.answered(brings(more=True, limited="weight", wait=0.2))

    assert process.pace.goes_on
    assert process.next_claim() is None
    process.now += 0.2
    assert process.next_claim() == Wanted(FULL_REQUESTS)


def test_single_run_waits_for_other_plans_in_time() -> None:
    """Not for ever: the other plan may be at a provider that does not answer."""
    process = Process(waits_for_rates=False)
    waits = 0

    while process.pace.goes_on:
        process.answered(brings(more=True, limited="weight", wait=0.5))
        process.now += 0.5
        waits += 1

    assert waits == 61


def test_claims_that_bring_something_extend_the_wait() -> None:
    process = Process(waits_for_rates=False)

    for _ in range(100):
        process.answered(brings(more=True, limited="weight", wait=0.5))
        process.now += 0.5
        process.answered(brings(1))

    assert process.pace.goes_on


def test_fewer_rows_are_read_where_texts_differ(process: Process) -> None:
    process.answered(brings(*[1] * FULL_REQUESTS), slots=FULL_REQUESTS)
    assert process.pace.rows_for(FULL_REQUESTS) == 2 * FULL_REQUESTS

    for _ in range(10):
        process.answered(brings(FULL), slots=FULL_REQUESTS)

    assert process.pace.rows_for(FULL_REQUESTS) == MOST_ROWS


@given(SIZES, st.integers(0, 2), st.booleans(), st.floats(0, 2), st.lists(SIZES, max_size=3))
def test_no_claim_exceeds_the_free_slots(
    held: list[int], under_way: int, noticed: bool, later: float, answers: list[list[int]]
) -> None:
    process = Process()
    for sizes in answers:
        process.answered(brings(*sizes))
    process.hold(*held)
    process.now, process.noticed = process.now + later, noticed

    wanted = process.next_claim(under_way=under_way)

    if wanted is not None:
        free = process.slots.free_for_urgent if wanted.urgent_only else process.slots.free
        assert 1 <= wanted.slots <= free
        # Two claims of a pair together fit as well.
        assert wanted.urgent_only or wanted.slots * (under_way + 1) <= free or under_way == 0


def test_nothing_is_claimed_for_a_silent_provider(process: Process) -> None:
    process.silence.begun("first", process.now)
    process.now += SILENT_SECONDS
    assert process.next_claim() == Wanted(FULL_REQUESTS)

    process.silence.begun("second", process.now)
    process.now += 0.1
    assert process.next_claim() is None

    process.silence.ended("second", process.now, answered=True)
    assert process.next_claim() == Wanted(FULL_REQUESTS)


def test_lost_answers_leave_one_request_at_a_time(process: Process) -> None:
    for request in ("first", "second"):
        process.silence.begun(request, process.now)
    process.silence.ended("first", process.now, answered=False)
    assert process.next_claim() is None

    process.silence.ended("second", process.now, answered=False)
    assert process.next_claim() == Wanted(1)
    assert process.next_claim(under_way=1) is None

    process.silence.begun("third", process.now)
    process.silence.ended("third", process.now, answered=True)
    assert process.next_claim() == Wanted(FULL_REQUESTS)


@pytest.mark.parametrize("waits_for_rates", [True, False])
def test_single_run_ends_where_nobody_answers(waits_for_rates: bool) -> None:
    process = Process(waits_for_rates=waits_for_rates)
    for request in ("first", "second", "third"):
        assert process.pace.goes_on
        process.silence.begun(request, process.now)
        process.silence.ended(request, process.now, answered=False)

    assert process.pace.goes_on is waits_for_rates
    assert process.pace.gave_up is not waits_for_rates


def test_open_single_requests_grow_with_the_answers() -> None:
    process = Process(max_recipients=1)
    for n in range(FIRST_SINGLES):
        process.slots.take(1)
        process.silence.begun(str(n), process.now)
    assert process.next_claim() == Wanted(FIRST_SINGLES // 8, urgent_only=True)

    for n in range(FIRST_SINGLES):
        process.slots.give_back(1)
        process.silence.ended(str(n), process.now, answered=True)
    assert process.next_claim() == Wanted(2 * FIRST_SINGLES)

    process.now += 2.0
    assert process.next_claim() == Wanted(FIRST_SINGLES)


def test_open_single_requests_reach_all_slots() -> None:
    process = Process(max_recipients=1)
    for n in range(SINGLE_REQUESTS):
        process.silence.begun(str(n), process.now)
        process.silence.ended(str(n), process.now, answered=True)

    assert process.next_claim() == Wanted(SINGLE_REQUESTS)
