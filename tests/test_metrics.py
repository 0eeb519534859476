import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.observe import Statement
from db.reading import ReadSession
from db.session import read_engine
from db.statements import Readers
from graph import metrics
from graph.metrics import MAX_NAMES, OTHER, UNNAMED, Metrics
from graph.watch import name_of
from tests.client import Client, serving
from tests.redis_server import redis_server


@pytest.fixture
async def client(database: str) -> AsyncIterator[Client]:
    """A client of an API whose metrics are all at zero."""
    async with serving(database) as client:
        yield client


async def read(client: Client) -> dict[str, float]:
    """Return every sample by its name and labels: `atlas_operations_total{operation=A,outcome=ok}`."""
    answer = await client.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    samples = [(one.name, sorted(one.labels.items()), one.value) for family in families for one in family.samples]
    return {f"{name}{{{','.join(map('='.join, labels))}}}": value for name, labels, value in samples}


async def test_operations_are_counted_by_name_and_outcome(client: Client) -> None:
    await client.answer("query Version { dataVersion { version } }")
    await client.answer("query Version { dataVersion { version } }")
    await client.answer('query Version { node(id: "x") { id } }')
    await client.answer("{ dataVersion { version } }")
    await client.answer("query Typo { nope }")
    found = await read(client)
    assert found["atlas_operations_total{operation=Version,outcome=ok}"] == 2
    assert found["atlas_operations_total{operation=Version,outcome=BAD_INPUT}"] == 1
    assert found[f"atlas_operations_total{{operation={UNNAMED},outcome=ok}}"] == 1
    assert found[f"atlas_operations_total{{operation={OTHER},outcome=VALIDATION}}"] == 1
    assert found["atlas_operation_seconds_count{operation=Version}"] == 3
    assert found["atlas_operation_seconds_bucket{le=10.0,operation=Version}"] == 3


async def test_requests_are_counted_by_route(client: Client) -> None:
    for path in ("/data", "/data?page=2", "/data?page=x", "/made/up", "/made/up/too"):
        await client.http.get(path)
    await client.http.request("BREW", "/data")
    found = await read(client)
    assert found["atlas_http_requests_total{method=GET,route=/data,status=200}"] == 2
    assert found["atlas_http_requests_total{method=GET,route=/data,status=400}"] == 1
    assert found["atlas_http_requests_total{method=GET,route=other,status=404}"] == 2
    assert found["atlas_http_requests_total{method=other,route=/data,status=405}"] == 1


async def test_cache_is_counted_by_level(client: Client) -> None:
    for _ in range(3):
        await client.answer("{ dataVersion { version } }")
    found = await read(client)
    assert found["atlas_cache_reads_total{level=memory,result=miss}"] == 1
    assert found["atlas_cache_reads_total{level=memory,result=hit}"] == 2
    assert "atlas_breaker_open{dependency=redis}" not in found


