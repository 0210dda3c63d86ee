"""Groups of numbers, and a database that answers when a test lets it."""

import asyncio
from collections.abc import Sequence

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from webhook.groups import GroupCommit


class Database:
    """Commits numbers. ``open`` lets calls through; what is in ``refused`` or ``broken`` fails whatever it comes with."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.committed: list[int] = []
        self.kept: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.called = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.is_away = False
        self.refused: set[int] = set()
        self.broken: set[int] = set()

    async def commit(self, items: Sequence[int]) -> frozenset[int]:
        self.calls.append(list(items))
        self.called.set()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        if self.is_away:
            raise GatewayUnavailable("away")
        if self.refused.intersection(items):
            raise GatewayRefused("impossible", code="22P05")
        if self.broken.intersection(items):
            raise TypeError("ours")
        repeated = frozenset(place for place, item in enumerate(items) if item in self.committed)
        self.committed += items
        return repeated

    async def keep(self, item: int, _error: GatewayRefused) -> None:
        if self.is_away:
            raise GatewayUnavailable("away")
        self.kept.append(item)


def grouped(
    database: Database,
    *,
    waiting: int = 10_000,
    size: int = 1_000,
    calls: int = 1,
    crowd: int = 32,
    seconds: float = 10.0,
) -> GroupCommit[int]:
    return GroupCommit[int](
        commit=database.commit,
        order=lambda item: item,
        set_aside=database.keep,
        waiting=waiting,
        size=size,
        calls=calls,
        crowd=crowd,
        seconds=seconds,
    )


def adding(groups: GroupCommit[int], *requests: Sequence[int]) -> list[asyncio.Task[bool]]:
    return [asyncio.create_task(groups.add(items)) for items in requests]


async def turn() -> None:
    """Let everything that can run now run."""
    for _ in range(10):
        await asyncio.sleep(0)
