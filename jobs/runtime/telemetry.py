"""Logs and errors that never carry a phone number, a text or a secret.

:func:`configure` is called once by each process. All events of structlog and of the standard library go to stderr
through :func:`scrub_event`; an event at level ``error`` is an alarm and goes to Sentry too, scrubbed again on its way out.
"""

import logging
import sys
from typing import Any, cast

import sentry_sdk
import structlog
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Breadcrumb, Event, Hint
from structlog.typing import EventDict, Processor, WrappedLogger

from jobs.runtime import tracing
from jobs.runtime.masking import scrub_value
from jobs.runtime.settings import TelemetrySettings

_NOT_FIELDS = frozenset({"event", "exc_info", "level", "timestamp", "_record", "_from_structlog"})
_TRACED = frozenset({"scheduler", "webhook"})
_CHATTY = ("httpx", "httpcore", "hpack", "urllib3", "apscheduler", "websockets")


def scrub_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that runs last before an event is written, when tracebacks are text already."""
    return cast(EventDict, scrub_value(event))


def configure(settings: TelemetrySettings, *, component: str) -> None:
    """Set up logging to stderr and, where they are set up, Sentry and traces.

    ``component`` is the process: ``scheduler``, ``webhook``.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [structlog.processors.format_exc_info, scrub_event, _renderer(settings)]

    structlog.configure(
        processors=[*shared, _alarm, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # one write a line: several processes share the stream
        cache_logger_on_first_use=False,
    )
    _capture_standard_logging(level, shared, last)
    if settings.sentry_dsn is not None:
        sentry_sdk.init(dsn=settings.sentry_dsn.get_secret_value(), **sentry_options())
        sentry_sdk.set_tag("component", component)
    if component in _TRACED:
        tracing.begin(component)


def _renderer(settings: TelemetrySettings) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    # Tracebacks arrive as text, since they have to be scrubbed; the pretty formatter would warn about that.
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )


def _capture_standard_logging(level: int, shared: list[Processor], last: list[Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _alarm],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        # At INFO they log a line a request; at DEBUG httpcore logs headers, and the token with them.
        logging.getLogger(name).setLevel(logging.WARNING)


def _alarm(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Hand events of level ``error`` and above to Sentry, grouped by the event's name."""
    if method in ("error", "exception", "critical") and sentry_sdk.is_initialized():
        fields = {key: value for key, value in event.items() if key not in _NOT_FIELDS}
        with sentry_sdk.new_scope() as scope:
            scope.set_context("log", fields)
            _capture(str(event.get("event")), event.get("exc_info"), scope)
    return event


def _capture(name: str, exc_info: Any, scope: sentry_sdk.Scope) -> None:
    error = sys.exc_info()[1] if exc_info is True else exc_info
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        scope.set_tag("event", name)
        scope.capture_exception(error)
    else:
        scope.capture_message(name, level="error")


def sentry_options() -> dict[str, Any]:
    """Options for Sentry: errors and cron monitors, without personal data, request bodies or local variables.

    Personal data is off by default. Newer clients warn about the option that switched it off.
    """
    return {
        "max_request_body_size": "never",
        "include_local_variables": False,
        "auto_enabling_integrations": False,
        "disabled_integrations": [LoggingIntegration()],
        "before_send": _before_send,
        "before_breadcrumb": _before_breadcrumb,
    }


def _before_send(event: Event, _hint: Hint) -> Event | None:
    for part in ("request", "user", "breadcrumbs"):
        event.pop(part, None)  # type: ignore[misc]  # the keys are literal, the loop variable is not
    return cast(Event, scrub_value(event))


def _before_breadcrumb(_crumb: Breadcrumb, _hint: Hint) -> Breadcrumb | None:
    """Drop breadcrumbs: they are requests to Supabase and Sinch, with numbers in their URLs. The log has the same, scrubbed."""
    return None
