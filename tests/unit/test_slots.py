"""How many requests fit beside those that are open."""

from random import Random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatching.slots import (
    FULL_REQUESTS,
    SINGLE_REQUESTS,
    SMALL_REQUESTS,
    URGENT_REQUESTS,
    URGENT_SINGLE_REQUESTS,
    Slots,
)
from jobs.gateway import rpc
from jobs.providers import http
from jobs.providers.vonage import posts

FULL = 1000


def taken(*sizes: int) -> Slots:
    slots = Slots(max_recipients=FULL)
    for size in sizes:
        slots.take(size)
    return slots


@pytest.mark.parametrize(
    ("sizes", "free"),
    [
        ((), 8),
        ((FULL,), 7),
        ((126,), 7),
        ((125,), 7),
        ((125,) * 8, 7),
        ((125,) * 9, 6),
        ((FULL, 1), 6),
        ((FULL,) * 8, 0),
        ((FULL,) * 10, -2),
    ],
)
def test_free_slots_beside_open_requests(sizes: tuple[int, ...], free: int) -> None:
    assert taken(*sizes).free == free


@pytest.mark.parametrize(("full", "free"), [(0, 10), (7, 3), (8, 2), (10, 0)])
def test_urgent_requests_have_two_extra_slots(full: int, free: int) -> None:
    assert taken(*[FULL] * full).free_for_urgent == free


@pytest.mark.parametrize(
    ("sizes", "half_free"), [((FULL,) * 4, True), ((FULL,) * 4 + (1,), False), ((1,) * 32, True), ((1,) * 33, False)]
)
def test_half_free_counts_small_requests_as_eighths(sizes: tuple[int, ...], half_free: bool) -> None:
    assert taken(*sizes).half_free is half_free


def test_requests_to_one_have_slots_of_their_own() -> None:
    slots = Slots(max_recipients=1)
    half_free = []
    for _ in range(SINGLE_REQUESTS // 2 + 1):
        half_free.append(slots.half_free)
        slots.take(1)

    assert (all(half_free), slots.half_free) == (True, False)
    assert (slots.free, slots.free_for_urgent - slots.free) == (SINGLE_REQUESTS // 2 - 1, URGENT_SINGLE_REQUESTS)


@pytest.mark.parametrize(("module", "most"), [(http, FULL), (posts, 1)], ids=["many", "one"])
def test_urgent_requests_find_a_connection(module: ModuleType, most: int) -> None:
    """Without one a request waits, and is given up as if the provider could not be reached."""
    slots, requests = Slots(max_recipients=most), 0
    while slots.free_for_urgent > 0:
        slots.take(1)
        requests += 1

    assert requests <= module.CONNECTIONS


def test_no_open_request_waits_for_a_connection() -> None:
    assert http.CONNECTIONS >= (FULL_REQUESTS + URGENT_REQUESTS) * SMALL_REQUESTS
    assert posts.CONNECTIONS >= SINGLE_REQUESTS + URGENT_SINGLE_REQUESTS


def test_accounts_of_a_process_fit_open_files() -> None:
    """Sinch's, Vonage's, those of its Reports API and of Supabase: most systems let a process open 1024."""
    assert http.CONNECTIONS + posts.CONNECTIONS + http.CONNECTIONS + rpc.CONNECTIONS <= 900


@given(st.lists(st.integers(1, FULL), max_size=40), st.randoms(use_true_random=False))
def test_slots_come_back_in_any_order(sizes: list[int], random: Random) -> None:
    slots = taken(*sizes)
    random.shuffle(sizes)

    for size in sizes:
        slots.give_back(size)

    assert slots.free == FULL_REQUESTS


@given(st.lists(st.integers(1, FULL), max_size=40), st.integers(1, FULL))
def test_one_more_request_takes_at_most_one_slot(sizes: list[int], size: int) -> None:
    slots = taken(*sizes)
    before = slots.free

    slots.take(size)

    assert before - 1 <= slots.free <= before
    assert slots.free_for_urgent - slots.free == URGENT_REQUESTS
    assert slots.free >= FULL_REQUESTS - len(sizes) - 1
    assert slots.free <= FULL_REQUESTS - (len(sizes) + 1) // SMALL_REQUESTS
