"""Puts the jobs of one service plan together."""

import os
import socket
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from jobs.campaigns import Campaigns
from jobs.dispatch import Dispatcher
from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.restore_check import RestoreCheck
from jobs.gateway.seen import Seen
from jobs.gateway.values import Plan
from jobs.inbound import InboundPolling
from jobs.providers import registry
from jobs.providers.base import Provider
from jobs.reconcile import Reconciliation
from jobs.recover import Recovery
from jobs.runtime.clocks import Clocks
from jobs.runtime.job import Job
from jobs.runtime.project import project_host
from jobs.runtime.settings import EngineSettings, SinchSettings, SupabaseSettings
from jobs.runtime.waking import Waking
from jobs.schema.admission import Admission
from jobs.schema.releases import Releases
from jobs.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Engine:
    """The jobs and what they share. Ask ``admission`` first. Call :meth:`aclose` when all jobs have drained."""

    jobs: tuple[Job, ...]
    admission: Admission
    restores: RestoreCheck
    plan: Plan
    gateway: Gateway
    provider: Provider

    async def aclose(self) -> None:
        await self.provider.aclose()
        await self.gateway.aclose()


async def build_engine(
    supabase: SupabaseSettings,
    sinch: SinchSettings,
    settings: EngineSettings,
    *,
    known: Releases,
    waits_for_rates: bool = True,
    waking: Waking | None = None,
) -> Engine:
    """Make the jobs. This makes no request to Supabase or the provider, so both may be away.

    ``known`` are the schema versions of this package. Without ``waits_for_rates`` a tick ends when the plan's limit is reached.
    ``waking`` is the listener's.
    """
    gateway = await Gateway.connect(supabase)
    clocks = Clocks()
    provider = registry.build(sinch, clocks)
    plan = replace(plan_of(provider, sinch), messages_per_day=settings.max_messages_per_day)
    outage = ProviderOutage(gateway=gateway, plan=plan)
    project = project_host(supabase.supabase_url)
    deadline = settings.lease_seconds / 3
    restores = RestoreCheck(gateway=gateway, provider=provider, plan=plan, outage=outage, deadline=deadline, project=project)
    admission = Admission(gateway.installed_schema, known)
    seen = Seen()
    shared: dict[str, Any] = {
        "gateway": gateway,
        "provider": provider,
        "plan": plan,
        "settings": settings,
        "clocks": clocks,
    }
    jobs: tuple[Job, ...] = (
        Dispatcher(
            **shared,
            worker=f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
            waits_for_rates=waits_for_rates,
            admission=admission,
            project=project,
            seen=seen,
            restores=restores,
            waking=waking,
        ),
        Recovery(**shared, outage=outage, waits_for_rates=waits_for_rates, seen=seen),
        Reconciliation(**shared, outage=outage, restores=restores),
        InboundPolling(**shared, outage=outage),
        Campaigns(gateway=gateway),
        Upkeep(gateway=gateway, settings=settings),
    )
    return Engine(jobs=jobs, admission=admission, restores=restores, plan=plan, gateway=gateway, provider=provider)


def plan_of(provider: Provider, sinch: SinchSettings) -> Plan:
    """The account with its limits, as the database stores them."""
    return Plan(
        provider=provider.name,
        plan=provider.plan,
        host=provider.host,
        credential=provider.credential,
        messages_per_second=sinch.sinch_messages_per_second,
        requests_per_minute=sinch.sinch_requests_per_minute,
    )
