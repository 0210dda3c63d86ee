"""The alarm for callbacks whose signature does not verify."""

import asyncio

from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from tests.integration.webhook_app import Memory
from webhook.rejections import Rejections


class Away(Memory):
    """A database that does not answer the first call."""

    async def record_rejected_callbacks(self, count: int) -> None:
        self.calls += 1
        if self.calls == 1:
            raise GatewayUnavailable("connection refused")
        await super().record_rejected_callbacks(count)


async def test_rejections_survive_an_outage_and_name_their_setting() -> None:
    database = Away()
    rejections = Rejections(database, pause=0)

    with capture_logs() as logs:
        for setting in ("SINCH_WEBHOOK_SECRETS", "VONAGE_SIGNATURE_SECRETS", "VONAGE_SIGNATURE_SECRETS"):
            rejections.note(setting)
        await asyncio.wait_for(database.was_told.wait(), 10)
    await rejections.aclose()

    assert database.rejected == [3]
    assert [(entry["count"], entry["hint"].split()[-1]) for entry in logs if entry["event"] == "callback.rejected"] == [
        (1, "SINCH_WEBHOOK_SECRETS"),
        (2, "VONAGE_SIGNATURE_SECRETS"),
    ]
