"""Live pages: one poller while somebody watches, bounded streams, and a clean end."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dashboard.live import Crowded, Live

HELLO = b"retry: 3000\nevent: hello\ndata: -\n\n"
CHANGED = b"event: changed\ndata: -\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


class Database:
    """Counts how often it is asked. Its answer is ``state``; an exception is raised."""

    def __init__(self) -> None:
        self.state: object = 0
        self.asked = 0
        self.was_asked = asyncio.Event()

    async def ask(self) -> object:
        self.asked += 1
        self.was_asked.set()
        if isinstance(self.state, Exception):
            raise self.state
        return self.state

    async def next_question(self) -> None:
        self.was_asked.clear()
        await self.was_asked.wait()


def live(database: Database, *, most: int = 64, keep_alive_seconds: float = 60, stream_seconds: float = 60) -> Live:
    return Live(
        database.ask, most=most, poll_seconds=0.01, keep_alive_seconds=keep_alive_seconds, stream_seconds=stream_seconds
    )


async def closed(*streams: AsyncIterator[bytes]) -> None:
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]


async def test_one_poller_serves_all_watchers() -> None:
    database = Database()
    pages = live(database)
    first, second = pages.stream(), pages.stream()
    assert [await anext(first), await anext(second)] == [HELLO, HELLO]
    assert [await anext(first), await anext(second)] == [CHANGED, CHANGED], "its pages may be older than the first answer"

    database.state = 1
    assert [await anext(first), await anext(second)] == [CHANGED, CHANGED]
    assert [task.get_name() for task in asyncio.all_tasks()].count("dashboard poller") == 1

    await closed(first)
    assert pages.watchers == 1
    await closed(second)
    assert not pages.is_polling
    assert pages.watchers == 0


async def test_outage_and_return_are_changes() -> None:
    database = Database()
    pages = live(database)
    stream = pages.stream()
    assert [await anext(stream), await anext(stream)] == [HELLO, CHANGED]

    database.state = ConnectionError("away")
    assert await anext(stream) == CHANGED
    database.state = 0
    assert await anext(stream) == CHANGED
    await closed(stream)


async def test_page_hears_of_changes_before_its_stream() -> None:
    """A change while no stream is open, and one just before the stream opens. The page may have been made before it."""
    database = Database()
    pages = live(database)
    first = pages.stream()
    await anext(first)
    await anext(first)
    await closed(first)

    database.state = 1
    pages._changed_at = 0.0
    second = pages.stream()
    assert [await anext(second), await anext(second)] == [HELLO, CHANGED]
    third = pages.stream()
    assert [await anext(third), await anext(third)] == [HELLO, CHANGED]
    await closed(second, third)


async def test_quiet_stream_is_kept_alive() -> None:
    stream = live(Database(), keep_alive_seconds=0.01).stream()

    assert [await anext(stream) for _ in range(3)] == [HELLO, CHANGED, KEEP_ALIVE]
    await closed(stream)


async def test_streams_are_bounded() -> None:
    pages = live(Database(), most=1)
    first = pages.stream()
    await anext(first)

    assert pages.is_full
    with pytest.raises(Crowded):
        await anext(pages.stream())
    await closed(first)
    assert not pages.is_full


async def test_stream_ends_so_that_access_is_checked() -> None:
    stream = live(Database(), stream_seconds=0.01).stream()

    first, *_others = [part async for part in stream]
    assert first == HELLO


async def test_closing_ends_all_streams() -> None:
    pages = live(Database())
    stream = pages.stream()
    await anext(stream)

    pages.close()

    assert [part async for part in stream] == []
    assert pages.is_full
    assert not pages.is_polling
