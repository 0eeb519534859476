"""Measuring by wrk: rounds, in turn over the systems, and the middle of them."""

import json
import random
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.shapes import Sample, Shape
from benchmarks.serving.systems import CLIENT_CORE, Server

SCRIPT = Path(__file__).parent / "load.lua"
HOT_SAMPLES = 50
"""How many different requests a cached system is asked, over and over."""
WARM_UP_SECONDS = 2


class Round(NamedTuple):
    """What wrk saw in one round; times in milliseconds."""

    rate: float
    p50: float
    p99: float
    answer_bytes: float


class Result(NamedTuple):
    """The medians over the rounds, with the slowest and the fastest round."""

    rate: float
    lowest: float
    highest: float
    p50: float
    p99: float
    answer_bytes: float


def write_bodies(server: Server, shape: Shape, samples: Sequence[Sample], directory: Path) -> Path:
    """Write the requests to a file, a line each."""
    file = directory / f"{server.port}-{shape.name}.bodies"
    chosen = samples[:HOT_SAMPLES] if server.system.is_cached else samples
    file.write_text("".join(f"{server.body(shape, sample)}\n" for sample in chosen), encoding="utf-8")
    return file


def warm_up(server: Server, shape: Shape, bodies: Path, connections: int) -> None:
    """Let a server compile, connect and prepare, and fill its cache if it has one."""
    if server.system.is_cached:
        for body in bodies.read_text(encoding="utf-8").splitlines():
            server.post(shape, body)
    run(server, shape, bodies, connections, WARM_UP_SECONDS)


def run(server: Server, shape: Shape, bodies: Path, connections: int, seconds: float) -> Round:
    """Load a server; raises RuntimeError when any answer was not a good one."""
    command = ["taskset", "--cpu-list", str(CLIENT_CORE), "wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(SCRIPT), server.url(shape)]
    command += ["--", str(bodies), str(random.randrange(2**31))]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"wrk told no result: {output}")
    found = json.loads(line.removeprefix("RESULT "))
    if found["failed"] or found["lost"] or not found["requests"]:
        raise RuntimeError(f"{server.system.name}, {shape.name}: {found}")
    return Round(
        rate=found["requests"] / found["microseconds"] * 1e6,
        p50=found["p50"] / 1000,
        p99=found["p99"] / 1000,
        answer_bytes=found["bytes"] / found["requests"],
    )


def middle(rounds: Sequence[Round]) -> Result:
    """Return the medians."""
    rates = [one.rate for one in rounds]
    return Result(
        rate=statistics.median(rates),
        lowest=min(rates),
        highest=max(rates),
        p50=statistics.median(one.p50 for one in rounds),
        p99=statistics.median(one.p99 for one in rounds),
        answer_bytes=statistics.median(one.answer_bytes for one in rounds),
    )
