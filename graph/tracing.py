"""Traces by OpenTelemetry: a span for each request, operation and statement of SQL, none for fields."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.observe import Statement
from db.statements import Readers

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

SERVICE = "chronos-atlas"

logger = logging.getLogger(__name__)


class Tracing:
    """Makes the spans of one application."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator["Span"]:
        """Trace a request, within the trace that its headers tell."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(headers)
        attributes = {"http.request.method": method}
        with self._tracer.start_as_current_span(method, parent, kind=SpanKind.SERVER, attributes=attributes) as span:
            yield span

    @contextmanager
    def operation(self, name: str | None) -> Iterator["Span"]:
        """Trace an operation."""
        attributes = {"graphql.operation.name": name} if name else {}
        with self._tracer.start_as_current_span("graphql.operation", attributes=attributes) as span:
            yield span

    def watch_readers(self, readers: Readers) -> None:
        """Trace all statements of their engine, as parts of the operations that ran them."""
        readers.observe(self._trace_statement)

    def _trace_statement(self, statement: Statement) -> None:
        from opentelemetry.trace import SpanKind, StatusCode

        # Told when it has ended: the span is dated back.
        ended = time.time_ns()
        attributes = {"db.system.name": "postgresql", "db.query.text": statement.sql}
        started = ended - int(statement.seconds * 1e9)
        span = self._tracer.start_span("sql", kind=SpanKind.CLIENT, attributes=attributes, start_time=started)
        if statement.failure:
            span.set_attribute("error.type", statement.failure)
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def open_tracing(endpoint: str | None) -> Tracing | None:
    """Return what sends traces to an endpoint, as the other OTEL_* variables say; None without it or the extra."""
    if endpoint is None:
        return None
    if find_spec("opentelemetry") is None:
        logger.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but traces need: pip install chronos-atlas[otel]")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    # The exporter reads the variables itself, headers with credentials and the timeout among them.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class TraceRequests:
    """Middleware that traces every request."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracing.request(scope["method"], Headers(scope=scope)) as span:

            async def traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", None)
                    span.update_name(f"{scope['method']} {route}" if route else scope["method"])
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, traced)
