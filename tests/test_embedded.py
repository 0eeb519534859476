import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text

from db.embedded import database
from db.session import write_engine
from db.settings import Settings

LIMIT_SECONDS = 30
PROGRAM = """
import sys, time
from pathlib import Path
from db.embedded import database
from db.errors import AtlasError
from db.settings import Settings
try:
    with database(Settings(database_url=None, data_dir=Path(sys.argv[1]))) as url:
        print(url, flush=True)
        time.sleep(600)
except AtlasError as error:
    sys.exit(f"{type(error).__name__}: {error}")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    # Not tmp_path: pytest closes its root to the user that a server started by root runs as.
    with tempfile.TemporaryDirectory(prefix="atlas-test-") as path:
        yield Path(path).resolve()


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A data directory that was used and left in order."""
    with tempfile.TemporaryDirectory(prefix="atlas-test-") as path:
        assert stop(running(Path(path))) == 130
        yield Path(path).resolve()


def start(data_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(data_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=data_dir)


def url_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    url = program.stdout.readline().strip()
    assert url, program.communicate()[1]
    return url


def running(data_dir: Path) -> subprocess.Popen[str]:
    program = start(data_dir)
    url_of(program)
    return program


def stop(program: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    program.send_signal(number)
    program.communicate(timeout=LIMIT_SECONDS)
    return program.returncode


def servers(data_dir: Path) -> list[psutil.Process]:
    found = psutil.process_iter(["name", "cmdline"])
    directory = str(data_dir / "postgresql")
    return [
        process
        for process in found
        if process.info["name"] == "postgres" and directory in (process.info["cmdline"] or ())
    ]


def is_stopped(data_dir: Path) -> bool:
    return not servers(data_dir) and not (data_dir / "postgresql" / "postmaster.pid").exists()


async def answer(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_database_stops_at_a_signal(data_dir: Path, number: int) -> None:
    program = running(data_dir)
    assert servers(data_dir)
    assert stop(program, number) == 130
    assert is_stopped(data_dir)


async def test_database_keeps_its_data(data_dir: Path) -> None:
    program = start(data_dir)
    await answer(url_of(program), "CREATE TABLE kept AS SELECT 42 AS value")
    stop(program)
    program = start(data_dir)
    assert await answer(url_of(program), "SELECT value FROM kept") == 42
    stop(program)


def test_second_signal_while_stopping_is_ignored(data_dir: Path) -> None:
    program = running(data_dir)
    program.send_signal(signal.SIGINT)
    deadline = time.monotonic() + LIMIT_SECONDS
    while program.poll() is None and time.monotonic() < deadline:
        program.send_signal(signal.SIGTERM)
        program.send_signal(signal.SIGINT)
        time.sleep(0.001)
    program.communicate()
    assert is_stopped(data_dir)


def test_server_of_a_killed_program_is_taken_over(data_dir: Path) -> None:
    stop(running(data_dir), signal.SIGKILL)
    [left] = servers(data_dir)
    program = running(data_dir)
    assert [process.pid for process in servers(data_dir)] == [left.pid]
    stop(program)
    assert is_stopped(data_dir)


def test_database_recovers_when_everything_was_killed(data_dir: Path) -> None:
    program = running(data_dir)
    [server] = servers(data_dir)
    victims = [server, *server.children()]
    program.kill()
    for victim in victims:
        victim.kill()
    program.communicate()
    psutil.wait_procs(victims, timeout=LIMIT_SECONDS)
    assert (data_dir / "postgresql" / "postmaster.pid").exists()
    stop(running(data_dir))
    assert is_stopped(data_dir)


def test_server_killed_under_its_living_program_is_replaced(data_dir: Path) -> None:
    program = running(data_dir)
    [server] = servers(data_dir)
    server.kill()
    assert stop(running(data_dir)) == 130
    assert stop(program) == 130
    assert is_stopped(data_dir)


def test_pid_file_naming_another_program_is_stale(data_dir: Path) -> None:
    file = data_dir / "postgresql" / "postmaster.pid"
    lines = [os.getpid(), file.parent, int(time.time()), 5432, file.parent, "", "  1  2", "ready   "]
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (file.parent / name).write_text("\n".join(map(str, lines)) + "\n")
    assert stop(running(data_dir)) == 130
    assert is_stopped(data_dir)


def test_last_program_stops_the_shared_server(data_dir: Path) -> None:
    first, second = start(data_dir), start(data_dir)
    assert url_of(first) == url_of(second)
    stop(first)
    assert len(servers(data_dir)) == 1
    stop(second)
    assert is_stopped(data_dir)


def test_programs_may_start_a_fresh_directory_at_once(scratch: Path) -> None:
    programs = [start(scratch) for _ in range(3)]
    assert len({url_of(program) for program in programs}) == 1
    assert [stop(program) for program in programs] == [130] * 3
    assert is_stopped(scratch)


def test_start_can_be_interrupted_at_any_time(scratch: Path) -> None:
    witness = scratch / "witness"
    witness.touch()
    for delay_seconds in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0):
        program = start(scratch)
        time.sleep(delay_seconds)
        stop(program)
        assert is_stopped(scratch)
        assert witness.exists()
    assert stop(running(scratch)) == 130


def test_half_written_pid_file_removes_nothing(scratch: Path) -> None:
    assert stop(running(scratch)) == 130
    directory = scratch / "postgresql"
    program = running(scratch)
    file = directory / "postmaster.pid"
    whole = file.read_text()
    lines = whole.splitlines()
    # What a starting server writes first: no socket directory yet, no status.
    file.write_text("\n".join([*lines[:4], ""]) + "\n")
    (scratch / "witness").touch()
    stop(program)
    assert (scratch / "witness").exists()
    assert (directory / "PG_VERSION").exists()
    assert is_stopped(scratch)


def test_directory_left_by_a_killed_initdb_is_no_obstacle(scratch: Path) -> None:
    program = start(scratch)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not list(scratch.glob("postgresql.initdb-*/PG_VERSION")) and time.monotonic() < deadline:
        time.sleep(0.005)
    stop(program, signal.SIGKILL)
    assert list(scratch.glob("postgresql.initdb-*"))
    assert stop(running(scratch)) == 130


@pytest.mark.parametrize("name", ["with a space", "with,comma", "long" * 30])
async def test_any_directory_name_serves(scratch: Path, name: str) -> None:
    with database(Settings(database_url=None, data_dir=scratch / name)) as url:
        assert await answer(url, "SELECT 1") == 1
        engine = write_engine(url)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
        await engine.dispose()
    assert is_stopped(scratch / name)


@pytest.mark.parametrize(
    ("broken", "content", "complaint"),
    [
        ("postgresql", "", "Not a directory"),
        ("postgresql/notes", "", "is not a complete PostgreSQL directory"),
        ("postgresql/PG_VERSION", "18", "is not a complete PostgreSQL directory"),
    ],
)
def test_unusable_directory_is_told_in_one_line(scratch: Path, broken: str, content: str, complaint: str) -> None:
    (scratch / broken).parent.mkdir(exist_ok=True)
    (scratch / broken).write_text(content)
    _, stderr = start(scratch).communicate(timeout=LIMIT_SECONDS)
    assert stderr.startswith("ConfigurationError: ")
    assert complaint in stderr
    assert str(scratch) in stderr
    assert "ATLAS_DATA_DIR" in stderr
    assert stderr.count("\n") == 1


def test_server_that_does_not_start_is_told_in_one_line(data_dir: Path) -> None:
    configuration = data_dir / "postgresql" / "postgresql.auto.conf"
    before = configuration.read_text()
    configuration.write_text("no_such_setting = 1\n")
    _, stderr = start(data_dir).communicate(timeout=LIMIT_SECONDS)
    configuration.write_text(before)
    assert stderr.startswith("DatabaseUnavailableError: PostgreSQL does not start (")
    assert str(data_dir / "postgresql.log") in stderr
    assert stderr.count("\n") == 1
    assert is_stopped(data_dir)


def test_given_database_replaces_the_embedded_one(scratch: Path) -> None:
    url = "postgresql://someone@elsewhere/atlas"
    with database(Settings(database_url=url, data_dir=scratch / "data")) as given:
        assert given == url
    assert not (scratch / "data").exists()
