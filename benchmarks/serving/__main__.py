"""Compare the API with other servers over the same graph: requests a second, and the time they take.

    uv run python -m benchmarks.serving
    uv run python -m benchmarks.serving --graph small --rounds 1 --seconds 1 --shapes entity page

Each server is one process on one core; wrk runs on the other, PostgreSQL on both. Before anything is timed, the
answers of all servers to the same requests are compared: what differs is not timed. See docs/benchmarks.md.
"""

import asyncio
import os
import platform
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from benchmarks.graphs import DIRECTORY, SIZES, count, graph
from benchmarks.serving.connections import read
from benchmarks.serving.measure import Result, Round, middle, run, warm_up, write_bodies
from benchmarks.serving.samples import collect
from benchmarks.serving.shapes import SHAPES, Sample, Shape, canonical, difference
from benchmarks.serving.systems import SYSTEMS, Server, install, node_version, running

Samples = Mapping[str, Sequence[Sample]]
COMPARED = 40
"""How many answers of each shape are compared before it is timed."""


def main() -> None:
    """Read the command line, start everything, and print the tables."""
    options = read_options()
    options.directory.mkdir(parents=True, exist_ok=True)
    install(options.directory)
    with graph(options.graph, options.directory) as url:
        samples = asyncio.run(prepare(url, options.shapes))
        print(asyncio.run(describe(url, options)), flush=True)
        with ExitStack() as stack:
            servers = {
                name: stack.enter_context(running(SYSTEMS[name], url, options.directory)) for name in options.systems
            }
            for shape in options.shapes:
                compare(list(servers.values()), SHAPES[shape], samples[shape])
            bodies = stack.enter_context(written(servers, samples))
            for connections in options.connections:
                results = measure_all(servers, bodies, connections, options)
                print(table(results, connections), flush=True)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")


def read_options() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.partition("\n")[0])
    parser.add_argument("--graph", choices=sorted(SIZES), default="large")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="keeps graphs and installed servers")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--connections", nargs="+", type=int, default=[32, 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="the length of a round")
    options = parser.parse_args()
    options.directory = options.directory.resolve()
    return options


async def prepare(url: str, shapes: Sequence[str]) -> Samples:
    """Make the function that PostGraphile serves as a roadmap, and choose what to ask for."""
    connection = await asyncpg.connect(url)
    try:
        parts, function = read("roadmap_parts", "postgraphile").values()
        await connection.execute(function.replace("/* roadmap_parts.sql */", parts))
        return {shape: await collect(connection, shape) for shape in shapes}
    finally:
        await connection.close()


async def describe(url: str, options: Namespace) -> str:
    """Tell what is measured, where and when."""
    connection = await asyncpg.connect(url)
    try:
        server = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" PostgreSQL {server}, Node.js {node_version(options.directory)}, load average {os.getloadavg()[0]:.1f}\n"
        f"{await count(url)}; {options.rounds} rounds of {options.seconds} s"
    )


def compare(servers: Sequence[Server], shape: Shape, samples: Sequence[Sample]) -> None:
    """Ask all servers the same; exits when their answers are not equal, or there is nothing to ask for."""
    if not samples:
        sys.exit(f"the graph has nothing to ask for in the shape {shape.name}")
    for sample in samples[:COMPARED]:
        expected = canonical(servers[0].ask(shape, sample))
        if not all(expected.values()):
            sys.exit(f"{servers[0].system.name} found nothing for {sample} in the shape {shape.name}")
        for server in servers[1:]:
            if differs := difference(expected, canonical(server.ask(shape, sample))):
                names = f"{servers[0].system.name} and {server.system.name}"
                sys.exit(f"{names} differ in {shape.name} of {sample}, at {differs}")


Bodies = Mapping[tuple[str, str], Path]


@contextmanager
def written(servers: Mapping[str, Server], samples: Samples) -> Iterator[Bodies]:
    """Write all requests to files, by system and shape."""
    with tempfile.TemporaryDirectory() as directory:
        yield {
            (name, shape): write_bodies(server, SHAPES[shape], found, Path(directory))
            for name, server in servers.items()
            for shape, found in samples.items()
        }


Results = Mapping[str, Mapping[str, Result]]


def measure_all(servers: Mapping[str, Server], bodies: Bodies, connections: int, options: Namespace) -> Results:
    """Measure each shape in rounds, each round over all systems, so that the machine's moods meet all alike."""
    results: dict[str, dict[str, Result]] = {}
    for shape in options.shapes:
        rounds: dict[str, list[Round]] = {name: [] for name in servers}
        for name, server in servers.items():
            warm_up(server, SHAPES[shape], bodies[name, shape], connections)
        for number in range(options.rounds):
            for name, server in servers.items():
                rounds[name].append(run(server, SHAPES[shape], bodies[name, shape], connections, options.seconds))
            print(f"{shape}, {connections} connections, round {number + 1}", file=sys.stderr)
        results[shape] = {name: middle(found) for name, found in rounds.items()}
    return results


def table(results: Results, connections: int) -> str:
    """Write the results as a table in Markdown."""
    lines = [
        f"\n{connections} connection{'s' if connections > 1 else ''}\n",
        "| shape | system | requests/s | slowest, fastest | × PostGraphile | × mercurius | p50 ms | p99 ms | KB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for shape, found in results.items():
        for name, result in found.items():
            lines.append(
                f"| {shape} | {SYSTEMS[name].name} | {result.rate:,.0f} | {result.lowest:,.0f}, {result.highest:,.0f}"
                f" | {_ratio(found, name, 'postgraphile')} | {_ratio(found, name, 'mercurius')}"
                f" | {result.p50:.2f} | {result.p99:.2f} | {result.answer_bytes / 1000:.1f} |"
            )
    return "\n".join(lines)


def _ratio(found: Mapping[str, Result], name: str, other: str) -> str:
    return f"{found[name].rate / found[other].rate:.2f}" if other in found else ""


if __name__ == "__main__":
    main()
