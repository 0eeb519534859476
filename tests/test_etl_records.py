import asyncio
import os
import random
import signal
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.operations import RunStatus
from db.session import write_engine
from etl import pipeline
from etl.pipeline import Options, Report, TooManyFailedError
from etl.source import Source
from tests.conftest import Clone
from tests.listed import Listed

ROWS = [{"id": number, "name": f"Row {number}", "size": number, "at": "2024-05-17"} for number in range(1, 8)]


async def load(engine: AsyncEngine, source: Source, **options: Any) -> Report:
    return await pipeline.run(engine, source, Options(**options))


async def query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


def outcome(report: Report) -> tuple[int, int, int, int]:
    counts = report.counts
    return counts.inserted, counts.updated, counts.unchanged, counts.failed


RECORDS = "SELECT external_id, title, value, updated_at::date::text, attributes::text FROM record ORDER BY value, 1"
RAW = "SELECT kind, external_id, is_processed FROM raw_record ORDER BY external_id"
OPEN = "SELECT external_id, field, value, reason FROM quarantine WHERE resolved_run_id IS NULL ORDER BY 1"


async def test_rows_are_kept_raw_and_as_records(engine: AsyncEngine) -> None:
    assert outcome(await load(engine, Listed([{**ROWS[0], "extra": [1.10, {"a": None}]}]))) == (1, 0, 0, 0)
    assert await query(engine, RECORDS) == [("1", "Row 1", 1.0, "2024-05-17", '{"extra": [1.1, {"a": null}]}')]
    assert await query(engine, RAW) == [("jsonl", "1", True)]
    assert await query(engine, "SELECT tableoid::regclass::text FROM raw_record") == [("raw_record_jsonl",)]


async def test_second_run_leaves_unchanged_rows_alone(engine: AsyncEngine) -> None:
    assert outcome(await load(engine, Listed(ROWS))) == (7, 0, 0, 0)
    written = await query(engine, "SELECT external_id, xmin::text, run_id FROM record ORDER BY 1")
    raw = await query(engine, "SELECT external_id, xmin::text, xmax::text FROM raw_record ORDER BY 1")
    changed = [*ROWS[:6], {**ROWS[6], "name": "Renamed"}, {"id": 8}]
    assert outcome(await load(engine, Listed(changed))) == (1, 1, 6, 0)
    assert (await query(engine, "SELECT external_id, xmin::text, run_id FROM record ORDER BY 1"))[:6] == written[:6]
    assert (await query(engine, "SELECT external_id, xmin::text FROM raw_record ORDER BY 1"))[:6] == [
        row[:2] for row in raw[:6]
    ]


async def test_bad_rows_wait_in_quarantine_until_a_run_loads_them(engine: AsyncEngine) -> None:
    bad = [*ROWS, {"id": 8, "size": "big"}, {"name": "no id"}, "{cut"]
    assert outcome(await load(engine, Listed(bad, max_failed_share=0.5))) == (7, 0, 0, 3)
    assert await query(engine, OPEN) == [
        ("8", "size", "big", "expected a finite number"),
        ("row 10", None, "{cut", "not JSON"),
        ("row 9", "id", None, "the row has no id"),
    ]
    assert [row[2] for row in await query(engine, RAW)] == [True] * 7 + [False] * 3
    assert outcome(await load(engine, Listed([*ROWS, {"id": 8, "size": 8}]))) == (1, 0, 7, 0)
    assert await query(engine, OPEN) == []
    assert [row[2] for row in await query(engine, RAW)] == [True] * 8


async def test_empty_run_releases_nothing(engine: AsyncEngine) -> None:
    await load(engine, Listed([*ROWS, {"name": "no id"}], max_failed_share=0.5))
    assert outcome(await load(engine, Listed([]))) == (0, 0, 0, 0)
    assert len(await query(engine, OPEN)) == 1


