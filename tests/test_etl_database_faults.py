"""Loads whose database crashes, restarts, falls silent or runs out of disk: what is told, and what is left."""

import asyncio
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from db import session
from db.errors import DatabaseUnavailableError
from db.migrations import upgrade
from db.models.operations import RunStatus
from db.session import write_engine, write_session
from etl import pipeline, runs
from etl.cli import app
from etl.pipeline import Options, Progress
from etl.source import Batch, Checkpoint
from tests.network import between
from tests.postgres import Postgres, postgres
from tests.rows import Rows
from tests.test_cli import contents, python
from tests.test_pipeline import PEOPLE, outcome, query
from tests.test_wikidata_dump import TABLES

SETTINGS = ("max_wal_size=32MB", "min_wal_size=2MB", "shared_buffers=32MB")
CHANCE = random.Random(20261120)
CRASHES = [
    ("batch", CHANCE.randint(2, 16), "crash"),
    ("publishing", CHANCE.randint(3, 30), "crash"),
    ("measuring", CHANCE.randint(1, 6), "crash"),
    ("publishing", CHANCE.randint(3, 30), "stop"),
]


@pytest.fixture(scope="module")
def server(server_url: str) -> Iterator[Postgres]:
    """A server that a test may crash if it starts it again; the embedded one, which makes the user, has run before."""
    with postgres(*SETTINGS) as server:
        asyncio.run(ask(server.url(), "CREATE DATABASE migrated"))
        upgrade(server.url(database="migrated"))
        yield server


