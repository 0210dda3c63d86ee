"""Health: plans and their weights, limits, processes, the schema, events, routes, and the state of the database."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.visit import Visit
from dashboard.words import counted, messages_today
from jobs.gateway.doctor import Facts
from jobs.gateway.errors import GatewayError
from jobs.gateway.plans import Health, PlanView
from jobs.gateway.status import PlanLimits, Status
from jobs.runtime.masking import scrub
from jobs.runtime.times import ago, all_in_utc
from jobs.schema import releases
from jobs.schema.compatibility import judge
from jobs.schema.installed import InstalledSchema
from jobs.schema.releases import BrokenPackage

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


@dataclass(frozen=True, slots=True)
class Found:
    """What was looked at, and what to do if it is not well."""

    tone: str
    words: str
    advice: str = ""


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
        schema=_schema(installed),
        installed=installed,
        facts=facts,
        findings=[] if facts is None else findings_of(facts),
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


def findings_of(facts: Facts) -> list[Found]:
    """What is not as it should be in the database, by the facts that `outbox doctor` reads."""
    objects, storage = facts.objects, facts.storage
    found = [
        Found("bad", f"Row level security is off: {', '.join(objects.without_rls)}.", "alter table … enable row level security")
        if objects.without_rls else None,
        Found("bad", f"Indexes were not built to their end: {', '.join(objects.invalid_indexes)}.", "reindex each concurrently")
        if objects.invalid_indexes else None,
        Found("bad", f"Triggers are disabled: {', '.join(objects.disabled_triggers)}.", "alter table … enable trigger user")
        if objects.disabled_triggers else None,
        Found("bad", "Autovacuum is off in this database.", "Switch autovacuum and track_counts on")
        if not storage.autovacuum else None,
        Found("bad", f"Autovacuum is off for {', '.join(storage.without_autovacuum)}.", "Reset autovacuum_enabled for each")
        if storage.without_autovacuum else None,
        Found("warn", f"More dead rows than live ones: {', '.join(storage.bloated)}.", "vacuum (analyze) each")
        if storage.bloated else None,
        Found("warn", f"Open for 10 minutes and more: {counted(storage.open_transactions, 'transaction')}, the longest for "
              f"{ago(storage.longest_seconds or 0)}: dead rows stay.", "Look at pg_stat_activity")
        if storage.open_transactions else None,
        Found("warn", f"Open: {counted(storage.prepared_transactions, 'prepared transaction')}.", "Look at pg_prepared_xacts")
        if storage.prepared_transactions else None,
        Found("warn", "The tables are larger than the memory of the database.", "Shorten RETENTION_DAYS or take more memory")
        if storage.bytes > storage.memory_bytes else None,
    ]  # fmt: skip
    return [one for one in found if one is not None]


async def _facts(visit: Visit) -> Facts | None:
    """None if the database refuses them or takes too long: the rest of the page does not wait for them."""
    try:
        async with asyncio.timeout(2.0):
            return await visit.operating.examination.facts()
    except (GatewayError, TimeoutError):
        return None


def _schema(installed: InstalledSchema | None) -> Found:
    try:
        verdict = judge(releases.packaged(), installed)
    except BrokenPackage as error:
        return Found("bad", str(error))
    newest = 0 if installed is None else installed.newest
    if not verdict.message:
        return Found("good", f"Version {newest}, as this package needs it.")
    return Found("warn" if verdict.allows_work else "bad", verdict.message)


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
