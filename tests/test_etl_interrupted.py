"""Loads that are stopped, whose source breaks off, or that meet another: what is told, and what is left."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import generated_dump
from db.models.operations import RunStatus
from db.session import write_engine, write_session
from etl import files, lines, pipeline, quarantine, runs, status, text_lines
from etl.pipeline import Options, Progress
from etl.renormalise import Renormalise
from etl.source import Source, SourceError
from etl.sources import SOURCES, csv_file
from etl.sources.wikidata_dump import WikidataDump
from tests import kill_records
from tests.conftest import Clone
from tests.listed import Listed
from tests.rest_server import Server as RestServer
from tests.rest_server import cuts
from tests.rest_server import serving as serving_rest
from tests.rows import Rows
from tests.test_cli import contents, python
from tests.test_file_sources import ROWS, csv_of, kept
from tests.test_file_sources import source as file_source
from tests.test_files import Server, serving
from tests.test_pipeline import BAD, PEOPLE, query
from tests.test_rest_source import loading
from tests.test_wikidata_dump import contents as dumped


def hit(url: str, place: str, amount: int, act: str) -> "subprocess.CompletedProcess[str]":
    return python(url, "-m", "tests.hit_etl", place, str(amount), act, "sample")


@pytest.mark.parametrize(
    ("place", "amount", "act", "code", "message"),
    [
        ("batch", 3, "term", 130, "run 1 is unfinished: `python -m etl resume` goes on with it"),
        ("batch", 3, "term twice", 130, "aborted: `python -m etl resume` goes on from the last batch"),
        ("publishing", 5, "term", 0, ""),
        ("publishing", 20, "term twice", 130, "aborted: `python -m etl resume` goes on from the last batch"),
    ],
)
def test_terminated_load_goes_on_to_the_same_tables(
    database: str, sample_url: str, place: str, amount: int, act: str, code: int, message: str
) -> None:
    done = hit(database, place, amount, act)
    assert (done.returncode, done.stderr) == (code, f"{message}\n" if message else done.stderr)
    assert "Traceback" not in done.stderr
    if code:
        assert asyncio.run(entities(database)) == 0
        assert python(database, "-m", "etl", "resume").returncode == 0
    assert contents(database) == contents(sample_url)


async def entities(url: str) -> int:
    engine = write_engine(url)
    ((found,),) = await query(engine, "SELECT count(*) FROM entity")
    await engine.dispose()
    return int(found)


class BreakingOff(Server):
    """A file that breaks off at a byte, once something of it is loaded, until it is whole."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.stop = len(content) * 2 // 3
        self.begun = asyncio.Event()

    def watch(self, progress: Progress) -> None:
        if progress.processed:
            self.begun.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.stop == len(self.content) or "Range" in request.headers:
            return await super().answer(request)
        response = web.StreamResponse(headers={"ETag": self.etag, "Content-Length": str(len(self.content))})
        await response.prepare(request)
        await response.write(self.content[: self.stop])
        # What is not read of an answer is lost with it.
        with suppress(TimeoutError):
            await asyncio.wait_for(self.begun.wait(), 5)
        if request.transport is not None:
            request.transport.close()
        return response