async def test_repeated_id_keeps_the_last_and_quarantines_what_differs(engine: AsyncEngine) -> None:
    rows = [{"id": 1, "name": "old"}, {"id": 2}, {"id": 1, "name": "new"}, {"id": 2}]
    assert outcome(await load(engine, Listed(rows, max_failed_share=0.5))) == (2, 0, 1, 1)
    assert await query(engine, "SELECT external_id, title FROM record ORDER BY 1") == [("1", "new"), ("2", None)]
    assert await query(engine, OPEN) == [("1@0", "id", "1", "row 2 of the same run has the same id and is kept")]
    assert await query(engine, "SELECT payload FROM quarantine") == [('{"id":1,"name":"old"}',)]
    assert outcome(await load(engine, Listed(rows, max_failed_share=0.5))) == (0, 0, 3, 1)
    assert await query(engine, "SELECT count(*) FROM quarantine") == [(1,)]
    assert outcome(await load(engine, Listed(rows[2:]))) == (0, 0, 2, 0)
    assert await query(engine, OPEN) == []


async def test_too_many_bad_rows_keep_nothing_but_the_reasons(engine: AsyncEngine) -> None:
    with pytest.raises(TooManyFailedError):
        await load(engine, Listed([*ROWS, {"x": 1}]))
    assert await query(engine, "SELECT count(*) FROM record") == [(0,)]
    assert len(await query(engine, OPEN)) == 1


async def test_state_of_a_complete_run_begins_the_next(engine: AsyncEngine) -> None:
    await load(engine, Listed(ROWS, state={"cursor": 7}))
    limited = Listed(ROWS, state={"cursor": 9})
    await load(engine, limited, limit=2)
    following = Listed(ROWS, state={"cursor": 8})
    await load(engine, following)
    assert limited.seen == following.seen == [{"cursor": 7}]
    assert await query(engine, "SELECT state->>'cursor' FROM source_state") == [("8",)]


async def test_interrupted_run_goes_on_from_its_page(engine: AsyncEngine) -> None:
    options = Options()
    options.stop.set()
    report = await pipeline.run(engine, Listed(ROWS, state={"n": 1}), options)
    assert report.status is RunStatus.INTERRUPTED
    assert await query(engine, "SELECT count(*) FROM record") == [(0,)]
    report = await pipeline.resume(engine, Listed(ROWS, state={"n": 1}), Options(), report.run)
    assert outcome(report) == (7, 0, 0, 0)
    assert await query(engine, "SELECT state->>'n' FROM source_state") == [("1",)]
    assert await query(engine, "SELECT field, type, count FROM record_field WHERE field = 'name'") == [
        ("name", "text", 7)
    ]


async def test_records_leave_the_measures_of_the_graph_current(engine: AsyncEngine) -> None:
    await load(engine, Listed(ROWS[:1]))
    versions = "SELECT data_version.version, measurement.version FROM data_version, measurement"
    assert await query(engine, versions) == [(2, 2)]
    await load(engine, Listed(ROWS))
    assert await query(engine, versions) == [(3, 3)]


@pytest.mark.parametrize("rows", [ROWS, []])
async def test_report_of_records_tells_nothing_of_the_atlas(engine: AsyncEngine, rows: list[dict[str, Any]]) -> None:
    await load(engine, Listed(rows))
    ((figures,),) = await query(engine, "SELECT figures FROM run_report")
    assert {one["group"] for one in figures} == ({"ROWS", "FIELDS"} if rows else {"ROWS"})


async def test_quality_of_a_run_is_kept(engine: AsyncEngine) -> None:
    rows = [*ROWS[:2], {"id": 1}, {"id": 3, "size": "x"}]
    await load(engine, Listed(rows, max_failed_share=0.9, fresh_within_days=1))
    quality = "SELECT rows, completeness, validity, uniqueness, freshness < 0.01 FROM run_quality"
    # Records staged are 1, 2 and 1 again: title, value and updated are filled in 6 of 9 places.
    assert await query(engine, quality) == [(4, 6 / 9, 0.5, 2 / 3, True)]


