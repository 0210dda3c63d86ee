"""The spans of the outbox, made with OpenTelemetry's SDK. Only :mod:`jobs.runtime.tracing` imports this.

A span of a request links to the contexts that created its messages, and a span of reports links to both. The names are those
of OpenTelemetry's conventions for messaging.
"""

import atexit
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from jobs.runtime.tracing import span_ids

_FORM: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SYSTEM: Final = "outbox"
_MOST_LINKS: Final = 128
_EXPORT_SECONDS: Final = 2.0
"""The longest that an export takes, so that a process ends in time although no collector answers."""
_next_ids: ContextVar[tuple[int, int] | None] = ContextVar("next_ids", default=None)


class _Ids(RandomIdGenerator):
    """Random ids, but for spans whose ids follow from their dispatch."""

    def generate_trace_id(self) -> int:
        ids = _next_ids.get()
        return super().generate_trace_id() if ids is None else ids[0]

    def generate_span_id(self) -> int:
        ids = _next_ids.get()
        return super().generate_span_id() if ids is None else ids[1]


def provider(component: str) -> TracerProvider:
    """A provider of tracers without an exporter. It reads sampler, limits and resource from the OTEL_ variables."""
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    about = {"service.version": version("supabase-outbox")} | ({} if named else {"service.name": f"outbox-{component}"})
    return TracerProvider(resource=Resource.create(about), id_generator=_Ids(), shutdown_on_exit=False)


def exporting(component: str) -> "Spans":
    """Spans that go to the collector that the OTEL_ variables name."""
    made = provider(component)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_EXPORT_SECONDS)))
    atexit.register(made.shutdown)
    return Spans(made)


class Sending:
    """A request under way."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def failed(self, kind: str) -> None:
        """The request was refused, or its outcome is not known. ``kind`` names the failure, in a few words at most."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class Spans:
    """Makes the spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("supabase-outbox", version("supabase-outbox"))
        # The SDK has it too, in a place of its own.
        self._most_links = int(os.environ.get("OTEL_SPAN_LINK_COUNT_LIMIT") or _MOST_LINKS)

    @contextmanager
    def sending(self, plan: str, dispatch_id: str, *, messages: int, contexts: Sequence[str], more: int) -> Iterator[Sending]:
        """The span of a request to a provider. ``contexts`` created its messages, and so did ``more`` that are not given."""
        links, left = self._links(_parsed(contexts))
        attributes = {
            **_attributes("send", messages, left + more),
            "outbox.plan": plan,
            "outbox.dispatch_id": dispatch_id,
        }
        token = _next_ids.set(span_ids(dispatch_id))
        try:
            span = self._tracer.start_span("send outbox", Context(), kind=SpanKind.CLIENT, attributes=attributes, links=links)
        finally:
            _next_ids.reset(token)
        with span:
            yield Sending(span)

    @contextmanager
    def processing(self, reports: int, *, source: str, dispatches: Iterable[str]) -> Iterator["Processing"]:
        """The span of a call that records delivery reports on these dispatches."""
        requests = [SpanContext(*span_ids(one), is_remote=True, trace_flags=_SAMPLED) for one in dict.fromkeys(dispatches)]
        links, left = self._links(requests)
        span = self._tracer.start_span(
            "process outbox",
            Context(),
            kind=SpanKind.CONSUMER,
            attributes={**_attributes("process", reports, left), "outbox.source": source},
            links=links,
        )
        with span:
            yield Processing(span, self._most_links - len(links))

    def _links(self, contexts: Sequence[SpanContext]) -> tuple[list[Link], int]:
        """Links to these, as many as a span may have, and how many more there are."""
        return [Link(context) for context in contexts[: self._most_links]], max(len(contexts) - self._most_links, 0)


class Processing:
    """Reports that are being recorded. ``room`` is how many links the span may still have."""

    def __init__(self, span: Span, room: int) -> None:
        self._span, self._room = span, room

    def created_by(self, contexts: Sequence[str]) -> None:
        """These created the messages of the reports that were new."""
        for context in _parsed(contexts)[: self._room]:
            self._span.add_link(context)


_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


def _attributes(operation: str, messages: int, left: int) -> dict[str, Any]:
    return {
        "messaging.system": _SYSTEM,
        "messaging.destination.name": _SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.batch.message_count": messages,
        **({"outbox.links_left_out": left} if left else {}),
    }


def _parsed(contexts: Sequence[str]) -> list[SpanContext]:
    """W3C trace contexts. The database checks their form when they are inserted; another form is left out."""
    return [
        SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16)))
        for found in map(_FORM.fullmatch, contexts)
        if found is not None
    ]
