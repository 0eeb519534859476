"""How long walks take, by the size of their answers and of the graph: one recursive statement against a loop.

    uv run python -m benchmarks.traversal
    uv run python -m benchmarks.traversal --graphs small --walks 20

Walks that meet about 100, 1,000 and 10,000 nodes are chosen by trying entities and depths; one graph has ten times
the edges of the other. `db.traversal.walk` is the recursive statement; the loop asks for one level at a time.
"""

import asyncio
import os
import platform
import statistics
import time
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import asyncpg
from sqlalchemy import BigInteger, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from benchmarks.graphs import DIRECTORY, SIZES, count, graph
from db.models.atlas import Influence, RelationshipType
from db.reading import ReadSession
from db.session import read_engine
from db.traversal import Reach

ANSWERS = (100, 1_000, 10_000)
TOLERANCE = 0.15
TYPES = [RelationshipType.PREREQUISITE_FOR]
MAX_DEPTH = 16
CANDIDATES = 20_000
DIRECTIONS = {"backward": ("target_id", "source_id"), "forward": ("source_id", "target_id")}


class Start(NamedTuple):
    """A walk: from where, how deep, and how many nodes it meets."""

    id: int
    depth: int
    nodes: int


def level_statement(direction: str) -> TextClause:
    """Return the statement of the loop: the neighbours of a level."""
    near, far = DIRECTIONS[direction]
    return text(
        f"SELECT DISTINCT {far} AS id FROM influence WHERE {near} = ANY (:ids) AND type = ANY (:types)"
    ).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("types", type_=ARRAY(Influence.type.type)))


LEVELS = {direction: level_statement(direction) for direction in DIRECTIONS}


async def by_statement(session: ReadSession, direction: str, start: Start) -> int:
    """Walk by the API's recursive statement."""
    reach = Reach(start.id, tuple(TYPES), start.depth, 2 * start.nodes, direction == "backward")
    ((ids, *_),) = await session.load(Reach.outcome, reach)
    return len(ids or ())


async def by_loop(session: ReadSession, direction: str, start: Start) -> int:
    """Walk by a statement a level, and what was seen kept here."""
    seen, frontier = {start.id}, [start.id]
    for _ in range(start.depth):
        rows = await session.rows(LEVELS[direction], {"ids": frontier, "types": TYPES})
        frontier = sorted({row.id for row in rows} - seen)
        if not frontier:
            break
        seen.update(frontier)
    return len(seen) - 1


WAYS: dict[str, Callable[[ReadSession, str, Start], Awaitable[int]]] = {"statement": by_statement, "loop": by_loop}


async def choose(url: str, direction: str, most: int) -> dict[int, list[Start]]:
    """Find walks for each size of answer."""
    near, far = DIRECTIONS[direction]
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    found: dict[int, list[Start]] = {answer: [] for answer in ANSWERS}
    try:
        level = await connection.prepare(
            f"SELECT DISTINCT {far} FROM influence WHERE {near} = ANY ($1::bigint[]) AND type = 'PREREQUISITE_FOR'"
        )
        ids = await connection.fetch(
            "SELECT id FROM entity WHERE kind = 'CONCEPT' ORDER BY hashint8(id) LIMIT $1", CANDIDATES
        )
        for (start,) in ids:
            seen, frontier = {start}, [start]
            for depth in range(1, MAX_DEPTH + 1):
                frontier = [row[0] for row in await level.fetch(frontier) if row[0] not in seen]
                seen.update(frontier)
                _take(found, Start(start, depth, len(seen) - 1), most)
                if not frontier or len(seen) > ANSWERS[-1] * (1 + TOLERANCE):
                    break
            if all(len(starts) == most for starts in found.values()):
                break
    finally:
        await connection.close()
    return found


def _take(found: dict[int, list[Start]], start: Start, most: int) -> None:
    for answer, starts in found.items():
        is_fit = abs(start.nodes - answer) <= TOLERANCE * answer
        if is_fit and len(starts) < most and (not starts or starts[-1].id != start.id):
            starts.append(start)


async def measure(url: str, direction: str, starts: Sequence[Start], repeats: int) -> dict[str, list[float]]:
    """Return the milliseconds of each walk, the best of the repeats, by way; both ways must meet the same number."""
    engine = read_engine(url, 1, 60)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    try:
        for start in starts:
            for way, go in WAYS.items():
                best = float("inf")
                for _ in range(repeats):
                    session = ReadSession(engine)
                    # The connection and its snapshot are no part of a walk.
                    await session.rows(text("SELECT 1"))
                    begin = time.perf_counter()
                    nodes = await go(session, direction, start)
                    best = min(best, time.perf_counter() - begin)
                    await session.close()
                    if nodes != start.nodes:
                        raise RuntimeError(f"{way} met {nodes} nodes from {start}")
                times[way].append(best * 1000)
    finally:
        await engine.dispose()
    return times


async def sequential_scans(url: str) -> int:
    """Tell how often all edges were read from first to last, by statements of connections that are closed."""
    connection = await asyncpg.connect(url)
    try:
        scans: int = await connection.fetchval("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'influence'")
        return scans
    finally:
        await connection.close()


async def report(name: str, url: str, walks: int, repeats: int) -> None:
    """Print the lines of a graph."""
    print(f"\n{name}: {await count(url)}\n")
    print("| direction | nodes | walks | depth | statement p50 ms | p95 | loop p50 ms | p95 |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    before = await sequential_scans(url)
    for direction in DIRECTIONS:
        for answer, starts in (await choose(url, direction, walks)).items():
            if len(starts) < 2:
                print(f"| {direction} | {answer:,} | {len(starts)} | | | | | |", flush=True)
                continue
            times = await measure(url, direction, starts, repeats)
            cells = " | ".join(
                f"{statistics.median(found):.2f} | {statistics.quantiles(found, n=20)[-1]:.2f}"
                for found in times.values()
            )
            depth = statistics.median(start.depth for start in starts)
            print(f"| {direction} | {answer:,} | {len(starts)} | {depth:.0f} | {cells} |", flush=True)
    print(f"\nsequential scans of `influence` by these walks: {await sequential_scans(url) - before}")


def main() -> None:
    """Measure the graphs named on the command line."""
    parser = ArgumentParser(prog="python -m benchmarks.traversal", description=__doc__.partition("\n")[0])
    parser.add_argument("--graphs", nargs="+", choices=list(SIZES), default=["middle", "large"])
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="keeps the graphs")
    parser.add_argument("--walks", type=int, default=100, help="how many different walks of each size")
    parser.add_argument("--repeats", type=int, default=3, help="of which the best counts")
    options = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" load average {os.getloadavg()[0]:.1f}"
    )
    for name in options.graphs:
        with graph(name, options.directory) as url:
            asyncio.run(report(name, url, options.walks, options.repeats))
    print(f"\nload average at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