@pytest.mark.parametrize(("within", "freshness"), [(None, None), (36500.0, 1.0)])
async def test_freshness_is_known_where_it_is_asked_for(
    engine: AsyncEngine, within: float | None, freshness: float | None
) -> None:
    await load(engine, Listed(ROWS, fresh_within_days=within))
    assert await query(engine, "SELECT freshness FROM run_quality") == [(freshness,)]


async def test_drift_against_the_run_before_is_told(engine: AsyncEngine) -> None:
    await load(engine, Listed(ROWS))
    await load(engine, Listed([{"id": str(row["id"]), "name": row["name"], "extra": None} for row in ROWS]))
    (found,) = (await query(engine, "SELECT drift FROM run_quality ORDER BY run_id DESC LIMIT 1"))[0]
    assert [(one["field"], one["change"]) for one in found] == [
        ("at", "MISSING"),
        ("extra", "NEW"),
        ("id", "RETYPED"),
        ("size", "MISSING"),
    ]


async def test_run_of_unusual_size_is_told_once_there_are_runs_to_compare(engine: AsyncEngine) -> None:
    for count in (7, 6, 7, 5, 7):
        await load(engine, Listed(ROWS[:count]))
    await load(engine, Listed(ROWS[:1]))
    (found,) = (await query(engine, "SELECT anomalies FROM run_quality ORDER BY run_id DESC LIMIT 1"))[0]
    assert [(one["figure"], one["value"], one["median"]) for one in found] == [("rows", 1, 7)]


CELLS = st.sampled_from([None, "", "x", 1, 2.5, True, "2024-01-01", "a\0b", [1]])
TABLES = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from([1, 2, 3, "4", "", None])}, optional={"name": CELLS, "size": CELLS, "at": CELLS}
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=TABLES, page_rows=st.integers(1, 5))
async def test_every_row_is_loaded_unchanged_or_in_quarantine(
    engine: AsyncEngine, rows: list[dict[str, Any]], page_rows: int
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE record, raw_record, quarantine"))
    report = await load(engine, Listed(rows, page_rows=page_rows, max_failed_share=1))
    counts = report.counts
    assert counts.processed == len(rows) == counts.inserted + counts.updated + counts.unchanged + counts.failed
    assert await query(engine, "SELECT count(*) FROM record") == [(counts.inserted,)]
    again = await load(engine, Listed(rows, page_rows=page_rows, max_failed_share=1))
    assert outcome(again) == (0, 0, len(rows) - counts.failed, counts.failed)


TABLES_A_RUN_FILLS = (
    "SELECT source, external_id, title, value, description, attributes::text FROM record ORDER BY 2",
    "SELECT kind, source, external_id, payload, is_processed FROM raw_record ORDER BY 3",
    "SELECT source, external_id, payload, field, value, reason FROM quarantine ORDER BY 2",
    "SELECT field, type, count FROM record_field ORDER BY 1, 2",
    "SELECT rows, completeness, validity, uniqueness, score FROM run_quality",
    "SELECT source, state::text FROM source_state",
    "SELECT source, status, processed, inserted, updated, unchanged, failed FROM etl_run",
    "SELECT tablename FROM pg_tables WHERE schemaname = 'staging'",
)


async def contents(url: str) -> list[list[tuple[Any, ...]]]:
    engine = write_engine(url)
    try:
        return [await query(engine, sql) for sql in TABLES_A_RUN_FILLS]
    finally:
        await engine.dispose()


def killed(url: str, place: str, amount: float) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_records", place, str(amount)],
        env=os.environ | {"DATABASE_URL": url},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def test_run_killed_again_and_again_ends_in_the_same_tables(clone: Clone, migrated: str) -> None:
    once, often = clone(migrated), clone(migrated)
    assert not killed(once, "never", 0)
    chance = random.Random(20)
    # Of 85 batches eight kills leave some for those that may come too late.
    assert all(killed(often, "batch", chance.randint(1, 9)) for _ in range(8))
    for _ in range(4):
        killed(often, "time", chance.uniform(0.02, 0.3))
    killed(often, "never", 0)
    assert asyncio.run(contents(often)) == asyncio.run(contents(once))
