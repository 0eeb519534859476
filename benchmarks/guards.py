"""What bounds, costs and metrics take of a request: processor time of the server's thread, with them and without.

    uv run python -m benchmarks.guards
    uv run python -m benchmarks.guards --directory /somewhere --rounds 50

The shapes are those of `benchmarks.serving`, over the small graph, given to the server's protocol on several
connections at a time; what sockets take, some 10 µs of a request, is in neither figure. Every answer is computed, then
every answer is one that is kept. Rounds with and without take turns with the same requests, and the median of their
differences is told, with the half of them that is around it. "Without" leaves out the bounds of the server's protocol
and of a request, those of a document and its variables, what an operation costs, and all that metrics need. The parser
has bounds of its own, and so has PostgreSQL: those stay.
"""

import asyncio
import os
import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest.mock import patch

import asyncpg
import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

import graph.app
from benchmarks.graphs import DIRECTORY
from benchmarks.graphs import graph as database_of
from benchmarks.serving.samples import ROADMAP_NODES, collect, walks_of
from benchmarks.serving.shapes import SHAPES, Shape
from benchmarks.serving.uncached import NoAnswers
from db.settings import Settings
from db.statements import Readers
from graph.answering import Answers
from graph.http_protocol import BoundedProtocol
from graph.logs import configure
from graph.metrics import Metrics
from graph.schema import build
from graph.watch import OK, Watch

REQUESTS = 192
"""Of a round: many, since the interpreter runs code slowly that has not run for a while."""
CONNECTIONS = 16
KEPT = 40
"""How many answers are asked for that are kept."""
LENGTH = re.compile(rb"content-length: (\d+)")
HEAD = (
    b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    b"Content-Length: %d\r\n\r\n"
)


def _nothing(*_: Any, **__: Any) -> None:
    pass


class Unseen(Watch):
    """Sees nothing."""

    outcome = OK

    def begin(self, readers: Readers) -> None:
        """Watch nothing."""

    def operation(self, *_: Any) -> Any:
        """Return what may be entered instead."""
        return self

    __enter__ = operation
    __exit__ = _nothing


class Uncounted(Metrics):
    """Counts nothing."""

    count_request = count_operation = watch_loaders = _nothing


class Unbounded(BoundedProtocol):
    """Counts nothing that comes, and lets it come slowly."""

    connection_made = HttpToolsProtocol.connection_made
    on_message_begin = HttpToolsProtocol.on_message_begin

    def data_received(self, data: bytes) -> None:
        """Take a request that comes in one piece."""
        HttpToolsProtocol.data_received(self, data)


class Client(asyncio.Transport):
    """A client and its connection in one, without a socket: it takes in what is written."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._written = bytearray()
        self._answered: asyncio.Future[None] | None = None
        protocol.connection_made(self)

    async def ask(self, body: bytes) -> None:
        """Send a request, and wait for all of the answer."""
        self._written.clear()
        answered = self._answered = asyncio.get_running_loop().create_future()
        self._protocol.data_received(HEAD % len(body) + body)
        await answered

    def write(self, data: Any) -> None:
        """Take in a part of an answer."""
        self._written += data
        found = LENGTH.search(self._written)
        if found is not None and self._answered is not None:
            assert self._written.startswith(b"HTTP/1.1 200"), bytes(self._written[:200])
            if len(self._written) == self._written.index(b"\r\n\r\n") + 4 + int(found[1]):
                self._answered.set_result(None)
                self._answered = None

    def is_closing(self) -> bool:
        """Tell that it goes on."""
        return False

    def get_write_buffer_size(self) -> int:
        """Tell that all was taken in."""
        return 0

    def pause_reading(self) -> None:
        """Send no more than was sent."""

    def resume_reading(self) -> None:
        """Go on."""


@asynccontextmanager
async def served(url: str, answers: type[Answers], *, is_guarded: bool) -> AsyncIterator[list[Client]]:
    """Serve the application, as it is or without its guards, in the block; yields connections to it."""
    parts: dict[str, Any] = {"Answers": answers}
    if not is_guarded:
        parts = {"Answers": type("Uncounted", (answers,), {"_count": _nothing}), "schema": build()}
        parts["schema"].parsed.cost = lambda *_: 0
        parts |= {"RequestBounds": lambda app: app, "Metrics": Uncounted, "Watch": Unseen}
    async with AsyncExitStack() as stack:
        with patch.multiple(graph.app, **parts):
            app = graph.app.create_app(Settings(database_url=None), url)
            await stack.enter_async_context(app.router.lifespan_context(app))
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        kind, state = BoundedProtocol if is_guarded else Unbounded, ServerState()
        yield [Client(kind(config, state, {})) for _ in range(CONNECTIONS)]


async def ask(clients: Sequence[Client], bodies: Sequence[bytes]) -> float:
    """Send requests on all connections, each after the answers to those before; return the seconds of the processor."""
    begun = time.thread_time()
    for first in range(0, len(bodies), len(clients)):
        chosen = bodies[first : first + len(clients)]
        await asyncio.gather(*[client.ask(body) for client, body in zip(clients, chosen, strict=False)])
    return time.thread_time() - begun


async def compare(clients: Mapping[bool, list[Client]], shape: Shape, samples: Sequence[Any], rounds: int) -> str:
    """Return the microseconds of a request without the guards, and those that they take."""
    bodies = cycle([orjson.dumps({"query": shape.query, "variables": sample}) for sample in samples])
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 2):
        # What is made is read anew each time; there are fewer of what is kept, known by their bytes.
        chosen = [body + b" " * (number % 50) * (len(samples) > KEPT) for body in islice(bodies, REQUESTS)]
        for is_guarded in (True, False) if number % 2 else (False, True):
            seconds = await ask(clients[is_guarded], chosen)
            # The first rounds compile, connect and fill the memory.
            if number >= 2:
                found[is_guarded].append(seconds / REQUESTS * 1e6)
    bare = median(found[False])
    low, guards, high = quantiles((one - other for one, other in zip(found[True], found[False], strict=True)), n=4)
    share = guards / (bare + guards)
    return f"{bare:7.1f} µs without, {guards:5.1f} µs more with ({low:.1f} to {high:.1f}): {share:6.1%}"


async def measure(url: str, options: Namespace) -> None:
    """Print a line for each shape, made and kept."""
    connection = await asyncpg.connect(url)
    samples = {name: await collect(connection, name) for name in ("entity", "nested")}
    walks = await walks_of(connection, ROADMAP_NODES, REQUESTS)
    samples["roadmap"] = [{"id": key, "depth": depth} for _, key, depth in walks]
    await connection.close()
    for title, answers in (("made", NoAnswers), ("kept", Answers)):
        async with served(url, answers, is_guarded=True) as guarded, served(url, answers, is_guarded=False) as bare:
            for name, found in samples.items():
                chosen = found if title == "made" else found[:KEPT]
                told = await compare({True: guarded, False: bare}, SHAPES[name], chosen, options.rounds)
                print(f"{name:8} {title}: {told}", flush=True)


def main() -> None:
    """Measure."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    options = parser.parse_args()
    with database_of("small", options.directory) as url, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        configure(nowhere)
        with asyncio.Runner(loop_factory=uvicorn.Config(lambda: None).get_loop_factory()) as runner:
            runner.run(measure(url, options))


if __name__ == "__main__":
    main()
