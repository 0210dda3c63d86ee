"""Campaigns: the list, and for each one what comes, what became of it, and how to start, pause and stop it."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.charts import Series
from dashboard.visit import Visit, not_found
from dashboard.words import STATUSES
from jobs.gateway import campaign_costs
from jobs.gateway.campaign_costs import Total
from jobs.gateway.campaigning import Counted, Listed, PreviewRow, Report
from jobs.gateway.errors import GatewayRefused
from jobs.runtime.masking import scrub
from jobs.runtime.times import all_in_utc

T = TypeVar("T")

PREVIEWED: Final = 20
WAITING: Final = ("scheduled", "pending", "sending")
_DAY_SECONDS: Final = 86_400
_COUNTING_SHARE: Final = 0.5
"""How much of the time that a page waits goes into counting members or results."""
_TONES: Final = {"draft": "wait", "active": "good", "paused": "warn", "ended": "off"}
_MEANINGS: Final = {
    "draft": "nothing goes out until it is started",
    "active": "messages go out when they are due",
    "paused": "nothing goes out until it is started again",
    "ended": "nothing goes out any more",
}


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator may do with a campaign whose status is one of ``of``. ``explained`` says what happens."""

    name: str
    button: str
    of: tuple[str, ...]
    tone: str
    explained: str


