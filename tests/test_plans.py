"""Plans of walks over a graph so large that reading all of it is no choice, with a hub in it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from graph.compiled.plans import Compiler
from graph.execution import Compiling
from graph.schema import build
from tests.client import Client, serving
from tests.conftest import Clone

ENTITIES = 60_000
NEIGHBOURS = 50_000
HUB = "Q60001"

FILL = f"""
    INSERT INTO etl_run (source, params, status) VALUES ('test', '{{}}', 'DONE');
    INSERT INTO dataset VALUES ('test', 'Test', 'https://example.org/', 'CC0', 'https://example.org/cc0', 'nobody');
    INSERT INTO entity (id, key, kind, is_stub, name, dataset, run_id)
        SELECT n, 'Q' || n, 'CONCEPT', false, 'Name ' || n, 'test', 1 FROM generate_series(1, {ENTITIES + 1}) AS n;
    INSERT INTO influence (source_id, type, target_id, confidence, is_derived, provenance, run_id)
        SELECT source, type, target, 0.5, false, '{{}}', 1 FROM (
            SELECT n % {ENTITIES} + 1 AS source, n * 7919 % {ENTITIES} + 1 AS target,
                (ARRAY['INFLUENCED', 'TAUGHT', 'PREREQUISITE_FOR'])[n % 3 + 1]::relationship_type AS type
            FROM generate_series(1, {3 * ENTITIES}) AS n
            UNION SELECT n, {ENTITIES + 1}, 'PREREQUISITE_FOR' FROM generate_series(1, {NEIGHBOURS}) AS n
            UNION SELECT {ENTITIES + 1}, n, 'PREREQUISITE_FOR' FROM generate_series(1, {NEIGHBOURS}) AS n
        ) AS edge WHERE source <> target;
"""


@pytest.fixture(scope="module")
async def large(clone: Clone, migrated: str) -> AsyncIterator[Client]:
    url = await asyncio.to_thread(clone, migrated)
    connection = await asyncpg.connect(url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE entity, influence")
    await connection.close()
    async with serving(url) as client:
        yield client


async def plans(client: Client, document: str, **options: Any) -> list[Any]:
    """Return the plans of a compiled operation: for its values, and for any values."""
    prepared = Compiler(build(compiling=Compiling.NEVER)).prepare(document, None, {})
    url = client.app.state.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    found = []
    for mode in ("force_custom_plan", "force_generic_plan"):
        driver = await asyncpg.connect(url, server_settings={"plan_cache_mode": mode, "jit": "off"})
        found.append(await (await driver.prepare(prepared.sql)).explain(*prepared.arguments, **options))
        await driver.close()
    return found


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Give all nodes of a plan."""
    for one in plan.values() if isinstance(plan, dict) else plan:
        if isinstance(one, dict) and "Node Type" in one:
            yield one
        if isinstance(one, dict | list):
            yield from nodes(one)


@pytest.mark.parametrize("start", ["Q7", HUB])
@pytest.mark.parametrize(
    "walk",
    [
        'lineage(id: "%s", direction: BACKWARD, maxDepth: 3) { nodes { depth } edges { type } isTruncated }',
        'lineage(id: "%s", direction: FORWARD, maxDepth: 3) { nodes { depth } edges { type } isTruncated }',
        'lineage(id: "%s", direction: BACKWARD, types: [INFLUENCED, TAUGHT], maxDepth: 4) { edges { type } }',
        'lineage(id: "%s", direction: FORWARD, types: [PREREQUISITE_FOR], maxDepth: 4) { edges { type } }',
        'knowledgeRoadmap(conceptId: "%s") { depth concept { name } }',
        'roadmap(conceptId: "%s", first: 1000) { nodes { depth } edges { source { id } } truncatedBy }',
        'entity(id: "%s") { influences(first: 5) { edges { node { influences(first: 5) { totalCount } } } } }',
    ],
)
async def test_walk_reads_no_table_as_a_whole(large: Client, walk: str, start: str) -> None:
    for plan in await plans(large, f"{{ {walk % start} }}"):
        found = {node["Relation Name"]: node["Node Type"] for node in nodes(plan) if "Relation Name" in node}
        assert "influence" in found
        whole = [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
        assert not {"influence", "entity"} & set(whole), plan


@pytest.mark.parametrize("direction", ["BACKWARD", "FORWARD"])
async def test_hub_is_bounded_by_first(large: Client, direction: str) -> None:
    chosen = f'id: "{HUB}", direction: {direction}, first: 30'
    document = f"{{ lineage({chosen}) {{ nodes {{ depth }} edges {{ type }} truncatedBy }} }}"
    found = (await large.ask(document))["lineage"]
    assert [node["depth"] for node in found["nodes"]] == [1] * 30
    assert "FIRST" in found["truncatedBy"]
    for plan in await plans(large, document, analyze=True):
        # Its own edges are read, to find the first of them, but none of its neighbours' beyond the thirty.
        assert most_rows(plan, "influence") <= 2 * NEIGHBOURS
        assert most_rows(plan, "entity") <= 200


async def test_page_of_a_hub_reads_a_page(large: Client) -> None:
    document = f'{{ entity(id: "{HUB}") {{ influences(first: 20) {{ edges {{ node {{ name }} }} }} }} }}'
    assert len((await large.ask(document))["entity"]["influences"]["edges"]) == 20
    for plan in await plans(large, document, analyze=True):
        assert most_rows(plan, "influence") <= 21


async def test_page_is_neither_sorted_nor_numbered(large: Client) -> None:
    document = "{ entities(orderBy: ID_DESC, first: 50) { edges { node { id name } } pageInfo { endCursor } } }"
    for plan in await plans(large, document):
        assert not {"Sort", "WindowAgg"} & {node["Node Type"] for node in nodes(plan)}


def most_rows(plan: Any, table: str) -> float:
    """Return the most rows of a table that a node of a plan gave or passed over, in all of its loops."""
    read = [node for node in nodes(plan) if node.get("Relation Name") == table]
    return max(
        float((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in read
    )
