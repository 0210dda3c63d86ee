"""Answers that mislead: another request's, and lists that leave out or rewrite what a lookup goes by."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from sandbox.simulator.http import Answer


def misleading(effect: str, real: Answer, earlier: Answer) -> Answer:
    """The answer for a fault with this effect: ``earlier``, or ``real`` with its list or batch changed."""
    if effect == "stale":
        return replace(earlier, accepted=real.accepted)
    page: dict[str, Any] = msgspec.json.decode(real.body)
    items = next((page[name] for name in ("batches", "delivery_reports", "inbounds", "records") if name in page), None)
    if effect != "unreadable":
        for item in [page] if items is None else items:
            _CHANGES[effect](item)
    elif items is not None:
        items.insert(0, msgspec.Raw(b'{"id": nonsense}'))
        counted = "count" if "count" in page else "items_count"
        page[counted] += 1
    return replace(real, body=msgspec.json.encode(page))


def _without_reference(item: dict[str, Any]) -> None:
    for name in ("client_reference", "client_ref"):
        item.pop(name, None)


def _with_other_numbers(item: dict[str, Any]) -> None:
    """As some countries' numbers are written with a digit more behind the country code."""
    for name in ("to", "recipient"):
        written = item.get(name)
        if isinstance(written, list):
            item[name] = [f"{number[:1]}1{number[1:]}" for number in written]
        elif written is not None:
            item[name] = f"{written[:1]}1{written[1:]}"


_CHANGES: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "unreferenced": _without_reference,
    "rewritten": _with_other_numbers,
}
MISLEADING: Final = frozenset(("stale", "unreadable", *_CHANGES))
"""The effects of faults that :func:`misleading` knows."""
