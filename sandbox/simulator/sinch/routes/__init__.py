"""The resources of the API: one module each, and the table of paths."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sandbox.simulator.behaviour import Kind
from sandbox.simulator.http import Answer, Call
from sandbox.simulator.sinch.plans import Plan
from sandbox.simulator.sinch.provider import Sinch
from sandbox.simulator.sinch.routes import batches, inbounds, reports

Handler = Callable[[Sinch, Plan, Call], Answer]
ID = None


class Route(NamedTuple):
    """The handler of a method on a path. ``kind`` is its name in faults and records."""

    kind: Kind
    handler: Handler


_TABLE: Sequence[tuple[tuple[str | None, ...], Mapping[str, Route]]] = (
    (("batches",), {"POST": Route("send", batches.send), "GET": Route("list", batches.listing)}),
    (("batches", "dry_run"), {"POST": Route("dry_run", batches.dry_run)}),
    (
        ("batches", ID),
        {
            "GET": Route("get", batches.get),
            "POST": Route("update", batches.update),
            "PUT": Route("replace", batches.replace),
            "DELETE": Route("cancel", batches.cancel),
        },
    ),
    (("batches", ID, "delivery_feedback"), {"POST": Route("feedback", batches.feedback)}),
    (("batches", ID, "delivery_report"), {"GET": Route("batch_report", reports.batch)}),
    (("batches", ID, "delivery_report", ID), {"GET": Route("recipient_report", reports.recipient)}),
    (("delivery_reports",), {"GET": Route("feed", reports.feed)}),
    (("inbounds",), {"GET": Route("inbounds", inbounds.listing)}),
    (("inbounds", ID), {"GET": Route("inbound", inbounds.get)}),
)


def find(method: str, segments: Sequence[str]) -> tuple[Route, tuple[str, ...]] | int:
    """The route of a path below the plan and the ids in it, or the status that states why there is none."""
    for pattern, methods in _TABLE:
        if len(pattern) == len(segments) and all(
            part in (ID, segment) for part, segment in zip(pattern, segments, strict=True)
        ):
            if method not in methods:
                return 405
            ids = tuple(segment for part, segment in zip(pattern, segments, strict=True) if part is ID)
            return methods[method], ids
    return 404