@pytest.fixture(scope="module")
def fresh(server: Postgres) -> Callable[[], str]:
    """Make a migrated database in the server and return its name."""
    numbers = count(1)

    def make() -> str:
        name = f"fresh_{next(numbers)}"
        asyncio.run(ask(server.url(), f"CREATE DATABASE {name} TEMPLATE migrated"))
        return name

    return make


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def hit(
    server: Postgres, url: str, place: str, amount: int, act: str, *command: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.hit_etl", place, str(amount), act, *command],
        env=os.environ | {"DATABASE_URL": url, "SERVER": str(server.pid)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(("place", "amount", "act"), CRASHES)
def test_load_goes_on_after_the_server_crashed(
    server: Postgres, fresh: Callable[[], str], sample_url: str, place: str, amount: int, act: str
) -> None:
    url = server.url(database=fresh())
    done = hit(server, url, place, amount, act, "sample")
    server.wait()
    server.start()
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    if place == "measuring":
        assert "run 1 is published and stands, but what follows it failed: " in done.stderr
    else:
        assert re.match(
            "error: sample: (the connection to PostgreSQL is gone|PostgreSQL cannot go on|cannot connect)", done.stderr
        )
        assert done.stderr.endswith("run 1 is unfinished: `python -m etl resume 1` goes on with it\n")
    assert python(url, "-m", "etl", "resume").returncode == 0
    assert contents(url) == contents(sample_url)


async def test_server_that_restarts_while_a_source_is_read_ends_the_run(
    server: Postgres, fresh: Callable[[], str]
) -> None:
    engine = write_engine(server.url(database=await asyncio.to_thread(fresh)))

    def restart(progress: Progress) -> None:
        if progress.processed == 4:
            server.stop("fast")
            server.start()

    with pytest.raises(runs.LockLostError, match="rows: the connection that held its lock is gone") as raised:
        await pipeline.run(engine, Rows(PEOPLE), Options(watch=restart))
    assert raised.value.__notes__ == ["run 1 is unfinished: `python -m etl resume 1` goes on with it"]
    resumed = await pipeline.resume(engine, Rows(PEOPLE), Options(), 1)
    assert outcome(resumed) == (7, 0, 0, 0)
    await engine.dispose()


async def lose_lock(engine: AsyncEngine) -> None:
    async with write_session(engine) as one:
        await one.execute(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {runs.lock_of(repr('rows'))}")


async def test_run_that_another_process_took_over_writes_nothing_more(engine: AsyncEngine) -> None:
    taken_over = asyncio.Event()
    others: list[asyncio.Task[pipeline.Report]] = []

    class Waiting(Rows):
        async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
            async for batch in super().batches(checkpoint):
                if batch.checkpoint["row"] == 4:
                    await lose_lock(engine)
                    others.append(asyncio.create_task(pipeline.resume(engine, Rows(PEOPLE), Options(), 1)))
                    await asyncio.wait(others)
                    taken_over.set()
                yield batch

    with pytest.raises(runs.LockLostError):
        await pipeline.run(engine, Waiting(PEOPLE), Options())
    assert taken_over.is_set()
    assert outcome(others[0].result()) == (7, 0, 0, 0)
    assert await query(engine, "SELECT status, processed, error FROM etl_run") == [("DONE", 7, None)]


async def test_position_that_another_process_moved_is_not_written_over(engine: AsyncEngine) -> None:
    async with write_session(engine) as one:
        run_id = await runs.start(one, "rows", {})
        await runs.reach(one, run_id, {"row": 2}, 0, 2)
        with pytest.raises(runs.LockLostError, match="another process goes on with run 1"):
            await runs.reach(one, run_id, {"row": 2}, 0, 2)


def until(is_so: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%data_version FOR%'"


def test_silent_network_ends_the_load_and_frees_its_lock(
    server: Postgres, fresh: Callable[[], str], sample_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE_SECONDS", 4)
    monkeypatch.setattr(session, "PROBE_SECONDS", 1)
    monkeypatch.setattr(session, "CONNECT_TIMEOUT_SECONDS", 2)
    name = fresh()
    near, hung = server.url(database=name), threading.Event()

    async def silence() -> None:
        holder = await asyncpg.connect(near)
        async with holder.transaction():
            # The load is in mid-statement when its network goes: it waits for this row.
            await holder.execute("SELECT version FROM data_version FOR UPDATE")
            await asyncio.to_thread(until, lambda: asyncio.run(ask(near, WAITING)), 60)
            network.blackhole()
            await asyncio.to_thread(hung.wait, 60)
        await holder.close()

    with between(server.port) as network:
        thread = threading.Thread(target=lambda: asyncio.run(silence()))
        thread.start()
        done = CliRunner().invoke(app, ["sample"], env={"DATABASE_URL": server.url(network.port, name)})
        # The server, too, has given the silent connections up, or does so within the bound.
        until(lambda: not asyncio.run(ask(near, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")), 30)
        hung.set()
        thread.join()
    assert done.exit_code == 1
    assert "error: sample: the connection to PostgreSQL is gone: " in done.stderr
    assert "`python -m etl resume 1` goes on with it" in done.stderr
    assert python(near, "-m", "etl", "resume").returncode == 0
    assert contents(near) == contents(sample_url)


def tables(url: str) -> list[list[tuple[object, ...]]]:
    """Return the rows of the atlas without the numbers of the runs that wrote them."""

    async def read() -> list[list[tuple[object, ...]]]:
        engine = write_engine(url)
        found = [await query(engine, statement) for statement in TABLES[:4]]
        await engine.dispose()
        return found

    return asyncio.run(read())


async def test_server_that_cannot_look_for_its_client_is_used_without(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a server on Windows, the setting's value is refused.
    monkeypatch.setattr(session, "LOOK_SECONDS", "never")
    engine = write_engine(database)
    assert await query(engine, "SHOW client_connection_check_interval") == [("0",)]
    await engine.dispose()
    monkeypatch.undo()
    engine = write_engine(database)
    assert await query(engine, "SHOW client_connection_check_interval") == [("5s",)]
    await engine.dispose()


async def test_database_that_is_not_there_is_told(database: str) -> None:
    engine = write_engine(database.replace("5432", "5433"))
    with pytest.raises(DatabaseUnavailableError, match="cannot connect to PostgreSQL: "):
        await pipeline.run(engine, Rows(PEOPLE), Options())


@pytest.fixture
def small_disk(server: Postgres) -> Iterator[Path]:
    """A directory on a disk of its own, on which the server may write 120 MB."""
    directory = server.directory.parent / "small"
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=777", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize("left_mb", [1, 3, 6, 12])
def test_full_disk_ends_the_load_which_goes_on_once_there_is_space(
    server: Postgres, small_disk: Path, sample_url: str, left_mb: int
) -> None:
    full = Postgres(small_disk, *SETTINGS)
    full.start()
    url = full.url()
    try:
        upgrade(url)
        with (small_disk / "ballast").open("wb") as ballast:
            space = os.statvfs(small_disk)
            ballast.write(bytes(space.f_bavail * space.f_frsize - (left_mb << 20)))
        done = python(url, "-m", "etl", "sample")
        (small_disk / "ballast").unlink()
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert re.search("No space left on device|connection to PostgreSQL is gone", done.stderr)
        full.stop()
        full.start()
        # A run that had got nowhere is begun anew, as another run.
        is_left = "`python -m etl resume" in done.stderr
        again = python(url, "-m", "etl", "resume" if is_left else "sample")
        assert again.returncode == 0
        assert tables(url) == tables(sample_url)
        if is_left:
            assert contents(url) == contents(sample_url)
    finally:
        full.stop()


async def test_failed_write_of_a_run_is_told_and_resumed(engine: AsyncEngine) -> None:
    """The server's own words of a full disk reach the run's record."""
    async with write_session(engine) as one:
        await one.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''could not extend file: No space left'';END'"
        )
        await one.execute("CREATE TRIGGER full_disk BEFORE INSERT ON entity EXECUTE FUNCTION full_disk()")
    with pytest.raises(Exception, match="rows: PostgreSQL cannot go on: could not extend file: No space left"):
        await pipeline.run(engine, Rows(PEOPLE), Options())
    assert await query(engine, "SELECT status FROM etl_run") == [("FAILED",)]
    async with write_session(engine) as one:
        await one.execute("DROP TRIGGER full_disk ON entity")
    assert (await pipeline.resume(engine, Rows(PEOPLE), Options(), 1)).status is RunStatus.DONE
