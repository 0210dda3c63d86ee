"""Traces: from the request that inserts a message to the one that sends it and to its reports."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from psycopg import Error

from jobs.gateway.gateway import Gateway
from jobs.providers.base import Report
from jobs.runtime import spans, tracing
from jobs.runtime.settings import SettingsError
from jobs.runtime.tracing import span_ids
from sandbox.simulator import control as faults
from sandbox.simulator.server import Running
from tests.engine import MakeRig, Rig, column, insert, number
from tests.stack import Connection

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = f"00-{TRACE}-{SPAN}-01"
OTHER = CONTEXT.replace(TRACE, "1" * 32)


@pytest.fixture
def made() -> Iterator[InMemorySpanExporter]:
    """The spans that end while the test runs."""
    exporter = InMemorySpanExporter()
    provider = spans.provider("scheduler")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(spans.Spans(provider))
    yield exporter
    tracing.use(None)


def links(span: ReadableSpan) -> set[tuple[int, int]]:
    return {(link.context.trace_id, link.context.span_id) for link in span.links}


def context(text: str) -> tuple[int, int]:
    _, trace, span, _ = text.split("-")
    return int(trace, 16), int(span, 16)


async def test_insert_request_and_report_are_linked(
    rig: Rig, gateway: Gateway, sinch: Running, db: Connection, made: InMemorySpanExporter
) -> None:
    (first,) = insert(db, 1, trace_context=CONTEXT)
    insert(db, 1, first=1, trace_context=OTHER)
    insert(db, 1, first=2)
    await rig.tick("dispatch")
    dispatch, batch = str(column(db, "dispatch_id", first)), column(db, "batch_id", first)
    reports = [Report(batch, number(n), "delivered", 0, None, dispatch, "{}") for n in (0, 2)]
    await gateway.record_reports(reports, source="webhook")

    sent, processed = made.get_finished_spans()
    assert (sent.name, sent.kind, sent.parent, links(sent)) == (
        "send outbox", SpanKind.CLIENT, None, {context(CONTEXT), context(OTHER)},
    )  # fmt: skip
    assert sent.context is not None
    assert (sent.context.trace_id, sent.context.span_id) == span_ids(dispatch)
    assert dict(sent.attributes or {}) == {
        "messaging.system": "outbox",
        "messaging.destination.name": "outbox",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": 3,
        "outbox.plan": sinch.plan.id,
        "outbox.dispatch_id": dispatch,
    }
    assert (processed.name, processed.kind) == ("process outbox", SpanKind.CONSUMER)
    assert links(processed) == {span_ids(dispatch), context(CONTEXT)}


async def test_request_of_unknown_outcome_is_an_error(
    make_rig: MakeRig, sinch: Running, db: Connection, made: InMemorySpanExporter
) -> None:
    rig = await make_rig(lease_seconds=9)
    sinch.control.add(faults.timeout_after_accepting())
    insert(db)
    await rig.tick("dispatch")

    (sent,) = made.get_finished_spans()
    assert (sent.status.status_code, (sent.attributes or {})["error.type"]) == (StatusCode.ERROR, "ambiguous")


def test_links_beyond_the_limit_are_counted(made: InMemorySpanExporter) -> None:
    active = tracing.active()
    assert active is not None
    contexts = [f"00-{n:032x}-{SPAN}-01" for n in range(1, 131)]
    with active.sending("plan", "a dispatch", messages=1000, contexts=[*contexts, "no context"], more=7):
        pass

    (sent,) = made.get_finished_spans()
    assert (len(sent.links), (sent.attributes or {})["outbox.links_left_out"]) == (128, 9)


def test_claim_gives_no_more_contexts_than_fit(db: Connection) -> None:
    row = db.execute(
        "select notes from outbox_engine.dispatch_notes(array(select row(gen_random_uuid(), 0::smallint, now(), null)"
        "::outbox_engine.claimed_message) || array(select row('00000000-0000-0000-0000-000000000001', 0::smallint, now(),"
        " n % 130)::outbox_engine.claimed_message from generate_series(1, 1000) n), now())"
        " where dispatch_id = '00000000-0000-0000-0000-000000000001'"
    ).fetchone()

    assert row is not None
    notes: Any = row[0]
    assert (len(notes["traces"]), notes["more_traces"], notes["waits"]) == (128, 2, [[True, 0.0, 1000]])


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        (CONTEXT, CONTEXT),
        (None, None),
        ("", None),
        ("nonsense", None),
        (CONTEXT.replace(TRACE, "0" * 32), None),
        (CONTEXT.upper(), None),
    ],
)
def test_insert_takes_the_header_of_its_request(db: Connection, header: str | None, stored: str | None) -> None:
    # As PostgREST sets it. Supabase Lite, which serves the API of these tests, does not.
    headers = {"host": "project.example"} | ({} if header is None else {"traceparent": header})
    db.execute("select set_config('request.headers', %s, false)", [json.dumps(headers)])
    (row,) = insert(db)

    assert column(db, "trace_context", row) == stored


def test_column_in_another_form_is_refused(db: Connection) -> None:
    with pytest.raises(Error, match="is not a trace context"):
        insert(db, trace_context="nonsense")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[str]]]:
    """An OTLP receiver: its address, and the paths that were posted with spans."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(f"{self.path} {b'process outbox' in body}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


MAKE_ONE = """
import sys
from jobs.runtime import tracing
tracing.begin("scheduler")
spans = tracing.active()
if spans is not None:
    with spans.processing(1, source="webhook", dispatches=["d"]):
        pass
print(spans is not None, any(name.startswith("opentelemetry") for name in sys.modules))
"""


def one_span(**variables: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", MAKE_ONE],
        env={"NO_PROXY": "*", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.strip()


def test_spans_reach_a_collector(collector: tuple[str, list[str]]) -> None:
    url, received = collector

    assert one_span(OTEL_EXPORTER_OTLP_ENDPOINT=url) == "True True"
    assert received == ["/v1/traces True"]


def test_nothing_is_imported_while_traces_are_off(collector: tuple[str, list[str]]) -> None:
    url, received = collector

    assert one_span() == "False False"
    assert one_span(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_TRACES_EXPORTER="none") == "False False"
    assert one_span(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_SDK_DISABLED="true") == "False False"
    assert received == []


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER: 'jaeger'"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc'"),
    ],
)
def test_what_cannot_be_done_is_named(variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=named):
        tracing.begin("scheduler")


def test_missing_extra_is_an_error_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda _name: None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")

    tracing.begin("scheduler")
    assert tracing.active() is None
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    with pytest.raises(SettingsError, match="traces need the extra"):
        tracing.begin("scheduler")
