"""Counts and times the requests to a provider."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, cast

from jobs.providers.base import Ambiguous, Provider, ProviderError, Refusal, Refused
from jobs.runtime.metrics import PROVIDER_REQUEST_DURATION, PROVIDER_REQUESTS

_OPERATIONS: Final = {
    "submit": "send",
    "find": "lookup",
    "references": "list",
    "sent_batches": "list",
    "batch": "list",
    "batch_reports": "reports",
    "finished_reports": "reports",
    "inbounds": "inbounds",
}
"""The methods of a provider that make a request, and what the metrics call them."""


def measured(provider: Provider) -> Provider:
    """The provider, with its requests counted and timed."""
    return cast(Provider, _Measured(provider))


class _Measured:
    """Everything else of the provider is as it is."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._provider, name)
        return self._timed(found, _OPERATIONS[name]) if name in _OPERATIONS else found

    def _timed(self, ask: Callable[..., Awaitable[Any]], operation: str) -> Callable[..., Awaitable[Any]]:
        plan = self._provider.plan

        async def timed(*arguments: Any, **named: Any) -> Any:
            began = monotonic()
            outcome = "ambiguous"
            try:
                answer = await ask(*arguments, **named)
                outcome = _outcome(answer)
            except ProviderError as error:
                outcome = _refusal(error.why)
                raise
            finally:
                PROVIDER_REQUESTS.labels(plan, operation, outcome).inc()
                PROVIDER_REQUEST_DURATION.labels(plan, operation).observe(monotonic() - began)
            return answer

        return timed


def _outcome(answer: object) -> str:
    """What became of a request. The answer to a question counts as accepted."""
    if isinstance(answer, Refused):
        return _refusal(answer.why)
    return "ambiguous" if isinstance(answer, Ambiguous) else "accepted"


def _refusal(why: Refusal | None) -> str:
    if why is None:
        return "ambiguous"
    return "throttled" if why is Refusal.THROTTLED else "refused"
