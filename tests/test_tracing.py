import asyncio
from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from graph import app, tracing
from graph.tracing import Tracing, open_tracing
from tests.client import Client, serving

TRACE = "0af7651916cd43dd8448eb211c80319c"
Traced = tuple[Client, InMemorySpanExporter]


@pytest.fixture
async def traced(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Traced]:
    """A client of an API whose spans are kept in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(app, "open_tracing", lambda _: Tracing(provider))
    async with serving(database) as client:
        yield client, exporter


async def spans(traced: Traced) -> list[ReadableSpan]:
    # The driver tells of its statements when the loop comes to it.
    await asyncio.sleep(0.01)
    return list(traced[1].get_finished_spans())


async def test_operation_and_its_statements_are_parts_of_the_request(traced: Traced) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    query = "query Runs { etlRuns { totalCount } }"
    await traced[0].http.post("/graphql", json={"query": query}, headers=headers)
    found = await spans(traced)
    (request,) = [span for span in found if span.name == "POST /graphql"]
    (operation,) = [span for span in found if span.name == "graphql.operation"]
    statements = [span for span in found if "etl_run" in str((span.attributes or {}).get("db.query.text"))]
    assert operation.attributes == {"graphql.operation.name": "Runs"}
    assert operation.parent is not None
    assert operation.parent.span_id == request.context.span_id
    assert len(statements) == 2
    assert all(span.parent and span.parent.span_id == operation.context.span_id for span in statements)
    assert {f"{span.context.trace_id:032x}" for span in found} == {TRACE}
    assert all(span.start_time and span.end_time and span.start_time <= span.end_time for span in found)


async def test_values_of_clients_are_in_no_span(traced: Traced) -> None:
    await traced[0].answer("query ($id: ID!) { node(id: $id) { id } }", id="test:confidential")
    await traced[0].answer('{ node(id: "test:confidential") { id } }')
    told = " ".join(span.to_json() for span in await spans(traced))
    assert "FROM entity" in told
    assert "confidential" not in told


async def test_rest_is_traced_too(traced: Traced) -> None:
    await traced[0].http.get("/data")
    found = await spans(traced)
    (request,) = [span for span in found if span.name == "GET /data"]
    assert (request.attributes or {})["http.response.status_code"] == 200
    assert any(span.parent and span.parent.span_id == request.context.span_id for span in found if span.name == "sql")


def test_tracing_is_off_without_an_endpoint() -> None:
    assert open_tracing(None) is None


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    assert open_tracing("http://127.0.0.1:4318") is None
    assert "chronos-atlas[otel]" in caplog.text
