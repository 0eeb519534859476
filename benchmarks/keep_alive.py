"""Thousands of idle clients on one worker: keep-alive connections that each ask every few seconds.

    uv run python -m benchmarks.keep_alive
    uv run python -m benchmarks.keep_alive --connections 1000 --rate 200 --seconds 10

5,000 connections together send 600 requests a second for a minute: a page of 20 of the small graph's records
(`benchmarks.graphs`), the same one ("kept") or another each time ("made"). Errors are all but a 200 without `errors`.
"""

import asyncio
import contextlib
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson

from benchmarks.graphs import DIRECTORY, graph

FIELDS = "edges { node { id title value createdAt } } pageInfo { hasNextPage endCursor }"
QUERY = f"query Page($least: Float) {{ data(first: 20, filter: {{ value: {{ gte: $least }} }}) {{ {FIELDS} }} }}"
OPENED_AT_ONCE = 100


class Client:
    """One connection, and what became of its requests."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.seconds: list[float] = []
        self.errors: list[str] = []

    async def open(self, turn: asyncio.Semaphore) -> None:
        """Connect."""
        async with turn:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, is_another: bool) -> None:
        """Send a request and read its answer to the end."""
        variables = {"least": random.uniform(0, 500) if is_another else 0}
        body = orjson.dumps({"query": QUERY, "variables": variables})
        head = b"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        begun = time.perf_counter()
        try:
            self._writer.write(head % len(body) + body)
            answer = await self._reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            content = await self._reader.readexactly(length)
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            self.errors.append(repr(error))
            return
        self.seconds.append(time.perf_counter() - begun)
        if not answer.startswith(b"HTTP/1.1 200") or b'"errors"' in content:
            self.errors.append((answer[:20] + content[:200]).decode(errors="replace"))

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


async def load(port: int, options: Namespace, is_another: bool) -> str:
    """Send the load; return a line of figures."""
    clients = [Client(port) for _ in range(options.connections)]
    turn = asyncio.Semaphore(OPENED_AT_ONCE)
    await asyncio.gather(*(client.open(turn) for client in clients))
    every = options.connections / options.rate
    begun = time.perf_counter()

    async def live(client: Client, number: int) -> None:
        due = begun + every * number / len(clients)
        while due < begun + options.seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await client.ask(is_another)
            due += every

    await asyncio.gather(*(live(client, number) for number, client in enumerate(clients)))
    elapsed = time.perf_counter() - begun
    for client in clients:
        client.close()
    seconds = sorted(second for client in clients for second in client.seconds)
    errors = [error for client in clients for error in client.errors]
    cuts = statistics.quantiles(seconds, n=1_000)
    told = f"; the first: {errors[0]}" if errors else ""
    return (
        f"{len(seconds)} requests in {elapsed:.0f} s, {len(errors)} errors, p50 {cuts[499] * 1000:.1f} ms,"
        f" p99 {cuts[989] * 1000:.1f} ms, the slowest {seconds[-1] * 1000:.0f} ms{told}"
    )


@contextlib.contextmanager
def served(url: str) -> Iterator[int]:
    """Run the API as one process on its own port of loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "graph", "--host", "127.0.0.1", "--port", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=os.environ | {"DATABASE_URL": url}, stdout=quiet, stderr=quiet)
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                    break
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure both kinds."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--rate", type=float, default=600)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with graph("small", options.directory) as url, served(url) as port:
        for name, is_another in (("kept", False), ("made", True)):
            print(f"{name}: {asyncio.run(load(port, options, is_another))}", flush=True)


if __name__ == "__main__":
    main()
