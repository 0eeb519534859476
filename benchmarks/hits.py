"""How long the API takes for an answer that is kept: microseconds in this process, without a network.

    uv run python -m benchmarks.hits
    REDIS_URL=redis://localhost:6379/0 uv run python -m benchmarks.hits

The database is that of the settings, with the sample. The least of many rounds is told, since other programs disturb.
"""

import asyncio
import os
import time
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.types import Message

from db.embedded import database
from db.settings import Settings
from graph.app import create_app
from graph.logs import configure

QUERIES = {
    "entity": '{ entity(id: "Q868") { id kind name description isStub start { year } } }',
    "page": "{ entities(first: 100) { edges { node { id kind name description isStub start { year } } } } }",
}
ROUNDS, REQUESTS = 60, 50


def main() -> None:
    """Measure, and print a line for each query and level."""
    settings = Settings()
    with database(settings) as url, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        configure(nowhere)
        asyncio.run(measure(create_app(settings, url), settings.redis_url is not None))


async def measure(app: Starlette, has_redis: bool) -> None:
    """Ask each query again and again."""
    async with app.router.lifespan_context(app):
        for name, query in QUERIES.items():
            body = orjson.dumps({"query": query})
            size = await ask(app, body)
            # What was computed is being sent to Redis.
            await asyncio.sleep(0.2)
            print(f"{name}, {size:,} bytes, from memory: {await least(app, body, False):.0f} µs")
            if has_redis:
                print(f"{name}, {size:,} bytes, from Redis: {await least(app, body, True):.0f} µs")


async def least(app: Starlette, body: bytes, without_memory: bool) -> float:
    """Return the microseconds of a request, in the round that was disturbed least."""
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(REQUESTS):
            if without_memory:
                app.state.answers.memory.clear()
            await ask(app, body)
        found.append((time.perf_counter() - begun) / REQUESTS)
        await asyncio.sleep(0.005)
    return min(found) * 1e6


async def ask(app: Starlette, body: bytes) -> int:
    """Send a request as the server does; returns how many bytes the answer has."""
    size = 0
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        for message in messages:
            return message
        # The client stays.
        return await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        nonlocal size
        size += len(message.get("body", b""))

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/graphql", "root_path": "", "scheme": "http"}
    scope |= {"raw_path": b"/graphql", "query_string": b"", "state": {}}
    headers = [(b"host", b"atlas"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await app(scope | {"headers": headers}, receive, send)
    return size


if __name__ == "__main__":
    main()