@pytest.mark.usefixtures("patient_cache")
async def test_breaker_of_the_shared_cache_is_told(database: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, serving(database, redis_url=server.url) as client:
        await client.answer("{ dataVersion { version } }")
        found = await read(client)
        assert (
            found["atlas_cache_reads_total{level=redis,result=miss}"],
            found["atlas_breaker_open{dependency=redis}"],
        ) == (1, 0)
    async with serving(database, redis_url="redis://127.0.0.1:1") as client:
        await client.answer("{ dataVersion { version } }")
        assert (await read(client))["atlas_breaker_open{dependency=redis}"] == 1


async def test_statements_are_timed_and_their_failures_counted(database: str) -> None:
    engine = read_engine(database, 1, 0.05)
    measured = Metrics()
    readers = Readers(engine)
    measured.watch_readers(readers)
    seen: list[Statement] = []
    readers.observe(seen.append)
    session = ReadSession(engine)
    await session.rows(text("SELECT 1"))
    with pytest.raises(Exception, match="statement timeout"):
        await session.rows(text("SELECT pg_sleep(1)"))
    await session.close()
    assert await readers.row("SELECT $1::int", (7,))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await readers.row("SELECT 1 / $1::int", (0,))
    await engine.dispose()
    assert [one.sql for one in seen] == ["SELECT 1", "SELECT pg_sleep(1)", "SELECT $1::int", "SELECT 1 / $1::int"]
    assert [one.failure for one in seen] == [None, "QueryCanceledError", None, "DivisionByZeroError"]
    assert seen[1].seconds > 0.04
    sample = measured.registry.get_sample_value
    assert sample("atlas_sql_seconds_count") == 4
    assert sample("atlas_sql_failures_total", {"error": "QueryCanceledError"}) == 1


async def test_batches_of_loaders_are_counted(atlas: Client) -> None:
    sizes = "atlas_loader_batch_size_sum{loader=kinds_by_source}"
    before = (await read(atlas)).get(sizes, 0)
    # Statistics are executed.
    answer = await atlas.answer("{ stats { sources { source kind } } }")
    assert (await read(atlas))[sizes] - before == len(answer["data"]["stats"]["sources"]) > 0


async def test_pool_and_data_version_are_told(client: Client) -> None:
    found = await read(client)
    assert found["atlas_pool_connections{state=limit}"] == 10
    assert found["atlas_pool_connections{state=busy}"] + found["atlas_pool_connections{state=idle}"] >= 1
    assert (found["atlas_database_up{}"], found["atlas_data_version{}"]) == (1, 0)
    assert found["process_open_fds{}"] > 0


RUNS = """
INSERT INTO etl_run (source, params, status, processed, inserted, updated, unchanged, failed, finished_at) VALUES
    ('shop', '{}', 'DONE', 10, 7, 1, 2, 0, to_timestamp(1000)),
    ('shop', '{}', 'DONE', 1, 1, 0, 0, 0, to_timestamp(2000)),
    ('shop', '{}', 'FAILED', 4, 0, 0, 0, 4, to_timestamp(3000)),
    ('films', '{}', 'RUNNING', 5, 5, 0, 0, 0, NULL)
"""
REFUSED = """
INSERT INTO quarantine (source, external_id, payload, reason, run_id)
SELECT 'shop', number::text, '{}', 'no title', (SELECT min(id) FROM etl_run) FROM generate_series(1, 3) AS number
"""


async def test_runs_are_summed_up_at_most_every_few_seconds(client: Client, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(RUNS))
        await connection.execute(text(REFUSED))
    found = await read(client)
    assert found["atlas_etl_runs{source=shop,status=DONE}"] == 2
    assert found["atlas_etl_runs{source=films,status=RUNNING}"] == 1
    assert found["atlas_etl_last_end_timestamp_seconds{source=shop,status=DONE}"] == 2000
    assert "atlas_etl_last_end_timestamp_seconds{source=films,status=RUNNING}" not in found
    results = {one: found[f"atlas_etl_rows_total{{result={one},source=shop}}"] for one in ("inserted", "failed")}
    assert results == {"inserted": 8, "failed": 4}
    assert found["atlas_etl_quarantine{source=shop}"] == 3
    with client.statements() as statements:
        await read(client)
    assert statements == []


async def test_database_that_is_gone_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TOTALS_PATIENCE_SECONDS", 0.2)
    async with serving("postgresql://nobody@127.0.0.1:1/none") as client:
        found = await read(client)
    assert (found["atlas_database_up{}"], found["atlas_pool_connections{state=limit}"]) == (0, 10)


def test_names_of_operations_are_bounded() -> None:
    measured = Metrics()
    for number in range(MAX_NAMES + 5):
        measured.count_operation(f"failing{number}", "VALIDATION", 0.1)
    for number in range(MAX_NAMES + 5):
        measured.count_operation(f"good{number}", "ok", 0.1)
    sample = measured.registry.get_sample_value
    assert sample("atlas_operations_total", {"operation": OTHER, "outcome": "VALIDATION"}) == MAX_NAMES + 5
    assert sample("atlas_operations_total", {"operation": OTHER, "outcome": "ok"}) == 5
    assert sample("atlas_operations_total", {"operation": "good0", "outcome": "ok"}) == 1


def test_buckets_are_cumulative_and_hold_their_bounds() -> None:
    measured = Metrics()
    for seconds in (0.001, 0.005, 0.006, 60):
        measured.count_operation(None, "ok", seconds)
    sample = measured.registry.get_sample_value
    found = [
        sample("atlas_operation_seconds_bucket", {"operation": UNNAMED, "le": bound})
        for bound in ("0.001", "0.0025", "0.005", "0.01", "10.0", "+Inf")
    ]
    assert found == [1, 1, 2, 3, 3, 4]
    assert sample("atlas_operation_seconds_sum", {"operation": UNNAMED}) == pytest.approx(60.012)


def test_applications_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.count_operation(None, "ok", 0.1)
    labels = {"operation": UNNAMED, "outcome": "ok"}
    assert one.registry.get_sample_value("atlas_operations_total", labels) == 1
    assert other.registry.get_sample_value("atlas_operations_total", labels) is None


@pytest.mark.parametrize(
    ("query", "given", "name"),
    [
        ("query A { a }", None, "A"),
        ("query A { a }", "B", "B"),
        ("# who\n\n  query Who($id: ID!) { a }", None, "Who"),
        ("#query X\nquery\n#y\nB{a}", None, None),
        ("mutation M { a }", None, "M"),
        ("{ query X }", None, None),
        ("queryX { a }", None, None),
        ("query { a }", None, None),
        ("", None, None),
        (None, None, None),
        ("#" * 50_000, None, None),
        ("query " + "A" * 500 + " { a }", None, "A" * 80),
    ],
)
def test_name_is_the_one_asked_for_or_the_documents(query: str | None, given: str | None, name: str | None) -> None:
    assert name_of(query, given) == name


async def test_metrics_have_the_form_that_is_asked_for(client: Client) -> None:
    accept = {"accept": "application/openmetrics-text;version=1.0.0"}
    answer = await client.http.get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert re.search(r"# EOF\s*$", answer.text)
