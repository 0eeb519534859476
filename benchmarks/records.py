"""Load 200,000 JSON and 200,000 CSV records into an empty database, and again unchanged, beside dlt in the same run.

    uv run --with 'dlt[postgres]==1.31.0' python -m benchmarks.records            # 200,000 of each, three rounds
    uv run --with 'dlt[postgres]==1.31.0' python -m benchmarks.records 50000 1

Both read the same two files and write to databases of the same embedded PostgreSQL, each in a process of its own that
is measured from its start to its end; the rounds alternate. Ours writes the raw rows and the records; dlt, by its row
path, one table a file: `append` on the first load, and `merge` (by id), which is what loading again needs.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import orjson
from sqlalchemy import make_url, text

from db.embedded import database
from db.migrations import upgrade
from db.session import write_engine
from db.settings import Settings

SOURCES = """
[sources.people]
kind = "jsonl"
location = "{directory}/people.jsonl"
record = {{ id = "id", title = "name", description = "about", value = "score", updated = "updated" }}

[sources.sales]
kind = "csv"
location = "{directory}/sales.csv"
record = {{ id = "id", title = "product", value = "amount", created = "sold" }}
"""


def write_files(directory: Path, rows: int) -> None:
    """Write the JSON Lines and the CSV file, and the configuration that reads them."""
    chance = random.Random(1)
    with (directory / "people.jsonl").open("wb") as people, (directory / "sales.csv").open("w") as sales:
        sales.write("id,product,amount,currency,sold,customer,country,note\n")
        for number in range(rows):
            moment = f"20{chance.randrange(10, 26)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T08:30:00Z"
            person = {
                "id": number,
                "name": f"Person {number}",
                "about": " ".join(chance.choices(WORDS, k=12)),
                "score": round(chance.random() * 100, 2),
                "updated": moment,
                "active": chance.random() < 0.5,
                "address": {"city": chance.choice(WORDS), "zip": str(chance.randrange(10_000, 99_999))},
            }
            people.write(orjson.dumps(person) + b"\n")
            amount = round(chance.random() * 1000, 2)
            sales.write(f"{number},{chance.choice(WORDS)} {number % 500},{amount},EUR,{moment},C{number % 9000},DE,\n")
    (directory / "sources.toml").write_text(SOURCES.format(directory=directory))


WORDS = ("history", "science", "music", "painting", "logic", "algebra", "poetry", "physics", "ethics", "botany")


def load(url: str, directory: Path) -> float:
    """Load both files by the command; return the seconds."""
    command = [sys.executable, "-m", "etl", "run", "--all", "--config", str(directory / "sources.toml")]
    return _timed(command, url)


def load_by_dlt(url: str, directory: Path, disposition: str) -> float:
    """Load both files by dlt; return the seconds."""
    return _timed([sys.executable, "-m", "benchmarks.records_dlt", str(directory), disposition], url)


def _timed(command: list[str], url: str) -> float:
    begin = time.perf_counter()
    done = subprocess.run(command, env=os.environ | {"DATABASE_URL": url}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return time.perf_counter() - begin


@contextmanager
def fresh(server_url: str, name: str) -> Iterator[str]:
    """Make an empty database and drop it at the end."""
    _administer(server_url, f"CREATE DATABASE {name}")
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        _administer(server_url, f"DROP DATABASE {name}")


def _administer(url: str, statement: str) -> None:
    async def run() -> None:
        engine = write_engine(url)
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text(statement))
        await engine.dispose()

    asyncio.run(run())


def measure(server_url: str, directory: Path) -> dict[str, float]:
    """Return the seconds of one round."""
    found: dict[str, float] = {}

    def twice(name: str, first: Callable[[str], float], again: Callable[[str], float] | None) -> None:
        with fresh(server_url, f"bench_{os.getpid()}") as url:
            if name == "atlas":
                upgrade(url)
            found[f"{name}, first"] = first(url)
            if again:
                found[f"{name}, again unchanged"] = again(url)

    twice("atlas", lambda url: load(url, directory), lambda url: load(url, directory))
    twice("dlt append", lambda url: load_by_dlt(url, directory, "append"), None)

    def merge(url: str) -> float:
        return load_by_dlt(url, directory, "merge")

    twice("dlt merge", merge, merge)
    return found


def main() -> None:
    """Print the rows a second of each, and the ratios to dlt."""
    rows, rounds = (*[int(number) for number in sys.argv[1:]], *(200_000, 3)[len(sys.argv) - 1 :])
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; {rows} rows of each, median of {rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_files(directory, rows)
        with database(Settings(database_url=None, data_dir=directory / "data")) as url:
            seconds = [measure(url, directory) for _ in range(rounds)]
    rates = {what: 2 * rows / median(one[what] for one in seconds) for what in seconds[0]}
    for what, rate in rates.items():
        print(f"{what:25} {rate:8.0f} rows/s")
    first, again = rates["atlas, first"], rates["atlas, again unchanged"]
    print(f"first: {first / rates['dlt append, first']:.1f} times dlt's append, ", end="")
    print(f"{first / rates['dlt merge, first']:.1f} times its merge")
    print(f"again: {again / rates['dlt merge, again unchanged']:.1f} times dlt's merge")


if __name__ == "__main__":
    main()
