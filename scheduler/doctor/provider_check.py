"""Check 5: the provider accepts the credential of each account, and knows its sender and its URLs where an API tells."""

import asyncio
from collections.abc import Sequence

from jobs.examining.findings import Finder, Finding, Mark
from jobs.providers import registry
from jobs.providers.inspection import Remark, Standing
from jobs.runtime.accounts import AccountSettings
from scheduler.doctor.installation import Installation

CHECK = "provider"
_MARKS = {
    Standing.RIGHT: Mark.OK,
    Standing.WRONG: Mark.FAILED,
    Standing.DOUBTFUL: Mark.WARNING,
    Standing.NOT_TOLD: Mark.SKIPPED,
}


async def look(installation: Installation) -> Sequence[Finding]:
    accounts = installation.environment.accounts
    if not accounts:
        return [Finder(CHECK).skipped("no account is configured, see settings")]
    return [finding for found in await asyncio.gather(*map(_account, accounts)) for finding in found]


async def _account(chosen: AccountSettings) -> Sequence[Finding]:
    provider = registry.account(chosen).provider
    return [_finding(provider, remark) for remark in await registry.inspect(chosen)]


def _finding(provider: str, remark: Remark) -> Finding:
    return Finding(CHECK, _MARKS[remark.standing], f"{provider}: {remark.found}", remark.advice)
