"""Time and peak memory of the graph measures over generated graphs, each in a process of its own.

    uv run python -m benchmarks.measures
    DATABASE_URL=postgresql://… uv run python -m benchmarks.measures --stored

The first generates graphs of three sizes in memory: sources by a power law, targets mostly later than they, all types
alike, one edge in a thousand backwards for cycles. The second measures the graph of a database anew, reading
and writing included.
"""

import asyncio
import os
import resource
import subprocess
import sys
import time

import numpy as np

from db.session import write_engine
from etl.measurement import measure_graph
from etl.measures import TYPES, Graph, measure

SIZES = ((10_000, 50_000), (100_000, 500_000), (1_000_000, 5_000_000))
BACKWARD_SHARE = 1e-3


def generate(entities: int, edges: int) -> Graph:
    """Make the same graph for the same size."""
    random = np.random.default_rng(20_261_120)
    sources = (entities * random.random(edges) ** 2).astype(np.int64)
    targets = np.minimum(entities - 1, sources + random.integers(1, entities // 10, edges))
    backward = random.random(edges) < BACKWARD_SHARE
    sources, targets = np.where(backward, targets, sources), np.where(backward, sources, targets)
    joins = sources != targets
    types = random.integers(0, len(TYPES), edges)
    ids = np.arange(entities) * 7
    return Graph.build(ids, ids[sources[joins]], types[joins], ids[targets[joins]])


def peak_megabytes() -> int:
    """Return the most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(entities: int, edges: int) -> None:
    """Print a line of figures."""
    graph = generate(entities, edges)
    before = peak_megabytes()
    start = time.perf_counter()
    found = measure(graph)
    seconds = time.perf_counter() - start
    print(
        f"{entities:>9,} entities {len(graph.sources):>9,} edges: {seconds:6.2f} s, {peak_megabytes():,} MB at most"
        f" (generating took {before:,}); {found.levels.max()} levels, {len(found.cycles)} cycles"
    )


async def run_stored(url: str) -> None:
    """Print how long measuring a database takes, from reading to the commit."""
    engine = write_engine(url)
    start = time.perf_counter()
    await measure_graph(engine, anew=True)
    print(f"stored graph: {time.perf_counter() - start:.1f} s, {peak_megabytes():,} MB at most")
    await engine.dispose()


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:] == ["--stored"]:
        asyncio.run(run_stored(os.environ["DATABASE_URL"]))
    elif sys.argv[1:]:
        run(int(sys.argv[1]), int(sys.argv[2]))
    else:
        for entities, edges in SIZES:
            subprocess.run([sys.executable, "-m", "benchmarks.measures", str(entities), str(edges)], check=True)


if __name__ == "__main__":
    main()
