"""``/inbounds``: the messages from phones to the plan's numbers."""

from bisect import bisect_left

from msgspec import Struct

from sandbox.simulator.http import Answer, Call, json_answer
from sandbox.simulator.sinch.errors import unknown
from sandbox.simulator.sinch.plans import InboundView, Plan
from sandbox.simulator.sinch.provider import Sinch
from sandbox.simulator.sinch.routes.paging import commas, window


class InboundPage(Struct, kw_only=True):
    """One page of inbounds."""

    page: int
    page_size: int
    count: int
    inbounds: list[InboundView]


def listing(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    query = call.query()
    asked = window(query, sinch.clock.now())
    to, reference = frozenset(text.removeprefix("+") for text in commas(query, "to")), query.get("client_reference")
    first = bisect_left(plan.inbounds, asked.start, key=lambda received: received.at)
    last = bisect_left(plan.inbounds, asked.end, key=lambda received: received.at)
    found = [
        received.view
        for received in plan.inbounds[first:last]
        if (not to or received.view.to in to) and reference in (None, received.view.client_reference)
    ]
    page = [found[place] for place in asked.newest_first(len(found))]
    return json_answer(200, InboundPage(page=asked.page, page_size=len(page), count=len(found), inbounds=page))


def get(_sinch: Sinch, plan: Plan, call: Call) -> Answer:
    for received in plan.inbounds:
        if received.view.id == call.parts[0]:
            return json_answer(200, received.view)
    raise unknown()
