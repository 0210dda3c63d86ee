"""OpenTelemetry traces, off unless variables of the environment switch them on (docs/traces.md).

While they are off, nothing of OpenTelemetry is imported. It is an extra of the package, ``traces``.
"""

import hashlib
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import structlog

from jobs.runtime.settings import SettingsError

if TYPE_CHECKING:
    from jobs.runtime.spans import Spans

log = structlog.get_logger()

_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_spans: "Spans | None" = None


def active() -> "Spans | None":
    """What makes spans. None while traces are off."""
    return _spans


def begin(component: str) -> None:
    """Make spans from now on, if the environment asks for them. Raises SettingsError for what cannot be done.

    ``component`` is the process: ``scheduler``, ``webhook``.
    """
    global _spans  # noqa: PLW0603  # one for the process, as OpenTelemetry has it
    if not _is_asked_for():
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        if os.environ.get(_EXPORTER):
            raise SettingsError(f"{_EXPORTER}: traces need the extra: pip install 'supabase-outbox[traces]'")
        # Platforms set the endpoint for all that they run.
        log.warning("traces.off", meaning="OTEL_EXPORTER_OTLP_ENDPOINT is set, and the extra `traces` is not installed")
        return
    # Imported here, because the packages are an extra.
    from jobs.runtime.spans import exporting

    _spans = exporting(component)


def use(spans: "Spans | None") -> None:
    """Make spans with these."""
    global _spans  # noqa: PLW0603  # one for the process, as OpenTelemetry has it
    _spans = spans


def span_ids(dispatch_id: str) -> tuple[int, int]:
    """The ids of the trace and of the span of a dispatch's request.

    They follow from the dispatch, so that the span of a report can link to the request, days later and in another process. A
    digest, because samplers take the lower bits of a trace id for random ones, and those of a UUID are not.
    """
    digest = hashlib.sha256(b"outbox dispatch " + dispatch_id.encode()).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


def _is_asked_for() -> bool:
    exporter = os.environ.get(_EXPORTER, "").strip()
    if exporter == "none" or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if exporter not in {"", "otlp"}:
        raise SettingsError(f"{_EXPORTER}: {exporter!r} is not an exporter of the outbox. Use otlp or none")
    if not exporter and not any(os.environ.get(name) for name in _ENDPOINTS):
        return False
    for name in _PROTOCOLS:
        if (protocol := os.environ.get(name, "").strip()) and protocol != _PROTOCOL:
            raise SettingsError(f"{name}: {protocol!r} is not a protocol of the outbox. Use {_PROTOCOL}")
    return True
