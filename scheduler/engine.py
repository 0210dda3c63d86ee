"""Puts the jobs of a process together: those of each account that it serves, and those of the database."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
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
from jobs.providers.registry import Account
from jobs.reconcile import Reconciliation
from jobs.recover import Recovery
from jobs.runtime.accounts import AccountSettings
from jobs.runtime.clocks import Clocks
from jobs.runtime.job import Job
from jobs.runtime.project import project_host
from jobs.runtime.settings import EngineSettings, SupabaseSettings
from jobs.runtime.waking import Waking
from jobs.schema.admission import Admission
from jobs.schema.releases import Releases
from jobs.upkeep import Upkeep

_STANDING_BY_SECONDS: Final = 30.0
"""How often the jobs of an account that does not send look for work: no claim wakes them."""


@dataclass(frozen=True, slots=True)
class Served:
    """An account that the process serves."""

    plan: Plan
    provider: Provider
    restores: RestoreCheck


@dataclass(frozen=True, slots=True)
class Engine:
    """The jobs and what they share. Ask ``admission`` first. Call :meth:`aclose` when all jobs have drained.

    The first of ``served`` sends. The others ask for the reports, replies and lost requests of what they sent before.
    """

    jobs: tuple[Job, ...]
    admission: Admission
    served: tuple[Served, ...]
    gateway: Gateway

    async def aclose(self) -> None:
        for one in self.served:
            await one.provider.aclose()
        await self.gateway.aclose()


async def build_engine(
    supabase: SupabaseSettings,
    accounts: Sequence[AccountSettings],
    settings: EngineSettings,
    *,
    known: Releases,
    waits_for_rates: bool = True,
    waking: Waking | None = None,
) -> Engine:
    """Make the jobs. This makes no request to Supabase or a provider, so all may be away.

    ``known`` are the schema versions of this package. Without ``waits_for_rates`` a tick ends when the plan's limit is reached.
    ``waking`` is the listener's.
    """
    gateway = await Gateway.connect(supabase)
    admission = Admission(gateway.installed_schema, known)
    project = project_host(supabase.supabase_url)
    settle = timedelta(seconds=settings.settle_seconds)
    served: list[Served] = []
    jobs: list[Job] = []
    for chosen in accounts:
        clocks, seen = Clocks(), Seen()
        account = registry.account(chosen, settle=settle)
        provider = account.build(clocks)
        plan = plan_of(provider, account, messages_per_day=settings.max_messages_per_day)
        outage = ProviderOutage(gateway=gateway, plan=plan)
        deadline = settings.lease_seconds / 3
        restores = RestoreCheck(
            gateway=gateway, provider=provider, plan=plan, outage=outage, deadline=deadline, project=project
        )
        shared: dict[str, Any] = {
            "gateway": gateway,
            "provider": provider,
            "plan": plan,
            "settings": settings,
            "clocks": clocks,
        }
        own: list[Job] = [
            Recovery(**shared, outage=outage, waits_for_rates=waits_for_rates, seen=seen),
            Reconciliation(**shared, outage=outage, restores=restores),
            InboundPolling(**shared, outage=outage),
        ]
        if served:
            _stand_by(own, restores, plan, sending=served[0])
        else:
            sending = Dispatcher(
                **shared,
                worker=f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
                waits_for_rates=waits_for_rates,
                admission=admission,
                project=project,
                seen=seen,
                restores=restores,
                waking=waking,
            )
            own.insert(0, sending)
        served.append(Served(plan, provider, restores))
        jobs += own
    jobs += [Campaigns(gateway=gateway), Upkeep(gateway=gateway, settings=settings)]
    return Engine(jobs=tuple(jobs), admission=admission, served=tuple(served), gateway=gateway)


def plan_of(provider: Provider, account: Account, *, messages_per_day: int | None = None) -> Plan:
    """The account with its limits, as the database stores them."""
    return Plan(
        provider=provider.name,
        plan=provider.plan,
        host=provider.host,
        credential=provider.credential,
        messages_per_second=account.messages_per_second,
        requests_per_minute=account.requests_per_minute,
        messages_per_day=messages_per_day,
    )


def _stand_by(jobs: Sequence[Job], restores: RestoreCheck, plan: Plan, *, sending: Served) -> None:
    """The list of this account may show, too, that the database was restored, so it is read before the first claim."""
    if registry.has_list(plan.provider):
        sending.restores.standing_by += (restores,)
    for job in jobs:
        job.name = f"{job.name} {plan.provider}"
        if not isinstance(job, InboundPolling):
            job.interval = _STANDING_BY_SECONDS
