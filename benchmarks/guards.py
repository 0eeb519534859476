"""What bounds, costs and metrics take of a request: processor time in this process, with them and without.

    uv run python -m benchmarks.guards
    uv run python -m benchmarks.guards --directory /somewhere --rounds 50

The shapes are those of `benchmarks.serving`, over the small graph; every answer is computed, then every answer is one
that is kept. Rounds with and without take turns, and the median of each is told. "Without" leaves out the bounds of a
request, those of a document and its variables, what an operation costs, and every metric. The parser has bounds of its
own, and so have graph.http_protocol and PostgreSQL: those stay.
"""

import asyncio
import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

import graph.app
from benchmarks.graphs import DIRECTORY
from benchmarks.graphs import graph as database_of
from benchmarks.hits import ask
from benchmarks.serving.samples import ROADMAP_NODES, collect, walks_of
from benchmarks.serving.shapes import SHAPES, Shape
from benchmarks.serving.uncached import NoAnswers
from db.settings import Settings
from graph.answering import Answers
from graph.logs import configure
from graph.metrics import Metrics
from graph.parsed import ParsedDocuments
from graph.request_bounds import RequestBounds

REQUESTS = 40


async def _pass_on(bounds: Any, scope: Scope, receive: Receive, send: Send) -> None:
    await bounds._app(scope, receive, send)


def _nothing(*_: Any, **__: Any) -> None:
    pass


@contextmanager
def without_guards() -> Iterator[None]:
    """Leave the bounds, the costs and the metrics out in the block."""
    counting = [name for name in vars(Metrics) if name.startswith("count_")] + ["watch_loaders"]
    with ExitStack() as stack:
        stack.enter_context(patch.object(RequestBounds, "__call__", _pass_on))
        stack.enter_context(patch.object(ParsedDocuments, "cost", _nothing))
        for name in counting:
            stack.enter_context(patch.object(Metrics, name, _nothing))
        yield


async def compare(app: Starlette, shape: Shape, samples: Sequence[Any], rounds: int) -> str:
    """Return the microseconds of a request with the guards and without, and what they take of it."""
    bodies = cycle([orjson.dumps({"query": shape.query, "variables": sample}) for sample in samples])
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * rounds + 4):
        is_guarded = number % 2 == 0
        with ExitStack() as stack:
            if not is_guarded:
                stack.enter_context(without_guards())
            begun = time.process_time()
            for body in islice(bodies, REQUESTS):
                await ask(app, body)
            # The first rounds compile, connect and fill the memory.
            if number >= 4:
                found[is_guarded].append((time.process_time() - begun) / REQUESTS * 1e6)
    guarded, bare = median(found[True]), median(found[False])
    return f"{guarded:7.0f} µs with, {bare:7.0f} µs without: {(guarded - bare) / guarded:6.1%}"


async def measure(url: str, options: Namespace) -> None:
    """Print a line for each shape, made and kept."""
    connection = await asyncpg.connect(url)
    samples = {name: await collect(connection, name) for name in ("entity", "nested")}
    walks = await walks_of(connection, ROADMAP_NODES, REQUESTS)
    samples["roadmap"] = [{"id": key, "depth": depth} for _, key, depth in walks]
    await connection.close()
    for title, answers in (("made", NoAnswers), ("kept", Answers)):
        with patch.object(graph.app, "Answers", answers):
            app = graph.app.create_app(Settings(database_url=None), url)
            async with app.router.lifespan_context(app):
                for name, found in samples.items():
                    chosen = found if title == "made" else found[:REQUESTS]
                    print(f"{name:8} {title}: {await compare(app, SHAPES[name], chosen, options.rounds)}", flush=True)


def main() -> None:
    """Measure."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    options = parser.parse_args()
    with database_of("small", options.directory) as url, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        configure(nowhere)
        asyncio.run(measure(url, options))


if __name__ == "__main__":
    main()
