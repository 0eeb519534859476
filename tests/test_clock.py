"""A clock that is set back costs the ETL nothing: runs are ordered by number, durations are never negative."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.operations import RunStatus
from db.operations import source_states
from db.reading import ReadSession
from db.run_totals import etl_totals
from db.session import read_engine, write_session
from etl import pipeline, reports, runs, status
from etl.pipeline import Options, Progress
from etl.staging import Counts
from etl.watermark import Watermark
from tests.listed import Listed
from tests.test_pipeline import query

ROWS = [{"id": number, "name": f"Row {number}"} for number in range(9)]
LATER = "UPDATE etl_run SET started_at = started_at + interval '{0}', finished_at = finished_at + interval '{0}'"


async def later(engine: AsyncEngine, interval: str) -> None:
    """Have all runs so far be of a clock that was ahead, and is right from here on."""
    async with engine.begin() as connection:
        for statement in (
            LATER.format(interval),
            f"UPDATE run_report SET made_at = made_at + interval '{interval}'",
            f"UPDATE data_version SET raised_at = raised_at + interval '{interval}'",
        ):
            await connection.execute(text(statement))


async def test_newest_run_is_the_one_of_the_highest_number(engine: AsyncEngine, database: str) -> None:
    await pipeline.run(engine, Listed(ROWS), Options())
    await later(engine, "10 years")
    await pipeline.run(engine, Listed(ROWS[:5]), Options())
    async with write_session(engine) as session:
        assert [run["run"] for run in await status.recent_runs(session, None, 9)] == [2, 1]
        assert [run["run"] for run in await status.latest_runs(session)] == [2]
        report = await reports.load_report(session, None)
    assert (report["run"], report["previous_run"]) == (2, 1)
    readers = read_engine(database, 1, 10)
    reading = ReadSession(readers)
    (state,), totals = await source_states(reading), await etl_totals(reading)
    await reading.close()
    await readers.dispose()
    assert state.last_success is not None
    assert state.last_success.id == 2
    (total,) = totals.by_source_and_status
    assert (total.last_run, total.last_finished_at) == (2, state.last_success.finished_at)


@pytest.mark.parametrize("is_finished", [True, False])
async def test_clock_set_back_in_mid_run_gives_no_negative_duration(engine: AsyncEngine, is_finished: bool) -> None:
    options = Options()

    async def moved() -> None:
        await later(engine, "1 hour")

    class SetBack(Listed):
        async def pages(self, position: Any, state: dict[str, Any]) -> Any:
            async for page in super().pages(position, state):
                await moved()
                yield page

    if not is_finished:
        options.stop.set()
    await pipeline.run(engine, SetBack(ROWS), options)
    async with write_session(engine) as session:
        (run,) = await status.recent_runs(session, None, 1)
        await session.execute("UPDATE etl_run SET finished_at = NULL")
        (unended,) = await status.recent_runs(session, None, 1)
    assert run["status"] == ("DONE" if is_finished else "INTERRUPTED")
    assert run["seconds"] == unended["seconds"] == 0


async def test_run_that_is_finished_again_is_reported_on_again(engine: AsyncEngine) -> None:
    await pipeline.run(engine, Listed(ROWS), Options())
    await later(engine, "1 day")
    async with write_session(engine) as session:
        await runs.finish(session, 1, Counts(99, 0, 0, 99, 0, 0), RunStatus.DONE, None)
    await reports.make_report(engine, 1)
    await later(engine, "-2 days")
    made = await query(engine, "SELECT made_at, figures FROM run_report")
    await reports.make_missing_report(engine)
    assert await query(engine, "SELECT made_at, figures FROM run_report") == made
    assert {one["name"]: one["value"] for one in made[0][1]}["processed"] == 99


def test_watermark_of_a_clock_that_was_ahead_stays() -> None:
    mark = Watermark("2026-11-20T00:00:00Z", now=datetime(2020, 1, 1, tzinfo=UTC))
    for value in ("2019-12-31T00:00:00Z", "2026-11-21T00:00:00Z"):
        mark.see(value)
    # What lies ahead of the clock waits; nothing is left out, since rows up to the mark come again.
    assert (mark.text, mark.unfit) == ("2026-11-20T00:00:00Z", 1)


async def test_freshness_of_rows_ahead_of_the_clock_is_whole(engine: AsyncEngine) -> None:
    await pipeline.run(engine, Listed([{"id": 1, "at": "2999-01-01"}], fresh_within_days=1), Options())
    assert await query(engine, "SELECT freshness FROM run_quality") == [(1.0,)]


async def test_lock_and_progress_do_not_depend_on_the_clock(engine: AsyncEngine) -> None:
    seen: list[int] = []

    def watch(progress: Progress) -> None:
        seen.append(progress.processed)

    stopped = Options(watch=watch)
    stopped.stop.set()
    await pipeline.run(engine, Listed(ROWS), stopped)
    await later(engine, "10 years")
    report = await pipeline.resume(engine, Listed(ROWS), Options(watch=watch), 1)
    assert (report.status, report.counts.processed) == (RunStatus.DONE, 9)
    assert seen == sorted(seen)
