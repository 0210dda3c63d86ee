"""A round of `outbox doctor` against the real parts: a database, its API, a simulated provider, and a webhook app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from jobs.examining.findings import Finding, Mark
from jobs.gateway.gateway import Gateway
from jobs.gateway.operating import Operating
from jobs.runtime.settings import SupabaseSettings
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from scheduler.doctor.installation import Environment, Installation
from scheduler.doctor.rounds import CHECKS, examine
from tests.engine import supabase_settings
from tests.integration.webhook_app import DELIVERY, SECRET, serving, settings


@asynccontextmanager
async def webhook_app(stack: LocalStack, secret: str = SECRET) -> AsyncIterator[str]:
    """The origin of an app that records into the stack's database."""
    gateway = await Gateway.connect(supabase_settings(stack))
    try:
        async with serving(gateway, settings(sinch_webhook_secrets=secret)) as client:
            yield str(client.base_url).rstrip("/")
    finally:
        await gateway.aclose()


def configure(monkeypatch: pytest.MonkeyPatch, stack: LocalStack, sinch: Running, webhook: str, **changes: str) -> None:
    """The settings of everything, as an operator has them in the environment."""
    chosen = {
        "SUPABASE_URL": stack.url,
        "SUPABASE_SECRET_KEY": stack.secret_key,
        "OUTBOX_DB_URL": stack.db_url,
        "SINCH_SERVICE_PLAN_ID": sinch.plan.id,
        "SINCH_API_TOKEN": sinch.plan.token,
        "SINCH_BASE_URL": sinch.url,
        "SINCH_FROM_NUMBER": "+12025550100",
        "SINCH_CALLBACK_URL": f"{webhook}{DELIVERY}",
        "SINCH_WEBHOOK_SECRETS": SECRET,
    }
    for name, value in {**chosen, **changes}.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def installation() -> AsyncIterator[Installation]:
    """With the settings of the environment."""
    environment = Environment.read()
    supabase: SupabaseSettings | None = environment.supabase
    found = Installation(environment, None if supabase is None else await Operating.connect(supabase))
    try:
        yield found
    finally:
        await found.aclose()


async def findings(*names: str) -> list[Finding]:
    """What these checks find, with the settings of the environment."""
    async with installation() as of:
        return [one async for one in examine(of, [check for check in CHECKS if check.name in names])]


async def failures(*names: str) -> list[Finding]:
    """Those that failed."""
    return [finding for finding in await findings(*names) if finding.mark is Mark.FAILED]


async def failure(name: str) -> Finding:
    """The only one that failed."""
    (found,) = await failures(name)
    return found