_ACTS: Final = {
    one.name: one
    for one in (
        Act("start", "Start", ("draft", "paused"), "main", "Its messages go out when they are due."),
        Act(
            "pause",
            "Pause",
            ("active",),
            "danger",
            "No more of its messages go out until it is started again. Messages that wait stay, or expire."
            " Requests in flight are not cancelled.",
        ),
        Act(
            "stop",
            "Stop",
            ("draft", "active", "paused"),
            "danger",
            "It ends for good: nothing starts it again. Its waiting messages are cancelled, requests in flight are not."
            " To go on later, pause it instead.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Coming:
    """What comes, or the ``problem`` that prevents a preview. ``is_part``: the costs are of the first members only."""

    rows: tuple[PreviewRow, ...]
    costs: Total | None
    is_part: bool
    problem: str


async def show_all(visit: Visit) -> Response:
    campaigns = await visit.operating.campaigns.list()
    return visit.render("campaigns.html", title="Campaigns", campaigns=campaigns, tones=_TONES, waiting=",".join(WAITING))


async def show(visit: Visit) -> Response:
    return await _page(visit, await _campaign(visit, visit.request.path_params["name"]))


async def show_texts(visit: Visit) -> Response:
    """The same page with the texts of the preview. The database records who read them."""
    campaign = await _campaign(visit, (await visit.form()).get("name", ""))
    return await _page(visit, campaign, await visit.operating.campaigns.show_preview(campaign.name, most=PREVIEWED))


async def ask(visit: Visit) -> Response:
    act, campaign = await _asked(visit, visit.query)
    starts = act.name == "start" and campaign.status in act.of
    total, problem = None, ""
    if starts:
        seconds = visit.services.reading_seconds * _COUNTING_SHARE
        total, problem = await _attempt(campaign_costs.count(visit.operating.campaigns, campaign.name, seconds=seconds))
    return visit.render(
        "campaign_act.html",
        title=f"{act.button} {campaign.name}",
        act=act,
        campaign=campaign,
        meaning=_MEANINGS.get(campaign.status, ""),
        total=total,
        problem=problem,
        problems=() if total is None else _reasons(visit, total.problems),
    )


async def act(visit: Visit) -> Response:
    asked, campaign = await _asked(visit, await visit.form())
    campaigns = visit.operating.campaigns
    match asked.name:
        case "start":
            await campaigns.switch(campaign.name, "active")
        case "pause":
            await campaigns.switch(campaign.name, "paused")
        case _:
            await campaigns.end(campaign.name)
    return visit.redirect(path_of(campaign.name))


def path_of(campaign: str) -> str:
    """The path of a campaign's page."""
    return f"/campaigns/{quote(campaign)}"


async def _campaign(visit: Visit, name: str) -> Listed:
    found = next((one for one in await visit.operating.campaigns.list() if one.name == name), None)
    if found is None:
        raise not_found("There is no campaign with this name. The list of campaigns has them all.")
    return found


async def _asked(visit: Visit, given: Mapping[str, str]) -> tuple[Act, Listed]:
    found = _ACTS.get(visit.request.path_params["act"])
    if found is None:
        raise HTTPException(404, "A campaign is started, paused or stopped.")
    return found, await _campaign(visit, given.get("name", ""))


async def _page(visit: Visit, campaign: Listed, texts: tuple[PreviewRow, ...] | None = None) -> Response:
    coming, (report, slow) = await asyncio.gather(_coming(visit, campaign, texts), _report(visit, campaign.name))
    steps = () if report is None else report.timeline
    is_daily = report is None or report.step_seconds is None or report.step_seconds >= _DAY_SECONDS
    return visit.render(
        "campaign.html",
        title=f"Campaign {campaign.name}",
        campaign=campaign,
        tone=_TONES.get(campaign.status, "off"),
        meaning=_MEANINGS.get(campaign.status, ""),
        acts=[one for one in _ACTS.values() if campaign.status in one.of],
        waiting=",".join(WAITING),
        coming=coming,
        problems=() if coming.costs is None else _reasons(visit, coming.costs.problems),
        warnings=() if coming.costs is None else tuple(map(scrub, coming.costs.warnings)),
        with_texts=texts is not None,
        words_of=lambda text: visit.words(_words(text)),
        previewed=PREVIEWED,
        report=report,
        slow=slow,
        statuses=() if report is None else _statuses(report),
        undelivered=() if report is None else [(one, visit.words(_words(one.reason))) for one in report.undelivered],
        skipped=() if report is None else _reasons(visit, report.skipped),
        finished=0 if report is None else sum(n for status, n in report.statuses.items() if status not in WAITING),
        labels=[f"{step.at:%d %b}" if is_daily else f"{step.at:%d %b %H:%M}" for step in steps],
        results=[
            Series("delivered", "good", tuple(step.delivered for step in steps)),
            Series("not delivered", "bad", tuple(step.failed for step in steps)),
            Series("on the way", "go", tuple(max(0, step.sent - step.delivered - step.failed) for step in steps)),
        ],
    )


async def _coming(visit: Visit, campaign: Listed, texts: tuple[PreviewRow, ...] | None) -> Coming:
    """The next messages, and the costs of the first stretch of members, which bounds the work of the database."""
    if campaign.status == "ended":
        return Coming((), None, is_part=False, problem="")
    campaigns = visit.operating.campaigns
    costs, problem = await _attempt(campaign_costs.count(campaigns, campaign.name, seconds=0))
    if costs is None:
        return Coming((), None, is_part=False, problem=problem)
    rows = await campaigns.preview(campaign.name, most=PREVIEWED) if texts is None else texts
    return Coming(rows, costs, is_part=costs.members < campaign.members, problem="")


async def _report(visit: Visit, name: str) -> tuple[Report | None, bool]:
    """The results so far. None, and true, where counting takes longer than a page waits."""
    try:
        async with asyncio.timeout(visit.services.reading_seconds * _COUNTING_SHARE):
            return await visit.operating.campaigns.report(name), False
    except TimeoutError:
        return None, True


async def _attempt(count: Awaitable[T]) -> tuple[T | None, str]:
    """What was counted, or why the database refuses it, such as a schedule that was edited by hand."""
    try:
        return await count, ""
    except GatewayRefused as error:
        return None, _words(str(error).partition(": ")[2])


def _statuses(report: Report) -> list[tuple[str, int]]:
    order = {name: place for place, name in enumerate(STATUSES)}
    return sorted(((name, n) for name, n in report.statuses.items() if n), key=lambda one: order.get(one[0], len(order)))


def _reasons(visit: Visit, counted: tuple[Counted, ...]) -> list[tuple[str, int]]:
    return [(visit.words(_words(one.name or "")), one.messages) for one in counted]


def _words(text: str) -> str:
    """Words of the database for people, numbers masked."""
    return scrub(all_in_utc(text))
