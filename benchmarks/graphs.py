"""Generated graphs, with records beside them, in databases of their own: loaded once by `python -m etl` and kept.

uv run python -m benchmarks.graphs small middle large
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import orjson

from benchmarks.generate import lines
from db.embedded import database
from db.migrations import upgrade
from db.session import is_empty
from db.settings import Settings

DIRECTORY = Path(".benchmarks")


class Size(NamedTuple):
    """How large a graph is asked for; the generator comes close to the edges. Records are as many as entities."""

    entities: int
    edges: int


SIZES = {"small": Size(10_000, 60_000), "middle": Size(100_000, 500_000), "large": Size(1_000_000, 5_000_000)}
RECORD_SOURCE = "items"
SOURCES = f"""
[sources.{RECORD_SOURCE}]
kind = "jsonl"
location = "{{file}}"
record = {{{{ id = "id", title = "name", description = "about", value = "price", created = "made" }}}}
"""
WORDS = ("history", "science", "music", "painting", "logic", "algebra", "poetry", "physics", "ethics", "botany")


@contextmanager
def graph(name: str, directory: Path) -> Iterator[str]:
    """Yield the URL of the database with a graph: DATABASE_URL, or else an embedded one kept in the directory.

    It is migrated, loaded when it is empty, and vacuumed and analysed once.
    """
    with database(Settings(data_dir=directory / name)) as url:
        upgrade(url)
        if asyncio.run(is_empty(url)):
            load(url, SIZES[name], directory)
        if asyncio.run(has_no_record(url)):
            load_records(url, SIZES[name].entities, directory)
        asyncio.run(settle(url))
        yield url


def load(url: str, size: Size, directory: Path) -> None:
    """Generate a dump and load it by the ETL's bulk path."""
    with temporary(directory / f"{size.entities}.json") as file:
        with file.open("w", encoding="utf-8", buffering=1 << 20) as output:
            output.writelines(f"{line}\n" for line in lines(*size))
        run_etl(url, "wikidata-dump", "--whole", str(file))


def load_records(url: str, number: int, directory: Path) -> None:
    """Generate JSON Lines and load them as the records of a configured source."""
    with temporary(directory / "records.jsonl") as file, temporary(directory / "sources.toml") as sources:
        chance = random.Random(number)
        with file.open("wb") as output:
            output.writelines(orjson.dumps(record(one, chance)) + b"\n" for one in range(number))
        sources.write_text(SOURCES.format(file=file), encoding="utf-8")
        run_etl(url, "run", RECORD_SOURCE, "--config", str(sources))


def record(number: int, chance: random.Random) -> dict[str, Any]:
    """Make a row of the source of records."""
    return {
        "id": f"i{number:07}",
        "name": f"Item {number}",
        "about": " ".join(chance.choices(WORDS, k=12)),
        "price": chance.randrange(100, 100_000) / 100,
        "made": f"20{chance.randrange(10, 26)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T08:30:00Z",
        "colour": chance.choice(WORDS),
        "size": {"width": chance.randrange(1, 100), "height": chance.randrange(1, 100)},
    }


def run_etl(url: str, *arguments: str) -> None:
    """Run a command of the ETL on a database."""
    print(f"python -m etl {arguments[0]}", file=sys.stderr)
    begin = time.perf_counter()
    command = [sys.executable, "-m", "etl", *arguments]
    subprocess.run(command, env=os.environ | {"DATABASE_URL": url}, check=True, stdout=sys.stderr)
    print(f"loaded in {time.perf_counter() - begin:.0f} s", file=sys.stderr)


@contextmanager
def temporary(file: Path) -> Iterator[Path]:
    """Remove a file at the end."""
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


async def has_no_record(url: str) -> bool:
    """Tell whether the migrated database holds no record."""
    connection = await asyncpg.connect(url)
    try:
        found: bool = await connection.fetchval("SELECT NOT EXISTS (SELECT FROM record)")
        return found
    finally:
        await connection.close()


async def settle(url: str) -> None:
    """Do the housekeeping, unless it was done, that PostgreSQL would else do while something is measured."""
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval(
            "SELECT bool_and(last_vacuum IS NOT NULL) FROM pg_stat_user_tables WHERE relname IN ('influence', 'record')"
        ):
            return
        await connection.execute("VACUUM (ANALYZE, FREEZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def main() -> None:
    """Load what the command line names, unless it is there."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(SIZES))
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    options = parser.parse_args()
    for name in options.names:
        with graph(name, options.directory) as url:
            print(name, asyncio.run(count(url)))


COUNTED = {"entity": "entities", "influence": "edges", "record": "records"}


async def count(url: str) -> str:
    """Tell how large a graph is."""
    connection = await asyncpg.connect(url)
    try:
        counts = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in COUNTED]
        return ", ".join(f"{number:,} {what}" for number, what in zip(counts, COUNTED.values(), strict=True))
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
