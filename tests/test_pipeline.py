import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import AtlasError
from db.models.operations import RunStatus
from db.session import write_session
from etl import pipeline, quarantine, runs, sources
from etl.pipeline import Options, Progress, Report, TooManyFailedError
from etl.source import Source
from tests.rows import Rows

PEOPLE = [{"id": f"Q{number}", "name": f"Person {number}"} for number in range(1, 8)]
BAD = {"id": "Q99", "bad": "yes"}
STAGING_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'"


async def load(engine: AsyncEngine, source: Source, **options: Any) -> Report:
    return await pipeline.run(engine, source, Options(**options))


async def query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


def outcome(report: Report) -> tuple[int, int, int, int]:
    counts = report.counts
    return counts.inserted, counts.updated, counts.unchanged, counts.failed


async def test_run_counts_inserted_then_unchanged_then_updated(engine: AsyncEngine) -> None:
    assert outcome(await load(engine, Rows(PEOPLE))) == (7, 0, 0, 0)
    assert outcome(await load(engine, Rows(PEOPLE))) == (0, 0, 7, 0)
    renamed = [{"id": "Q1", "name": "Renamed"}, *PEOPLE[1:]]
    report = await load(engine, Rows(renamed))
    assert outcome(report) == (0, 1, 6, 0)
    # Both runs that changed something raised it, and the measures after each.
    assert report.data_version == 3
    assert await query(engine, "SELECT version FROM data_version") == [(4,)]


async def test_unchanged_rows_are_not_rewritten(engine: AsyncEngine) -> None:
    rows = [*PEOPLE, {"from": "Q1", "to": "Q2", "rule": "P737"}]
    places = "SELECT ctid::text, xmin::text FROM {} ORDER BY 1"
    tables = ("entity", "influence", "raw_record")
    await load(engine, Rows(rows))
    before = [await query(engine, places.format(table)) for table in tables]
    await load(engine, Rows(rows))
    assert before == [await query(engine, places.format(table)) for table in tables]


async def test_bad_row_is_quarantined_and_the_rest_loaded(engine: AsyncEngine) -> None:
    report = await load(engine, Rows([*PEOPLE * 2, BAD]))
    assert report.counts.failed == 1
    rows = await query(engine, "SELECT source, external_id, payload, field, value, reason FROM quarantine")
    assert rows == [("rows/all", "Q99", '{"id":"Q99","bad":"yes"}', "bad", "yes", "marked as bad")]


async def test_quarantined_row_that_loads_later_is_released(engine: AsyncEngine) -> None:
    await load(engine, Rows([*PEOPLE * 2, BAD]))
    await load(engine, Rows([*PEOPLE * 2, BAD]))
    assert await query(engine, "SELECT count(*) FROM quarantine") == [(1,)]
    report = await load(engine, Rows([*PEOPLE, {"id": "Q99", "name": "Good"}]))
    assert await query(engine, "SELECT resolved_run_id FROM quarantine") == [(report.run,)]


class Mended(Rows):
    def transform(self, row: Any) -> Any:
        value = row.json()
        value.pop("bad", None)
        return super().transform(type(row).from_json(row.source, row.external_id, value))


