import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import AtlasError
from db.keys import internal_id
from db.session import WriteSession
from etl import pipeline
from etl.follow_up import catch_up
from etl.measurement import EarlyMeasures, measure_graph
from etl.pipeline import Options
from tests.rows import Rows


def edge(source: str, target: str, edge_type: str = "PREREQUISITE_FOR") -> dict[str, str]:
    return {"from": source, "to": target, "type": edge_type, "rule": "R"}


PERSON = {"id": "Q1", "name": "One"}
ROWS = [
    PERSON,
    edge("Q1", "Q2"),
    edge("Q2", "Q3"),
    edge("Q3", "Q2"),
    edge("Q3", "Q4"),
    edge("Q1", "Q4"),
    edge("Q1", "Q4", "TAUGHT"),
    {"id": "Q9", "name": "Alone"},
]
PLACES = "SELECT ctid::text, xmin::text FROM entity_measure ORDER BY 1"
VERSIONS = "SELECT data_version.version, measurement.version FROM data_version LEFT JOIN measurement ON true"


async def load(engine: AsyncEngine, rows: list[Any]) -> None:
    await pipeline.run(engine, Rows(rows), Options())


async def query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def execute(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(sql))


async def test_run_stores_the_measures_of_what_it_published(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    found = await query(
        engine,
        "SELECT key, level, degree, incoming, outgoing, cycle_id FROM entity_measure JOIN entity ON entity_id = id"
        " ORDER BY key",
    )
    assert found == [
        ("Q1", 0, 3, {}, {"PREREQUISITE_FOR": 2, "TAUGHT": 1}, None),
        ("Q2", 1, 3, {"PREREQUISITE_FOR": 2}, {"PREREQUISITE_FOR": 1}, internal_id("Q2")),
        ("Q3", 1, 3, {"PREREQUISITE_FOR": 1}, {"PREREQUISITE_FOR": 2}, internal_id("Q2")),
        ("Q4", 2, 3, {"PREREQUISITE_FOR": 2, "TAUGHT": 1}, {}, None),
        ("Q9", None, 0, {}, {}, None),
    ]
    assert await query(engine, "SELECT id, size FROM prerequisite_cycle") == [(internal_id("Q2"), 2)]
    assert await query(engine, "SELECT cycles, components, largest_component, unconnected FROM measurement") == [
        (1, 1, 4, 1)
    ]
    assert await query(engine, VERSIONS) == [(2, 2)]


async def test_measures_follow_a_changed_graph(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    await load(engine, [*ROWS, edge("Q9", "Q1")])
    levels = "SELECT array_agg(level ORDER BY entity_id) FROM entity_measure"
    assert await query(engine, levels) == [([1, 2, 2, 3, 0],)]
    assert await query(engine, VERSIONS) == [(4, 4)]


async def test_unchanged_graph_is_not_measured_again(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    before = await query(engine, PLACES), await query(engine, "SELECT measured_at FROM measurement")
    await load(engine, ROWS)
    assert await query(engine, VERSIONS) == [(2, 2)]
    await load(engine, [PERSON | {"name": "Renamed"}, *ROWS[1:]])
    assert await query(engine, VERSIONS) == [(4, 4)]
    assert before == (await query(engine, PLACES), await query(engine, "SELECT measured_at FROM measurement"))


async def test_measuring_anew_rewrites_only_what_differs(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    await execute(engine, "UPDATE entity_measure SET level = 99 WHERE entity_id = 4")
    assert await measure_graph(engine) is False
    before = dict(await query(engine, "SELECT entity_id, xmin::text FROM entity_measure"))
    assert await measure_graph(engine, anew=True) is True
    after = dict(await query(engine, "SELECT entity_id, xmin::text FROM entity_measure"))
    assert [key for key in after if after[key] != before[key]] == [4]


async def test_what_a_killed_run_left_is_made_up_for(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    for table in ("entity_measure", "measurement", "run_report"):
        await execute(engine, f"DELETE FROM {table}")
    assert await catch_up(engine) is True
    assert await query(engine, "SELECT count(*) FROM entity_measure") == [(5,)]
    assert await query(engine, "SELECT run_id FROM run_report") == [(1,)]
    assert await catch_up(engine) is False


async def test_next_run_measures_what_was_left_though_it_changes_nothing(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    await execute(engine, "DELETE FROM measurement")
    await load(engine, ROWS)
    assert await query(engine, VERSIONS) == [(3, 3)]


async def test_dry_run_measures_nothing(engine: AsyncEngine) -> None:
    await pipeline.run(engine, Rows(ROWS), Options(dry_run=True))
    assert await query(engine, VERSIONS) == [(0, None)]


async def test_run_published_meanwhile_is_measured_too(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    await execute(engine, "DELETE FROM measurement")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE data_version SET version = 7"))
        await connection.execute(text("DELETE FROM influence WHERE source_id = 3"))
        task = asyncio.create_task(measure_graph(engine))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('tuple', 'transactionid')"
        while not (await query(engine, waiting))[0][0]:
            assert not task.done()
            await asyncio.sleep(0.01)
    assert await task is True
    assert await query(engine, VERSIONS) == [(8, 8)]
    assert await query(engine, "SELECT level FROM entity_measure WHERE entity_id = 3") == [(2,)]


@pytest.mark.parametrize(("of_version", "degrees"), [(2, [0, 0, 0, 0, 0]), (1, [3, 3, 3, 3, 0])])
async def test_early_measures_are_taken_for_their_version_alone(
    engine: AsyncEngine, of_version: int, degrees: list[int]
) -> None:
    await load(engine, ROWS)
    await execute(engine, "DELETE FROM measurement")
    early = EarlyMeasures()
    async with engine.connect() as connection:
        await early.begin(WriteSession(connection), "(SELECT * FROM influence WHERE false)")
    early.version = of_version
    assert await measure_graph(engine, early=early) is True
    assert await query(engine, "SELECT array_agg(degree ORDER BY entity_id) FROM entity_measure") == [(degrees,)]


async def test_first_load_measures_the_edges_that_it_keeps(engine: AsyncEngine) -> None:
    again = edge("Q1", "Q2") | {"rule": "S"}
    misfit = edge("Q9", "Q2") | {"joins": "CONCEPT", "derived": True}
    await load(engine, [*ROWS, again, misfit])
    places = await query(engine, PLACES)
    measured = "SELECT fingerprint, cycles, components, unconnected FROM measurement"
    found = await query(engine, measured)
    await measure_graph(engine, anew=True)
    assert (await query(engine, PLACES), await query(engine, measured)) == (places, found)


async def test_snapshot_keeps_the_measures_it_began_with(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        levels = text("SELECT array_agg(level ORDER BY entity_id) FROM entity_measure")
        before = (await connection.execute(levels)).scalar()
        await load(engine, [*ROWS, edge("Q9", "Q1")])
        assert (await connection.execute(levels)).scalar() == before


async def test_measures_go_with_their_entity(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    await execute(engine, "DELETE FROM entity WHERE key = 'Q9'")
    assert await query(engine, "SELECT count(*) FROM entity_measure") == [(4,)]


async def test_failing_measures_leave_the_run_standing(engine: AsyncEngine) -> None:
    await execute(engine, "ALTER TABLE measurement ADD CONSTRAINT never CHECK (version < 0)")
    with pytest.raises(AtlasError, match=r"run 1 is published and stands.*etl measure"):
        await load(engine, ROWS)
    assert await query(engine, "SELECT status, inserted FROM etl_run") == [("DONE", 8)]
    await execute(engine, "ALTER TABLE measurement DROP CONSTRAINT never")
    assert await catch_up(engine) is True
