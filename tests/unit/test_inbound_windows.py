"""How often replies are polled, and how far two readings overlap: as the provider's listing needs it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.gateway.values import Window
from jobs.inbound import InboundPolling
from jobs.providers.base import Inbound, Page
from jobs.providers.sinch.client import SinchClient
from jobs.providers.vonage.client import VonageClient
from jobs.runtime.clocks import Clocks
from jobs.runtime.settings import EngineSettings

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Outside:
    """The database, the provider and what the job tells of them."""

    def __init__(self, client: type[SinchClient] | type[VonageClient]) -> None:
        self.inbounds_every, self.inbounds_lag = client.inbounds_every, client.inbounds_lag
        self.asked: list[tuple[datetime, datetime]] = []
        self.interval = 0.0

    async def claim_inbound_window(self, _plan: Any, *, interval: float) -> Window:
        self.interval = interval
        return Window(NOON - timedelta(minutes=10), NOON + timedelta(minutes=1))

    async def inbounds(self, *, start: datetime, end: datetime, **_: Any) -> Page[Inbound]:
        self.asked.append((start, end))
        return Page((), last=True)

    async def finish_inbound_window(self, _plan: Any, window: Window) -> None:
        assert (window.start, window.end) == self.asked[-1]

    def answered(self, _job: str) -> None: ...


@pytest.mark.parametrize(
    ("client", "interval", "overlap"),
    [(SinchClient, 60.0, timedelta(minutes=10)), (VonageClient, 3600.0, timedelta(hours=1))],
)
async def test_readings_overlap_by_the_lag(
    client: type[SinchClient] | type[VonageClient], interval: float, overlap: timedelta
) -> None:
    outside: Any = Outside(client)
    job = InboundPolling(
        gateway=outside,
        provider=outside,
        plan=outside,
        settings=EngineSettings(_env_file=None),
        outage=outside,
        clocks=Clocks(),
    )

    await job.tick()

    assert (job.interval, outside.interval) == (60, interval)
    assert outside.asked == [(NOON - overlap, NOON + timedelta(minutes=1))]
