"""The metrics that a process counts itself. docs/metrics.md explains each.

Sum them over processes. Where the webhook app runs in several workers, their parent names a directory in
``PROMETHEUS_MULTIPROC_DIR``: prometheus_client then keeps the values in files there, and each worker can add up all of them.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

# They would double the number of series and say only when a process started.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY: Final = CollectorRegistry()

_REQUEST_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAIT_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_DELIVERY_SECONDS: Final = (1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
_DATABASE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)

PROVIDER_REQUESTS: Final = Counter(
    "outbox_provider_requests",
    "Requests to providers. Ambiguous: the provider may or may not have taken it, or gave no answer.",
    ["plan", "operation", "outcome"],
    registry=REGISTRY,
)
PROVIDER_REQUEST_DURATION: Final = Histogram(
    "outbox_provider_request_duration_seconds",
    "How long requests to providers took.",
    ["plan", "operation"],
    buckets=_REQUEST_SECONDS,
    registry=REGISTRY,
)
MESSAGES_ACCEPTED: Final = Counter(
    "outbox_messages_accepted", "Messages that a provider accepted.", ["plan"], registry=REGISTRY
)
MESSAGES_FINISHED: Final = Counter(
    "outbox_messages_finished",
    "Final delivery reports that were new to the database, by status and the provider's code.",
    ["status", "code"],
    registry=REGISTRY,
)
MESSAGE_WAIT: Final = Histogram(
    "outbox_message_wait_seconds",
    "How long messages that a provider accepted had waited since they were due. Urgent: the priority is below 100.",
    ["urgency"],
    buckets=_WAIT_SECONDS,
    registry=REGISTRY,
)
MESSAGE_DELIVERY: Final = Histogram(
    "outbox_message_delivery_seconds",
    "How long after their acceptance messages were delivered, as reports that were new to the database say.",
    buckets=_DELIVERY_SECONDS,
    registry=REGISTRY,
)
CLAIM_DURATION: Final = Histogram(
    "outbox_claim_duration_seconds",
    "How long claims took that the database answered.",
    buckets=_DATABASE_SECONDS,
    registry=REGISTRY,
)
CALLBACKS: Final = Counter(
    "outbox_callbacks",
    "Callbacks by what became of them.",
    ["provider", "result"],
    registry=REGISTRY,
)
CALLBACK_DURATION: Final = Histogram(
    "outbox_callback_duration_seconds",
    "How long callbacks took from their head to the answer after the commit.",
    ["provider"],
    buckets=_DATABASE_SECONDS,
    registry=REGISTRY,
)
AUTH_CODES: Final = Counter(
    "outbox_auth_codes",
    "One-time codes of Supabase Auth that came over HTTP.",
    ["kind", "result"],
    registry=REGISTRY,
)
EVENTS_DELIVERIES: Final = Counter(
    "outbox_events_deliveries",
    "Attempts to deliver an event to an endpoint, by what came of them.",
    ["endpoint", "outcome"],
    registry=REGISTRY,
)
