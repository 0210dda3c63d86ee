"""Turns the due members of campaigns into outbox rows, a chunk at a time."""

from typing import Final

import structlog

from jobs.gateway.gateway import Gateway
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job

log = structlog.get_logger()

_MEMBERS_A_CHUNK: Final = 2000
"""Each chunk is one short transaction, so that claims of other rows never wait for a campaign."""


class Campaigns(Job):
    """The campaigns job. Any number of processes may run it: a unique row decides which of two comes first."""

    name = "campaigns"
    interval = FALLBACK_INTERVAL_SECONDS

    def __init__(self, *, gateway: Gateway) -> None:
        self._gateway = gateway

    async def tick(self) -> None:
        while (expansion := await self._gateway.expand_campaigns(most=_MEMBERS_A_CHUNK)).more:
            if expansion.members:
                log.info("campaign.expanded", campaign=expansion.campaign, members=expansion.members)
