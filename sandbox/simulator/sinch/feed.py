"""One plan's finished reports in the order they became final: what ``GET /delivery_reports`` pages through.

Filled when asked: each question first takes in whatever became final since the one before, so a message costs 14 bytes and
one sort, and nothing at all without polls.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

from sandbox.simulator.clock import NEVER
from sandbox.simulator.outcomes import State
from sandbox.simulator.sinch.batches import Batch

Found = tuple[Batch, int, State]


class Waiting:
    """The messages of one batch that the feed does not hold yet, by the time they become final."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.next_at = batch.queue_start
        self._indexes: list[int] | None = None

    def take(self, now: int) -> list[int]:
        """The messages that are final by ``now``."""
        final = self.batch.life.final
        if self._indexes is None:
            self._indexes = sorted(range(len(final)), key=final.__getitem__)
        count = bisect_right(self._indexes, now, key=final.__getitem__)
        taken, self._indexes = self._indexes[:count], self._indexes[count:]
        self.next_at = final[self._indexes[0]] if self._indexes else NEVER
        return taken

    def reorder(self) -> None:
        """The batch's states were changed."""
        final = self.batch.life.final
        self._indexes = sorted(range(len(final)) if self._indexes is None else self._indexes, key=final.__getitem__)
        self.next_at = final[self._indexes[0]] if self._indexes else NEVER

    @property
    def done(self) -> bool:
        return self._indexes == []


class Feed:
    """Finished reports, oldest first inside, newest first when shown."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._batches: dict[int, Batch] = {}
        self._times = array("q")
        self._ordinals = array("L")
        self._indexes = array("H")

    def watch(self, batch: Batch) -> None:
        self._batches[batch.ordinal] = batch
        self._waiting[batch.ordinal] = Waiting(batch)

    def forget(self, batch: Batch) -> None:
        """Stop waiting for a batch; messages that already finished stay."""
        self._waiting.pop(batch.ordinal, None)

    def changed(self, batch: Batch) -> None:
        if batch.ordinal in self._waiting:
            self._waiting[batch.ordinal].reorder()

    def unfinished(self) -> list[Batch]:
        return [waiting.batch for waiting in self._waiting.values()]

    def page(self, start: int, end: int, now: int, page: int, size: int) -> tuple[int, list[Found]]:
        """How many became final in ``[start, end)``, and one page of them."""
        self._harvest(now)
        first, last = bisect_left(self._times, start), bisect_left(self._times, end)
        newest = last - page * size
        return max(0, last - first), [self._at(place) for place in range(newest - 1, max(first, newest - size) - 1, -1)]

    def search(self, start: int, end: int, now: int, keep: Callable[[State], bool]) -> Iterator[Found]:
        """All in ``[start, end)`` that match the filter, newest first."""
        self._harvest(now)
        first, last = bisect_left(self._times, start), bisect_left(self._times, end)
        return (found for found in map(self._at, range(last - 1, first - 1, -1)) if keep(found[2]))

    def _at(self, place: int) -> Found:
        batch, index = self._batches[self._ordinals[place]], self._indexes[place]
        return batch, index, State(batch.life.outcomes[index], self._times[place])

    def _harvest(self, now: int) -> None:
        due = [
            (waiting.batch.life.final[index], ordinal, index)
            for ordinal, waiting in self._waiting.items()
            if waiting.next_at <= now
            for index in waiting.take(now)
        ]
        due.sort()
        for moment, ordinal, index in due:
            self._times.append(moment)
            self._ordinals.append(ordinal)
            self._indexes.append(index)
        self._waiting = {ordinal: waiting for ordinal, waiting in self._waiting.items() if not waiting.done}


def finished(batch: Batch, now: int) -> Iterator[Found]:
    """The final reports of one batch."""
    if batch.empty:
        return
    for index in range(len(batch.recipients)):
        if batch.life.final[index] <= now:
            yield batch, index, batch.life.state(index, now)
