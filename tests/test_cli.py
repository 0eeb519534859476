import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from db.session import write_engine
from etl.sources.sample import DIRECTORY

INFLUENCES = DIRECTORY / "wikidata" / "influences.bindings.json"
Etl = Callable[..., subprocess.CompletedProcess[str]]


def python(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def etl(database: str) -> Etl:
    return lambda *arguments: python(database, "-m", "etl", *arguments)


def contents(url: str) -> list[list[tuple[Any, ...]]]:
    """Return all rows of the tables a run fills, apart from the times at which they were written."""
    queries = [
        "SELECT entity::text FROM entity ORDER BY 1",
        "SELECT influence::text FROM influence ORDER BY 1",
        "SELECT source, external_id, payload FROM raw_record ORDER BY 1, 2",
        "SELECT source, external_id, payload, reason FROM quarantine ORDER BY 1, 2",
        "SELECT dataset::text FROM dataset ORDER BY 1",
        "SELECT version FROM data_version",
        "SELECT entity_measure::text FROM entity_measure ORDER BY 1",
        "SELECT version, fingerprint, cycles, components, largest_component, unconnected FROM measurement",
        "SELECT run_id, previous_run_id, version, figures::text FROM run_report",
        "SELECT id, source, status, processed, inserted, updated, unchanged, failed, data_version FROM etl_run",
        "SELECT tablename FROM pg_tables WHERE schemaname = 'staging'",
    ]

    async def read() -> list[list[tuple[Any, ...]]]:
        engine = write_engine(url)
        async with engine.connect() as connection:
            tables = [[tuple(row) for row in await connection.execute(text(query))] for query in queries]
        await engine.dispose()
        return tables

    return asyncio.run(read())


PLACES = [
    ("batch", "1"),
    ("batch", "6"),
    ("batch", "15"),
    *(("publishing", str(statement)) for statement in (1, 12, 25, 40)),
    *(("measuring", str(statement)) for statement in (1, 6, 12)),
]


@pytest.mark.parametrize(("place", "amount"), PLACES)
def test_killed_load_resumes_to_the_same_tables(database: str, sample_url: str, place: str, amount: str) -> None:
    killed = python(database, "-m", "tests.kill_sample", place, amount)
    if killed.returncode == 0:
        assert place != "batch", "only what comes after the batches can be over before the kill"
    else:
        assert killed.returncode == -signal.SIGKILL
        assert python(database, "-m", "etl", "resume").returncode == 0
    assert contents(database) == contents(sample_url)


SLOW_BATCHES = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
    CREATE TRIGGER slow AFTER UPDATE OF checkpoint ON etl_run FOR EACH ROW EXECUTE FUNCTION slow();
"""


async def interrupt_load(url: str, interrupts: int) -> tuple[int, str]:
    """Start a slow load of the sample, interrupt it in its first batches, and return its exit code and stderr."""
    engine = write_engine(url)
    async with engine.begin() as connection:
        for statement in SLOW_BATCHES.strip().split("\n"):
            await connection.execute(text(statement))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "etl", "sample", env=os.environ | {"DATABASE_URL": url}, stderr=asyncio.subprocess.PIPE
    )
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for _ in range(200):
            if (await connection.execute(text("SELECT 1 FROM etl_run WHERE processed > 0"))).first() is not None:
                break
            await asyncio.sleep(0.05)
        async with engine.begin() as blocking:
            if interrupts > 1:
                # No batch ends between the two while its checkpoint cannot be written.
                await blocking.execute(text("LOCK TABLE etl_run IN SHARE MODE"))
            for _ in range(interrupts):
                process.send_signal(signal.SIGINT)
                await asyncio.sleep(0.3)
        _, stderr = await process.communicate()
        await connection.execute(text("DROP TRIGGER slow ON etl_run"))
    await engine.dispose()
    assert process.returncode is not None
    return process.returncode, stderr.decode()


@pytest.mark.parametrize(
    ("interrupts", "message"),
    [(1, "run 1 is unfinished: `python -m etl resume`"), (2, "aborted: `python -m etl resume`")],
)
def test_interrupted_load_resumes_to_the_same_tables(
    database: str, sample_url: str, interrupts: int, message: str
) -> None:
    code, stderr = asyncio.run(interrupt_load(database, interrupts))
    assert code == 130
    assert message in stderr
    assert python(database, "-m", "etl", "resume").returncode == 0
    assert contents(database) == contents(sample_url)


def test_sample_twice_says_all_unchanged(etl: Etl) -> None:
    assert etl("sample").stdout == "sample: done, 6912 rows: 6912 inserted, 0 updated, 0 unchanged, 0 failed\n"
    assert etl("sample").stdout == "sample: done, 6912 rows: 0 inserted, 0 updated, 6912 unchanged, 0 failed\n"


def test_json_is_all_there_is_on_stdout(etl: Etl) -> None:
    done = etl("sparql-json", str(INFLUENCES), "--json")
    assert orjson.loads(done.stdout) == {
        "run": 1,
        "source": "sparql-json",
        "status": "DONE",
        "processed": 3326,
        "inserted": 3326,
        "updated": 0,
        "unchanged": 0,
        "failed": 0,
        "retired": 0,
        "data_version": 1,
        "problems": [],
        "notes": [],
        "dry_run": False,
    }
    assert done.stderr == ""
    assert orjson.loads(etl("runs", "--json").stdout)[0]["status"] == "DONE"
    assert orjson.loads(etl("status", "--json").stdout)["influences"] == 3326


def test_dry_run_and_limit_keep_to_their_word(etl: Etl) -> None:
    assert etl("sample", "--dry-run", "--limit", "10").stdout.startswith(
        "dry run of sample: done, 10 rows: 10 inserted"
    )
    assert orjson.loads(etl("status", "--json").stdout)["entities"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nonsense",), 2, "No such command"),
        (("sparql-json", "missing.json"), 2, "does not exist"),
        (("sample", "--limit", "0"), 2, "greater than or equal to 1"),
        (("resume", "7"), 1, "run 7 is not unfinished"),
        (("resume",), 0, "nothing to resume"),
        (("quarantine", "list"), 0, "quarantine is empty"),
        (("quarantine", "show", "7"), 1, "no row 7 in quarantine"),
        (("quarantine", "replay", "nope"), 1, "there is no source 'nope'"),
    ],
)
def test_command_that_cannot_be_done_says_why(etl: Etl, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = etl(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_cut_file_is_one_clear_line(etl: Etl, tmp_path: Path) -> None:
    file = tmp_path / "cut.json"
    file.write_bytes(INFLUENCES.read_bytes()[:100_000])
    done = etl("sparql-json", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file} is not complete JSON")
    assert done.stderr.count("\n") == 1


def test_run_that_got_nowhere_is_not_resumed(etl: Etl, tmp_path: Path) -> None:
    file = tmp_path / "cut.json"
    file.write_bytes(b"[{")
    assert etl("sparql-json", str(file)).returncode == 1
    done = etl("resume")
    assert (done.returncode, done.stderr) == (0, "nothing to resume\n")


def test_quarantine_is_listed_shown_and_replayed(etl: Etl, tmp_path: Path) -> None:
    bindings = orjson.loads(INFLUENCES.read_bytes())[:20]
    bindings[3]["influenced"]["value"] = "http://www.wikidata.org/.well-known/genid/1"
    file = tmp_path / "influences.json"
    file.write_bytes(orjson.dumps(bindings))
    assert "1 failed" in etl("sparql-json", str(file)).stdout
    (row,) = orjson.loads(etl("quarantine", "list", "--json").stdout)
    assert (row["field"], row["reason"]) == ("influenced", "not the URI of a Wikidata item")
    shown = orjson.loads(etl("quarantine", "show", str(row["id"])).stdout)
    assert orjson.loads(shown["payload"]) == bindings[3]
    assert "1 failed" in etl("quarantine", "replay", "sparql-json").stdout


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://postgres@127.0.0.1:1/postgres", "cannot connect to postgresql://postgres@127.0.0.1:1/postgres"),
        ("mysql://localhost/x", "only PostgreSQL is supported"),
        ("nonsense", "DATABASE_URL cannot be read"),
    ],
)
def test_database_that_cannot_be_used_is_one_clear_line(url: str, message: str) -> None:
    done = python(url, "-m", "etl", "status")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
