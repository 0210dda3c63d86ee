"""``/delivery_reports`` and the reports of one batch."""

from collections.abc import Mapping
from itertools import islice

from msgspec import Struct

from sandbox.simulator.http import Answer, Call, json_answer
from sandbox.simulator.sinch.batches import Batch
from sandbox.simulator.sinch.errors import unknown, violation
from sandbox.simulator.sinch.feed import Found, finished
from sandbox.simulator.sinch.numbers import msisdn
from sandbox.simulator.sinch.plans import Plan
from sandbox.simulator.sinch.provider import Sinch
from sandbox.simulator.sinch.reports import RecipientReport, batch_report, recipient_report
from sandbox.simulator.sinch.routes.batches import batch_of
from sandbox.simulator.sinch.routes.paging import Window, wanted_outcomes, window


class ReportPage(Struct, kw_only=True):
    """One page of finished reports."""

    page: int
    page_size: int
    count: int
    delivery_reports: list[RecipientReport]


def batch(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    query = call.query()
    kind = query.get("type", "summary")
    if kind not in ("summary", "full"):
        raise violation("type must be summary or full")
    keep = wanted_outcomes(query)
    now, found = sinch.clock.now(), batch_of(plan, call)
    report = batch_report(found, now, full=kind == "full", keep=keep) if keep else batch_report(found, now, full=kind == "full")
    return json_answer(200, report)


def recipient(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    found = batch_of(plan, call)
    number = msisdn(call.parts[1])
    if number not in found.recipients or found.empty:
        raise unknown()
    index = found.recipients.index(number)
    return json_answer(200, recipient_report(found, index, found.life.state(index, sinch.clock.now())))


def feed(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    now, query = sinch.clock.now(), call.query()
    asked = window(query, now)
    keep = wanted_outcomes(query)
    if "client_reference" in query:
        candidates = [
            found for batch in plan.shelf.with_reference(query["client_reference"]) for found in _in_window(batch, asked, now)
        ]
        count, page = _cut(sorted(candidates, key=lambda found: -found[2].at), query, asked)
    elif keep is None:
        count, page = plan.feed.page(asked.start, asked.end, now, asked.page, asked.size)
    else:
        wanted = keep
        found = list(plan.feed.search(asked.start, asked.end, now, lambda state: wanted(state.outcome)))
        count, page = _cut(found, {}, asked)
    reports = [recipient_report(batch, index, state) for batch, index, state in page]
    return json_answer(200, ReportPage(page=asked.page, page_size=len(reports), count=count, delivery_reports=reports))


def _in_window(batch: Batch, asked: Window, now: int) -> list[Found]:
    return [found for found in finished(batch, now) if asked.start <= found[2].at < asked.end]


def _cut(found: list[Found], query: Mapping[str, str], asked: Window) -> tuple[int, list[Found]]:
    keep = wanted_outcomes(query)
    kept = [entry for entry in found if keep is None or keep(entry[2].outcome)]
    return len(kept), list(islice(kept, asked.page * asked.size, (asked.page + 1) * asked.size))
