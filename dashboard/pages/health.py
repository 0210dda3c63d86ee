"""Health: plans and their weights, limits, processes, the schema, events, routes, and the state of the database."""

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.visit import Visit
from dashboard.words import messages_today
from jobs.examining import schema, storage
from jobs.examining.findings import Finding, Mark
from jobs.gateway import held_words
from jobs.gateway.doctor import Facts
from jobs.gateway.errors import GatewayError
from jobs.gateway.plans import Health, PlanView
from jobs.gateway.status import PlanLimits, Status
from jobs.runtime.masking import scrub
from jobs.runtime.times import all_in_utc
from jobs.schema import releases
from jobs.schema.installed import InstalledSchema
from jobs.schema.releases import BrokenPackage, Releases
from jobs.schema.sources import Sources

_LONGEST: Final = 200
_LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan with what it may send. ``cannot`` says why it cannot send, empty where it can."""

    plan: PlanView
    cannot: str
    losses: tuple[tuple[Health, str], ...]
    limits: PlanLimits | None
    today: str
    is_paused: bool


_TONES: Final = {Mark.OK: "good", Mark.WARNING: "warn", Mark.FAILED: "bad", Mark.SKIPPED: "off"}


async def show(visit: Visit) -> Response:
    operating = visit.operating
    status, plans, routes, senders, installed, facts = await asyncio.gather(
        operating.status(),
        operating.plans.list_plans(),
        operating.routing.list_routes(),
        operating.routing.list_senders(),
        operating.installed_schema(),
        _facts(visit),
    )
    return visit.render(
        "health.html",
        title="Health",
        live=True,
        plans=[_row(one, status) for one in plans],
        now=status,
        routes=routes,
        senders=senders,
        findings=[(one, _TONES[one.mark], scrub(one.found), scrub(one.advice)) for one in findings_of(installed, facts)],
        installed=installed,
        is_examined=facts is not None,
        releases=_releases(),
        held=[(one, held_words.whose(one), held_words.why(one)) for one in status.held],
    )


async def ask_weight(visit: Visit) -> Response:
    """What pinning does, with a form: how much of its weight a plan loses until it is released."""
    provider, plan = _named(visit.query)
    return visit.render("weight.html", title=f"Weight of {provider} {plan}", provider=provider, plan=plan)


async def set_weight(visit: Visit) -> Response:
    form = await visit.form()
    provider, plan = _named(form)
    lost, country = form.get("lost", "").strip(), form.get("country", "").strip()
    act = form.get("act")
    if act not in {"pin", "release"} or not (lost == "" or (lost.isascii() and lost.isdecimal() and int(lost[:4]) <= 100)):
        raise HTTPException(400, "What the plan loses is a number from 0 to 100, or empty to keep it as it is.")
    await visit.operating.plans.pin(
        provider,
        plan,
        country=country[:2].upper() or None,
        lost=int(lost) if lost and act == "pin" else None,
        is_pinned=act == "pin",
        reason=form.get("reason", "").strip()[:_LONGEST_REASON] or None if act == "pin" else None,
    )
    return visit.redirect("/health")


async def _facts(visit: Visit) -> Facts | None:
    """None if the database refuses them or takes too long: the rest of the page does not wait for them."""
    try:
        async with asyncio.timeout(2.0):
            return await visit.operating.examination.facts()
    except (GatewayError, TimeoutError):
        return None


def findings_of(installed: InstalledSchema | None, facts: Facts | None) -> list[Finding]:
    """What `outbox doctor` concludes from the same facts. Without them only what the versions tell."""
    try:
        released, sources = _released()
    except BrokenPackage as error:
        return [schema.find.failed(str(error))]
    versions = schema.versions(released, installed)
    if facts is None or (versions is not None and versions.mark is Mark.FAILED):
        return [] if versions is None else [versions]
    return [*schema.whole(released, sources, installed, facts), *storage.whole(facts.storage)]


@functools.cache
def _released() -> tuple[Releases, Sources]:
    """The schema of this process, which does not change while it runs. Raises BrokenPackage."""
    found = releases.packaged()
    return found, Sources.read(found)


def _releases() -> dict[int, str]:
    """The release that brought each version of the schema. Empty where the package is broken, which a finding says."""
    try:
        return {one.number: one.release for one in _released()[0].versions}
    except BrokenPackage:
        return {}


def _row(plan: PlanView, status: Status) -> PlanRow:
    name = (plan.provider, plan.plan)
    limits = next((one for one in status.plans if (one.provider, one.plan) == name), None)
    return PlanRow(
        plan=plan,
        cannot="" if plan.cannot_send is None else scrub(all_in_utc(plan.cannot_send)),
        losses=tuple((one, scrub(all_in_utc(one.reason))) for one in plan.health),
        limits=limits,
        today="" if limits is None else messages_today(limits),
        is_paused=any((one.provider, one.plan) == name and not one.probing for one in status.pauses),
    )


def _named(given: Mapping[str, str]) -> tuple[str, str]:
    provider, plan = given.get("provider", ""), given.get("plan", "")
    if not provider or not plan or len(provider) > _LONGEST or len(plan) > _LONGEST or "\0" in provider + plan:
        raise HTTPException(400, "The address names no plan.")
    return provider, plan
