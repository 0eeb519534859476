"""Generated graphs in databases of their own, loaded once by `python -m etl` and kept between runs.

uv run python -m benchmarks.graphs small middle large
"""

import asyncio
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

from benchmarks.generate import lines
from db.embedded import database
from db.migrations import upgrade
from db.session import is_empty
from db.settings import Settings

DIRECTORY = Path(".benchmarks")


class Size(NamedTuple):
    """How large a graph is asked for; the generator comes close to the edges."""

    entities: int
    edges: int


SIZES = {"small": Size(10_000, 60_000), "middle": Size(100_000, 500_000), "large": Size(1_000_000, 5_000_000)}


@contextmanager
def graph(name: str, directory: Path) -> Iterator[str]:
    """Yield the URL of the database with a graph: DATABASE_URL, or else an embedded one kept in the directory.

    It is migrated, loaded when it is empty, and vacuumed and analysed once.
    """
    with database(Settings(data_dir=directory / name)) as url:
        upgrade(url)
        if asyncio.run(is_empty(url)):
            load(url, SIZES[name], directory)
        asyncio.run(settle(url))
        yield url


def load(url: str, size: Size, directory: Path) -> None:
    """Generate a dump and load it by the ETL's bulk path."""
    file = directory / f"{size.entities}.json"
    print(f"loading {size.entities} entities and about {size.edges} edges", file=sys.stderr)
    begin = time.perf_counter()
    try:
        with file.open("w", encoding="utf-8", buffering=1 << 20) as output:
            output.writelines(f"{line}\n" for line in lines(*size))
        command = [sys.executable, "-m", "etl", "wikidata-dump", "--whole", str(file)]
        subprocess.run(command, env=os.environ | {"DATABASE_URL": url}, check=True, stdout=sys.stderr)
    finally:
        file.unlink(missing_ok=True)
    print(f"loaded in {time.perf_counter() - begin:.0f} s", file=sys.stderr)


async def settle(url: str) -> None:
    """Do the housekeeping, unless it was done, that PostgreSQL would else do while something is measured."""
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("SELECT last_vacuum FROM pg_stat_user_tables WHERE relname = 'influence'"):
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


async def count(url: str) -> str:
    """Tell how many entities and edges a graph has."""
    connection = await asyncpg.connect(url)
    try:
        entities = await connection.fetchval("SELECT count(*) FROM entity")
        edges = await connection.fetchval("SELECT count(*) FROM influence")
        return f"{entities:,} entities, {edges:,} edges"
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
