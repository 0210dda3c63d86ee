"""What the log says of a provider that answers no question."""

from typing import Any

from structlog.testing import capture_logs

from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.values import Plan
from jobs.providers.base import ProviderError, Refusal

PLAN = Plan("sinch", "my-plan", "h", "c", None, 600)


class Gateway:
    """Remembers why plans were paused."""

    def __init__(self) -> None:
        self.paused: list[Refusal] = []

    async def pause_plan(self, _plan: Plan, why: Refusal, **_: Any) -> None:
        self.paused.append(why)


async def test_refused_account_is_told_at_once() -> None:
    """In one warning, with the plan, the reason and the settings, whichever jobs meet it."""
    gateway: Any = Gateway()
    outage = ProviderOutage(gateway=gateway, plan=PLAN)
    error = ProviderError("HTTP 401 unauthorized", why=Refusal.ACCOUNT, http_status=401)

    with capture_logs() as logs:
        await outage.unanswered("restore check", error)
        await outage.unanswered("restore check", error)
        await outage.unanswered("inbound", error)

    (said,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert (said["event"], said["plan"], said["reason"]) == ("plan.paused", "my-plan", "HTTP 401 unauthorized")
    assert said["setting"] == "SINCH_API_TOKEN and SINCH_SERVICE_PLAN_ID"
    assert gateway.paused == [Refusal.ACCOUNT] * 3


async def test_silence_is_no_pause() -> None:
    gateway: Any = Gateway()
    outage = ProviderOutage(gateway=gateway, plan=PLAN)

    with capture_logs() as logs:
        await outage.unanswered("recover", ProviderError("no answer: ReadTimeout"))
        outage.answered("recover")

    assert [entry["event"] for entry in logs] == ["provider.away", "provider.back"]
    assert gateway.paused == []