async def test_csv_that_breaks_off_is_resumed_when_it_is_whole(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ATTEMPTS", 1)
    monkeypatch.setattr(files, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(csv_file, "SAMPLE_BYTES", 20_000)
    monkeypatch.setattr(csv_file, "PAGE_ROWS", 500)
    content = csv_of(ROWS)
    server = BreakingOff(content)
    async with serving(server) as url:
        with pytest.raises(SourceError, match="cannot be read at byte") as raised:
            await pipeline.run(engine, file_source("csv", url), Options(watch=server.watch))
        assert raised.value.__notes__ == ["run 1 is unfinished: `python -m etl resume 1` goes on with it"]
        server.stop = len(content)
        report = await pipeline.resume(engine, file_source("csv", url), Options(), 1)
        assert (report.status, report.counts.inserted) == (RunStatus.DONE, 5000)
        resumed = await kept(engine)
        again = await pipeline.run(engine, file_source("csv", url), Options())
    assert (again.counts.unchanged, await kept(engine)) == (5000, resumed)


async def test_dump_that_breaks_off_is_resumed_when_it_is_whole(
    engine: AsyncEngine, clone: Clone, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ATTEMPTS", 1)
    monkeypatch.setattr(files, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(lines, "CHUNK_BYTES", 30_000)
    content = b"[\n" + b",\n".join(generated_dump.lines(60)) + b"\n]\n"
    server = BreakingOff(content)
    async with serving(server) as url:
        with pytest.raises(SourceError, match="cannot be read at byte"):
            await pipeline.run(engine, WikidataDump(url, workers=0), Options())
        assert (await query(engine, "SELECT processed > 0, status FROM etl_run")) == [(True, "FAILED")]
        server.stop = len(content)
        await pipeline.resume(engine, WikidataDump(url, workers=0), Options(), 1)
        once = write_engine(await asyncio.to_thread(clone, migrated))
        await pipeline.run(once, WikidataDump(url, workers=0), Options())
    assert await dumped(engine) == await dumped(once)
    await once.dispose()


@pytest.mark.usefixtures("impatient_client")
async def test_answers_that_break_off_are_resumed_when_they_are_whole(engine: AsyncEngine) -> None:
    server = RestServer()

    def watch(progress: Progress) -> None:
        if progress.processed >= 2100:
            server.always = cuts()

    async with serving_rest(server) as url:
        with pytest.raises(SourceError, match="page 5"):
            await pipeline.run(engine, loading(url), Options(watch=watch))
        assert await query(engine, "SELECT count(*) FROM record") == [(0,)]
        server.always = None
        report = await pipeline.resume(engine, loading(url), Options(), 1)
    assert (report.counts.inserted, report.counts.failed) == (5000, 0)


async def replaying(engine: AsyncEngine) -> Source:
    async with write_session(engine) as session:
        found = await quarantine.replay_source(session, "rows")
    assert found is not None
    return found


async def test_runs_of_the_same_records_keep_apart(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "rows", Rows)
    await pipeline.run(engine, Rows([*PEOPLE * 2, BAD]), Options())
    await pipeline.run(engine, kill_records.source(), Options())
    pairs: list[tuple[Source, Source]] = [
        (Rows(PEOPLE), Rows(PEOPLE)),
        (Rows(PEOPLE), await replaying(engine)),
        (await replaying(engine), Rows(PEOPLE)),
        (Listed([]), Renormalise(kill_records.source())),
        (Renormalise(kill_records.source()), Listed([])),
    ]
    for first, second in pairs:
        async with runs.source_lock(engine, first):
            with pytest.raises(runs.RunLockedError, match=f"^{first.loads} is being loaded by another process"):
                await pipeline.run(engine, second, Options())
            # Others are not kept waiting.
            await pipeline.run(engine, Rows(PEOPLE, "others"), Options())


async def test_run_is_seen_to_live_by_its_own_lock(engine: AsyncEngine) -> None:
    source = kill_records.source()
    await pipeline.run(engine, source, Options())
    stopped = Options()
    stopped.stop.set()
    await pipeline.run(engine, source, stopped)
    await pipeline.run(engine, Renormalise(source), stopped)
    async with write_session(engine) as session:
        await session.execute("UPDATE etl_run SET status = 'RUNNING' WHERE status = 'INTERRUPTED'")
    async with runs.source_lock(engine, Renormalise(source)), write_session(engine) as session:
        found = {run["source"]: run["status"] for run in await status.latest_runs(session)}
    assert found == {"listed": "KILLED", "renormalise listed": "RUNNING"}


def test_second_load_of_a_source_is_refused_by_the_command(database: str) -> None:
    async def second() -> "subprocess.CompletedProcess[str]":
        engine = write_engine(database)
        async with runs.source_lock(engine, SOURCES["sample"].build({})):
            done = await asyncio.to_thread(python, database, "-m", "etl", "sample")
        await engine.dispose()
        return done

    done = asyncio.run(second())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: sample is being loaded by another process: wait for it, or stop it first\n"


SLEEPING = """
    CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3600); RETURN NULL; END';
    CREATE TRIGGER sleep AFTER INSERT ON entity FOR EACH STATEMENT EXECUTE FUNCTION sleep();
"""


ASLEEP = """
    SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()
"""


async def test_statement_of_a_dead_load_does_not_block_a_resume(
    engine: AsyncEngine, database: str, sample_url: str
) -> None:
    async with engine.begin() as connection:
        for statement in SLEEPING.strip().split("\n"):
            await connection.execute(text(statement))
    environment = os.environ | {"DATABASE_URL": database}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "etl", "sample", env=environment)
    for _ in range(600):
        if (await query(engine, ASLEEP))[0][0]:
            break
        await asyncio.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    # The server ends the statement, which would sleep for an hour, and with it what it has locked.
    async with asyncio.timeout(60), engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER sleep ON entity"))
        await connection.execute(text("DROP FUNCTION sleep"))
    done = await asyncio.to_thread(python, database, "-m", "etl", "resume")
    assert done.returncode == 0
    assert await asyncio.to_thread(contents, database) == await asyncio.to_thread(contents, sample_url)
