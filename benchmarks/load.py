"""Load generated graphs in one command, then again without a change: edges a second, and the peak of memory.

    uv run python -m benchmarks.load                 # 100,000, 300,000 and 1,000,000 entities, five edges each
    uv run python -m benchmarks.load 1000000

Each size gets a fresh embedded PostgreSQL in a temporary directory and is loaded by `python -m etl wikidata-dump`,
measured from the start of the process to its end. What follows the load (measures and the run's report) is part of it.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.generate import lines
from db.embedded import database
from db.settings import Settings

EDGES_AN_ENTITY = 5
SIZES = (100_000, 300_000, 1_000_000)


def generate(file: Path, entities: int) -> None:
    """Write the graph's dump."""
    with file.open("w", encoding="utf-8", buffering=1 << 20) as output:
        output.writelines(f"{line}\n" for line in lines(entities, entities * EDGES_AN_ENTITY))


def load(url: str, file: Path) -> tuple[float, float, str]:
    """Run the ETL once; return its seconds, the peak of its processes' memory in MB, and what it printed."""
    begin, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "etl", "wikidata-dump", "--whole", str(file)]
    process = subprocess.Popen(command, env=os.environ | {"DATABASE_URL": url}, stdout=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):
            peak = max(peak, sum(one.memory_info().rss for one in (watched, *watched.children(recursive=True))) / 1e6)
        time.sleep(0.2)
    assert process.stdout is not None
    return time.perf_counter() - begin, peak, process.stdout.read().strip()


def main() -> None:
    """Measure each size."""
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for entities in [int(size) for size in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "graph.json"
            generate(file, entities)
            print(
                f"{entities} entities, {entities * EDGES_AN_ENTITY} edges, {file.stat().st_size / 1e6:.0f} MB of JSON"
            )
            with database(Settings(database_url=None, data_dir=Path(directory) / "data")) as url:
                for name in ("first", "again"):
                    seconds, peak, said = load(url, file)
                    rate = entities * EDGES_AN_ENTITY / seconds
                    print(f"  {name}: {seconds:6.1f} s, {rate:8.0f} edges/s, {peak:5.0f} MB in all processes: {said}")


if __name__ == "__main__":
    main()
