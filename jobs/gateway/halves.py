"""Records many items in one call although the database may refuse some: halves them until a refused item is alone."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from jobs.gateway.recorder import Recorder
from jobs.providers.base import Inbound, Report, Summary, Unusable

T = TypeVar("T")
Item = TypeVar("Item", Report, Inbound)


async def in_halves(
    items: Sequence[T],
    *,
    attempt: Callable[[Sequence[T]], Awaitable[Exception | None]],
    settle: Callable[[Sequence[T], Exception | None], Awaitable[None]],
) -> None:
    """Attempt all ``items`` at once. Split a part that fails into halves, and attempt each of them.

    ``attempt`` returns the error, or None if it committed all of its items. ``settle`` receives each part with its outcome.
    With an error, the part is a single item, or the database is away: splitting does not help against that.
    """
    error = await attempt(items)
    if error is None or isinstance(error, GatewayUnavailable) or len(items) == 1:
        await settle(items, error)
        return
    half = len(items) // 2
    await in_halves(items[:half], attempt=attempt, settle=settle)
    await in_halves(items[half:], attempt=attempt, settle=settle)


async def record_page(
    items: Sequence[Item], *, record: Callable[[Sequence[Item]], Awaitable[None]], recorder: Recorder
) -> None:
    """Record the items of a listing. Items that the database refuses are kept as bytes, with an alarm the first time.

    Where the database refuses an item only for its raw text, the item is recorded without that. Raises
    :class:`jobs.gateway.errors.GatewayUnavailable`.
    """

    async def attempt(some: Sequence[Item]) -> GatewayRefused | None:
        try:
            await record(some)
        except GatewayRefused as error:
            return error
        return None

    async def settle(some: Sequence[Item], error: Exception | None) -> None:
        if isinstance(error, GatewayRefused):
            await recorder.keep_callbacks([refused(some[0], error)])
            await attempt([without_raw(some[0])])

    if items:
        await in_halves(items, attempt=attempt, settle=settle)


def refused(item: Report | Inbound | Summary, error: GatewayRefused) -> Unusable:
    """An item that the database refuses, in the form in which it is kept."""
    return Unusable(f"the database refuses it: {error}", item.raw.encode())


def without_raw(item: Item) -> Item:
    """The item without the text that it was read from, which may hold what the database cannot store in a field we ignore."""
    return replace(item, raw="{}")
