"""How fast a Wikidata dump is read, and in how much memory: `python -m benchmarks.wikidata_dump [MEGABYTES ...]`.

First one worker's work on lines that the prefilter drops and on lines it keeps, without processes around it; then
generated dumps of several sizes, packed with gzip in a temporary directory, through the reader and its worker
processes up to the rows ready to be staged. With `--load` each is loaded into DATABASE_URL, or an embedded database.

One run on two cores shared with other work (load average 5, Python 3.11.7, November 2026), first pass only: dropped
880 MB/s a worker, kept 70 MB/s; 500, 1,000 and 2,000 MB read in 8.6, 9.6 and 19.6 s; workers at most 172 MB resident,
parent 306, 308 and 314 MB. Times on a machine in use say little about linearity; repeat them on an idle one.
"""

import argparse
import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from itertools import count
from pathlib import Path

import psutil
from isal import igzip

from benchmarks import generated_dump
from etl.entity_lines import Extract, LineReader
from etl.files import LocalFile
from etl.lines import CHUNK_BYTES, Chunk, read_chunks, sniff
from etl.wikidata import DEFAULT_LANGUAGES
from etl.workers import Workers

MB = 1_000_000
READER = LineReader(DEFAULT_LANGUAGES, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megabytes", nargs="*", type=int, default=[500, 1000, 2000], help="sizes of JSON, unpacked")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--load", action="store_true", help="load into a database as well")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {options.workers} workers, chunks of {CHUNK_BYTES >> 20} MiB, Python {sys.version}")
    kept = range(generated_dump.KEPT)
    print(f"one worker, lines dropped: {rate(number for number in count() if number % 12 not in kept):8.0f} MB/s")
    print(f"one worker, lines kept:    {rate(number for number in count() if number % 12 in kept):8.0f} MB/s")
    with tempfile.TemporaryDirectory() as directory:
        for megabytes in options.megabytes:
            file = Path(directory) / "latest-all.json.gz"
            written = write(file, megabytes * MB)
            print(f"{written / MB:.0f} MB of JSON, {file.stat().st_size / MB:.0f} MB packed")
            # In a process of its own, since memory once taken is seldom given back.
            reader = multiprocessing.get_context("spawn").Process(target=run, args=(file, written, options.workers))
            reader.start()
            reader.join()
            if options.load:
                load(file, options.workers)


def rate(numbers: Iterator[int]) -> float:
    """Return how many MB a worker takes in a second of lines of these numbers; the best of five."""
    parts: list[bytes] = []
    while sum(map(len, parts[-1:])) * len(parts) < CHUNK_BYTES:
        parts.append(generated_dump.line(next(numbers)) + b",\n")
    chunk = Chunk(0, b"".join(parts))
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        READER(chunk)
        times.append(time.perf_counter() - begin)
    return len(chunk.data) / MB / min(times)


def write(file: Path, size: int) -> int:
    """Write a packed dump of about so many bytes of JSON; returns how many there are."""
    written = 0
    with igzip.open(file, "wb", compresslevel=1) as out:
        for line in _until(size, generated_dump.lines(sys.maxsize)):
            written += out.write((b",\n" if written else b"[\n") + line)
        return written + out.write(b"\n]\n")


def _until(size: int, lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line
        size -= len(line)
        if size <= 0:
            return


def run(path: Path, size: int, workers: int) -> None:
    """Run `read`."""
    asyncio.run(read(path, size, workers))


async def read(path: Path, size: int, workers: int) -> None:
    """Read a dump up to the rows ready to be staged, and print time, rate and the memory of each process."""
    file = LocalFile(path)
    layout, _ = await sniff(file)
    peaks: dict[int, int] = {}
    rows = 0
    begin = time.perf_counter()
    async with aclosing(read_chunks(file, layout)) as chunks, Workers[Chunk, Extract](workers) as pool:
        async for _, extract in pool.map(READER, chunks):
            rows += extract.prepared.processed
            for pid in (os.getpid(), *pool.pids):
                peaks[pid] = max(peaks.get(pid, 0), psutil.Process(pid).memory_info().rss)
    seconds = time.perf_counter() - begin
    own = peaks.pop(os.getpid(), 0)
    highest = ", ".join(f"{peak / MB:.0f}" for peak in peaks.values())
    print(
        f"  read: {seconds:6.1f} s, {size / MB / seconds:6.0f} MB/s, {rows} rows;"
        f" resident MB at most: workers {highest}, parent {own / MB:.0f}"
    )


def load(file: Path, workers: int) -> None:
    """Load a dump with the command a person would use, and print the time."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {"ATLAS_DATA_DIR": directory} | os.environ
        begin = time.perf_counter()
        command = [sys.executable, "-m", "etl", "wikidata-dump", str(file), "--workers", str(workers)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        print(f"  load: {time.perf_counter() - begin:6.1f} s: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
