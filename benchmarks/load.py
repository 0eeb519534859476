"""Load generated graphs in one command, then again without a change: edges a second, processor time, and memory.

"touched" is loaded once more after the file was touched: it is then read again, though nothing is new.

    uv run python -m benchmarks.load                 # 100,000, 300,000 and 1,000,000 entities, five edges each
    uv run python -m benchmarks.load 1000000

Each size gets a fresh embedded PostgreSQL in a temporary directory and is loaded by `python -m etl wikidata-dump`,
measured from the start of the process to its end. What follows the load (measures and the run's report) is part of it.
Processor time is that of the ETL's processes and of the server's: on a machine in use it says more than the clock.
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


def load(url: str, file: Path, server: psutil.Process) -> str:
    """Run the ETL once; return its seconds, its rate, and the processor time and memory it took."""
    edges = int(file.stem) * EDGES_AN_ENTITY
    begin, served, used = time.perf_counter(), cpu_seconds(server), children_seconds()
    command = [sys.executable, "-m", "etl", "wikidata-dump", "--whole", str(file)]
    process = subprocess.Popen(command, env=os.environ | {"DATABASE_URL": url}, stdout=subprocess.PIPE, text=True)
    watched, peaks = psutil.Process(process.pid), dict[int, float]()
    while process.poll() is None:
        with suppress(psutil.Error):
            for one in (watched, *watched.children(recursive=True)):
                peaks[one.pid] = max(peaks.get(one.pid, 0), one.memory_info().rss / 1e6)
        time.sleep(0.2)
    assert process.stdout is not None
    seconds, own = time.perf_counter() - begin, peaks.pop(process.pid, 0)
    return (
        f"{seconds:6.1f} s, {edges / seconds:8.0f} edges/s, {children_seconds() - used:5.0f} s of processors and"
        f" {cpu_seconds(server) - served:4.0f} s of the server's, {own:5.0f} MB and a worker at most"
        f" {max(peaks.values(), default=0):.0f} MB: {process.stdout.read().strip()}"
    )


def children_seconds() -> float:
    """Return the processor time of all processes that were waited for."""
    times = os.times()
    return times.children_user + times.children_system


def cpu_seconds(server: psutil.Process) -> float:
    """Return the processor time of the server and of its processes, past ones included."""
    own = server.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for one in server.children():
        with suppress(psutil.Error):
            total += sum(one.cpu_times()[:2])
    return total


def main() -> None:
    """Measure each size."""
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for entities in [int(size) for size in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as directory:
            file, data = Path(directory) / f"{entities}.json", Path(directory) / "data"
            generate(file, entities)
            size = file.stat().st_size / 1e6
            print(f"{entities} entities, {entities * EDGES_AN_ENTITY} edges, {size:.0f} MB of JSON", flush=True)
            with database(Settings(database_url=None, data_dir=data)) as url:
                server = psutil.Process(int((data / "postgresql" / "postmaster.pid").read_text().split()[0]))
                for name in ("first", "again", "touched"):
                    if name == "touched":
                        file.touch()
                    print(f"  {name}: {load(url, file, server)}", flush=True)


if __name__ == "__main__":
    main()
