"""The feed of finished reports against a plain model of it."""

from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.clock import NEVER
from sandbox.simulator.sinch.batches import Batch, Shelf
from sandbox.simulator.sinch.feed import Feed, finished
from sandbox.simulator.sinch.life import rule_book
from sandbox.simulator.sinch.wanted import Options

BEHAVIOUR = Behaviour(dispatch_delay=(0, 3), final_delay=(0, 3))
RULES = rule_book(BEHAVIOUR)
STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "cancel", "hurry", "read"]), st.integers(1, 6), st.integers(0, 3000)), max_size=25
)


def make(ordinal: int, now: int, size: int) -> Batch:
    return Batch(
        id=str(ordinal),
        ordinal=ordinal,
        plan="p",
        options=Options(body="Hello", client_reference=str(ordinal % 3)),
        recipients=(*(f"1415555{i:04d}" for i in range(size)), "14159990002"),
        asked=size,
        behaviour=BEHAVIOUR,
        rules=RULES,
        created=now,
        modified=now,
        visible=now,
        start=now,
        expire=NEVER,
        queue_start=now,
        rate=None,
    )


def change(feed: Feed, batch: Batch, step: str, now: int) -> None:
    if step == "cancel":
        batch.cancel(now)
    else:
        batch.life.hurry(now)
    feed.changed(batch)


@given(STEPS)
def test_feed_lists_each_final_report_once_newest_first(steps: list[tuple[str, int, int]]) -> None:
    feed, batches, now = Feed(), list[Batch](), 1_000_000

    for step, size, passed in steps:
        now += passed
        if step == "send":
            batches.append(make(len(batches), now, size))
            feed.watch(batches[-1])
        elif step == "read":
            feed.page(0, NEVER, now, 0, 10)
        elif batches:
            change(feed, batches[size % len(batches)], step, now)

    expected = {(batch.id, index, state) for batch in batches for _, index, state in finished(batch, now)}
    count, shown = feed.page(0, NEVER, now, 0, 100_000)
    paged = [found for page in range(count // 7 + 1) for found in feed.page(0, NEVER, now, page, 7)[1]]

    assert count == len(expected)
    assert {(batch.id, index, state) for batch, index, state in shown} == expected
    assert [found[2].at for found in shown] == sorted((found[2].at for found in shown), reverse=True)
    assert paged == shown


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 500), st.integers(0, 500))
def test_shelf_finds_batches_created_in_a_window(gaps: list[int], start: int, length: int) -> None:
    shelf, batches, now = Shelf(), list[Batch](), 0
    for ordinal, gap in enumerate(gaps):
        now += gap
        batches.append(make(ordinal, now, 1))
        shelf.put(batches[-1])
    inside = [batch for batch in batches if start <= batch.created < start + length]

    assert shelf.between(start, start + length, None) == inside
    assert shelf.between(start, start + length, "1") == [batch for batch in inside if batch.reference == "1"]
