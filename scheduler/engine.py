"""Puts the jobs of a process together: those of each account that it serves, and those of the database."""

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from jobs.campaigns import Campaigns
from jobs.dispatch import Dispatcher
from jobs.eventing.client import EventClient
from jobs.events import Events
from jobs.figures import Figures
from jobs.gateway.farewell import Farewell
from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.restore_check import RestoreCheck
from jobs.gateway.seen import Seen
from jobs.gateway.values import Plan
from jobs.inbound import InboundPolling
from jobs.providers import registry
from jobs.providers.base import Provider
from jobs.providers.measured import measured
from jobs.providers.registry import Account
from jobs.reconcile import Reconciliation
from jobs.recover import Recovery
from jobs.runtime.accounts import AccountSettings
from jobs.runtime.clocks import Clocks
from jobs.runtime.first_claims import FirstClaims
from jobs.runtime.job import Job
from jobs.runtime.project import project_host
from jobs.runtime.settings import EngineSettings, EventsSettings, SupabaseSettings
from jobs.runtime.waking import Wakings
from jobs.schema.admission import Admission
from jobs.schema.releases import Releases
from jobs.upkeep import Upkeep

_SINGLE_RUN_SECONDS: Final = 50.0
"""How long a single run sends events: a run from cron should be over when the next one starts."""
_OWN: Final = ("recover", "reconcile")
"""The jobs of an account that its claims wake."""


@dataclass(frozen=True, slots=True)
class Served:
    """An account that the process serves."""

    plan: Plan
    provider: Provider
    restores: RestoreCheck


@dataclass(frozen=True, slots=True)
class Engine:
    """The jobs and what they share. Ask ``admission`` first. Call :meth:`aclose` when all jobs have drained.

    Each account of ``served`` has a dispatch job. The database decides which messages its plan may take.
    """

    jobs: tuple[Job, ...]
    admission: Admission
    served: tuple[Served, ...]
    gateway: Gateway
    farewell: Farewell

    async def aclose(self) -> None:
        await self.farewell.close()
        for one in self.served:
            await one.provider.aclose()
        await self.gateway.aclose()


async def build_engine(
    supabase: SupabaseSettings,
    accounts: Mapping[int | None, AccountSettings],
    settings: EngineSettings,
    *,
    known: Releases,
    waits_for_rates: bool = True,
    wakings: Wakings | None = None,
    events: EventsSettings | None = None,
) -> Engine:
    """Make the jobs. This makes no request to Supabase or a provider, so all may be away.

    ``accounts`` are given by their place in the order of all, None where there is one. ``known`` are the schema versions of
    this package. Without ``waits_for_rates`` a tick ends when the plan's limit is reached. ``wakings`` is the listener's.
    """
    gateway = await Gateway.connect(supabase)
    worker = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
    process = _Process(
        gateway=gateway,
        settings=settings,
        admission=Admission(gateway.installed_schema, known),
        project=project_host(supabase.supabase_url),
        worker=worker,
        farewell=Farewell(gateway, worker),
        wakings=wakings or Wakings(),
        waits_for_rates=waits_for_rates,
        first_claims=FirstClaims(),
    )
    served: list[Served] = []
    jobs: list[Job] = []
    for position, chosen in accounts.items():
        one, own = _serve(process, chosen, position, is_first=not served)
        served.append(one)
        jobs += own
    for one in served:
        one.restores.others = tuple(other.restores for other in served if other is not one)
    jobs += [
        Campaigns(gateway=gateway),
        Events(
            gateway=gateway,
            worker=worker,
            client=_event_client(events),
            wakings=process.wakings,
            tick_seconds=math.inf if waits_for_rates else _SINGLE_RUN_SECONDS,
        ),
        Figures(gateway=gateway, settings=settings),
        Upkeep(gateway=gateway, settings=settings),
    ]
    return Engine(
        jobs=tuple(jobs), admission=process.admission, served=tuple(served), gateway=gateway, farewell=process.farewell
    )


def _event_client(events: EventsSettings | None) -> EventClient:
    return EventClient(allows_private=events is not None and events.events_allow_private_networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """What the jobs of all accounts share. ``worker`` names the process in the database."""

    gateway: Gateway
    settings: EngineSettings
    admission: Admission
    project: str
    worker: str
    farewell: Farewell
    wakings: Wakings
    waits_for_rates: bool
    first_claims: FirstClaims


def _serve(process: _Process, chosen: AccountSettings, position: int | None, *, is_first: bool) -> tuple[Served, list[Job]]:
    """The account and its jobs. Those of the first account have plain names, and the others' carry the provider's."""
    gateway, settings, waits_for_rates = process.gateway, process.settings, process.waits_for_rates
    clocks, seen = Clocks(), Seen()
    account = registry.account(chosen, settle=timedelta(seconds=settings.settle_seconds))
    provider = measured(account.build(clocks))
    plan = plan_of(provider, account, messages_per_day=settings.max_messages_per_day, position=position)
    outage = ProviderOutage(gateway=gateway, plan=plan)
    restores = RestoreCheck(
        gateway=gateway,
        provider=provider,
        plan=plan,
        outage=outage,
        deadline=settings.lease_seconds / 3,
        project=process.project,
        has_list=registry.has_list(plan.provider),
    )
    shared: dict[str, Any] = {
        "gateway": gateway,
        "provider": provider,
        "plan": plan,
        "settings": settings,
        "clocks": clocks,
    }
    suffix = "" if is_first else f" {plan.provider}"
    dispatcher = Dispatcher(
        **shared,
        worker=process.worker,
        waits_for_rates=waits_for_rates,
        admission=process.admission,
        project=process.project,
        seen=seen,
        restores=restores,
        waking=process.wakings.join(),
        farewell=process.farewell,
        first_claim=process.first_claims.join(),
        jobs={kind: f"{kind}{suffix}" for kind in _OWN},
    )
    jobs: list[Job] = [
        dispatcher,
        Recovery(**shared, outage=outage, waits_for_rates=waits_for_rates, seen=seen),
        Reconciliation(**shared, outage=outage, restores=restores),
        InboundPolling(**shared, outage=outage),
    ]
    for job in jobs:
        job.name += suffix
    return Served(plan, provider, restores), jobs


def plan_of(provider: Provider, account: Account, *, messages_per_day: int | None = None, position: int | None = None) -> Plan:
    """The account with its limits, as the database stores them."""
    return Plan(
        provider=provider.name,
        plan=provider.plan,
        host=provider.host,
        credential=provider.credential,
        messages_per_second=account.messages_per_second,
        requests_per_minute=account.requests_per_minute,
        messages_per_day=messages_per_day,
        position=position,
    )