async def test_replay_loads_what_can_be_loaded_by_now(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    await load(engine, Rows([*PEOPLE * 2, BAD]))
    monkeypatch.setitem(sources.SOURCES, "rows", Mended)
    async with write_session(engine) as session:
        replayed = await quarantine.replay_source(session, "rows")
    assert replayed is not None
    assert outcome(await load(engine, replayed)) == (1, 0, 0, 0)
    assert await query(engine, "SELECT count(*) FROM quarantine WHERE resolved_run_id IS NULL") == [(0,)]


async def test_too_many_bad_rows_fail_the_run_and_publish_nothing(engine: AsyncEngine) -> None:
    with pytest.raises(TooManyFailedError, match=r"2 of 9 rows of rows cannot be loaded, more than 10%"):
        await load(engine, Rows([*PEOPLE, BAD, BAD | {"id": "Q98"}]))
    assert await query(engine, "SELECT count(*) FROM entity") == [(0,)]
    assert await query(engine, "SELECT count(*) FROM quarantine") == [(2,)]
    assert await query(engine, "SELECT status FROM etl_run") == [("FAILED",)]


async def test_dry_run_tells_and_keeps_nothing(engine: AsyncEngine) -> None:
    assert outcome(await load(engine, Rows(PEOPLE), dry_run=True)) == (7, 0, 0, 0)
    for table in ("entity", "raw_record", "etl_run", "dataset"):
        assert await query(engine, f"SELECT count(*) FROM {table}") == [(0,)]
    assert await query(engine, STAGING_TABLES) == [(0,)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_limit_is_exact(engine: AsyncEngine, limit: int) -> None:
    report = await load(engine, Rows(PEOPLE), limit=limit)
    assert report.counts.processed == min(limit, 7)


async def test_stop_ends_after_the_batch_and_resume_completes(engine: AsyncEngine) -> None:
    stop = asyncio.Event()
    stop.set()
    report = await load(engine, Rows(PEOPLE), stop=stop)
    assert (report.status, report.counts.processed) == (RunStatus.INTERRUPTED, 2)
    assert await query(engine, "SELECT count(*) FROM entity") == [(0,)]
    resumed = await pipeline.resume(engine, Rows(PEOPLE), Options(), report.run)
    assert (resumed.run, outcome(resumed)) == (report.run, (7, 0, 0, 0))


async def test_error_in_mid_run_can_be_resumed(engine: AsyncEngine) -> None:
    def fail(progress: Progress) -> None:
        if progress.processed >= 4:
            raise AtlasError("the line went dead")

    with pytest.raises(AtlasError, match="dead"):
        await load(engine, Rows(PEOPLE), watch=fail)
    assert await query(engine, "SELECT status, error, processed FROM etl_run") == [("FAILED", "the line went dead", 4)]
    resumed = await pipeline.resume(engine, Rows(PEOPLE), Options(), 1)
    assert outcome(resumed) == (7, 0, 0, 0)


async def test_new_run_gives_up_an_unfinished_one(engine: AsyncEngine) -> None:
    stop = asyncio.Event()
    stop.set()
    await load(engine, Rows(PEOPLE), stop=stop)
    await load(engine, Rows(PEOPLE))
    assert await query(engine, "SELECT status FROM etl_run ORDER BY id") == [("ABANDONED",), ("DONE",)]
    assert await query(engine, STAGING_TABLES) == [(0,)]
    with pytest.raises(AtlasError, match="cannot be resumed"):
        await pipeline.resume(engine, Rows(PEOPLE), Options(), 1)


async def test_second_run_of_a_source_is_refused(engine: AsyncEngine) -> None:
    async with runs.source_lock(engine, Rows([])):
        with pytest.raises(runs.RunLockedError, match="another process"):
            await load(engine, Rows(PEOPLE))
    assert outcome(await load(engine, Rows(PEOPLE))) == (7, 0, 0, 0)


async def test_readers_see_nothing_of_a_run_before_its_end(engine: AsyncEngine) -> None:
    seen: list[int] = []

    async def entities() -> int:
        return int((await query(engine, "SELECT count(*) FROM entity"))[0][0])

    class Watched(Rows):
        async def batches(self, checkpoint: Any) -> AsyncIterator[Any]:
            async for batch in super().batches(checkpoint):
                yield batch
                seen.append(await entities())

    await load(engine, Watched(PEOPLE))
    assert seen == [0, 0, 0, 0]
    assert await entities() == 7


async def test_finished_run_notifies_the_new_data_version(engine: AsyncEngine) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.add_listener(runs.NOTIFY_CHANNEL, lambda *call: heard.put_nowait(call[3]))
        await load(engine, Rows(PEOPLE))
        assert [await asyncio.wait_for(heard.get(), 5) for _ in "12"] == ["1", "2"]
        await load(engine, Rows(PEOPLE))
        await driver.execute("SELECT 1")
        assert heard.empty()


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_row_is_counted_once(engine: AsyncEngine, data: st.DataObject) -> None:
    numbers = st.integers(1, 12)
    row = st.one_of(
        st.builds(lambda n, name: {"id": f"Q{n}", "name": name}, numbers, st.text("abc", max_size=2)),
        st.builds(lambda n: {"id": f"Q{n}", "bad": n}, numbers),
        st.builds(
            lambda a, b, rule: {"from": f"Q{a}", "to": f"Q{b}", "rule": rule}, numbers, numbers, st.sampled_from("PR")
        ),
    )
    source = Rows(data.draw(st.lists(row, max_size=20)))
    source.max_failed_share = 1.0
    counts = (await load(engine, source)).counts
    assert counts.processed == counts.inserted + counts.updated + counts.unchanged + counts.failed
    again = (await load(engine, source)).counts
    assert (again.inserted, again.updated, again.failed) == (0, 0, counts.failed)
