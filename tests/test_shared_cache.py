import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.breaker import MAX_FAILURES, PAUSE_SECONDS
from db.errors import ConfigurationError
from graph.answering import Level
from graph.cache import LASTING_SECONDS, Answer
from graph.redis_link import TIMEOUT_SECONDS, RedisLink
from graph.shared_cache import LOCK_MILLISECONDS, RedisCache
from tests.client import Client, serving
from tests.redis_server import RedisServer, redis_server, way_to

NAME = '{ node(id: "metacademy:ada_boost") { ... on Entity { name } } }'
ANSWER = {"node": {"name": "AdaBoost"}}


async def ask_anew(client: Client) -> object:
    """Ask without the process's own memory."""
    client.app.state.answers.memory.clear()
    return await client.ask(NAME)


async def settled(is_settled: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(200):
        if is_settled():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came true")


async def kept_in(server: RedisServer) -> None:
    for _ in range(100):
        names = await server.keys()
        if names and not any(name.endswith(":lock") for name in names):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"no answer is kept: {names}")


@pytest.mark.usefixtures("patient_cache")
async def test_redis_serves_what_another_process_computed(sample_url: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as one:
        assert await one.ask(NAME) == ANSWER
        await kept_in(server)
        async with serving(sample_url, redis_url=server.url) as other:
            assert await other.ask(NAME) == ANSWER
            assert await other.ask(NAME) == ANSWER
            assert other.app.state.answers.counts == {Level.REDIS: 1, Level.MEMORY: 1}


@pytest.mark.usefixtures("patient_cache")
async def test_processes_compute_the_same_once(sample_url: str, tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        serving(sample_url, redis_url=server.url) as one,
        serving(sample_url, redis_url=server.url) as other,
    ):
        made = []

        async def make() -> Answer:
            made.append(1)
            # Longer than a lock lives that is not renewed.
            await asyncio.sleep(LOCK_MILLISECONDS / 1000 + 0.3)
            return Answer(b"{}", ttl_seconds=LASTING_SECONDS)

        clients = [one, other] * 5
        found = await asyncio.gather(*(client.app.state.answers.find("k", make) for client in clients))
        assert (len(made), {one.kept.body for one in found if one.kept}) == (1, {b"{}"})
        assert sorted({one.level for one in found}) == [Level.COMPUTED, Level.JOINED, Level.REDIS]


@pytest.mark.usefixtures("patient_cache")
async def test_process_that_died_or_failed_keeps_nobody_waiting(sample_url: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as client:
        answers = client.app.state.answers
        version = await answers.newest.get()

        async def make() -> Answer:
            return Answer(b"{}", ttl_seconds=LASTING_SECONDS)

        async with Redis.from_url(server.url) as redis:
            await redis.set(f"atlas:1:{version}:k:lock", b"1", px=LOCK_MILLISECONDS)
        assert (await asyncio.wait_for(answers.find("k", make), 5)).level is Level.COMPUTED


@pytest.mark.usefixtures("patient_cache")
async def test_error_is_not_kept_in_redis(sample_url: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as client:
        assert (await client.refusal('{ node(id: "868") { id } }'))[0] == "BAD_INPUT"
        await client.ask("{ etlRuns { totalCount } }")
        await settled(lambda: not client.app.state.answers._tasks)
        assert await server.keys() == []


async def test_redis_that_hangs_costs_no_answer(sample_url: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as client:
        assert await client.ask(NAME) == ANSWER
        server.hang()
        for _ in range(MAX_FAILURES + 1):
            assert await asyncio.wait_for(ask_anew(client), 5) == ANSWER
        await settled(lambda: client.app.state.answers.shared.link.is_left_alone)


@pytest.mark.usefixtures("patient_cache")
async def test_redis_that_was_killed_is_used_again_when_it_is_back(sample_url: str, tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as client:
        link = client.app.state.answers.shared.link
        assert await client.ask(NAME) == ANSWER
        await server.kill()
        assert await ask_anew(client) == ANSWER
        assert link.is_left_alone
        await server.start()
        await asyncio.sleep(PAUSE_SECONDS)
        assert await ask_anew(client) == ANSWER
        await settled(lambda: not link.is_left_alone)
        assert await ask_anew(client) == ANSWER
        await kept_in(server)


async def test_redis_that_is_slow_or_cut_is_left_alone(sample_url: str, tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        way_to(server) as (way, url),
        serving(sample_url, redis_url=url) as client,
    ):
        link = client.app.state.answers.shared.link
        assert await client.ask(NAME) == ANSWER
        way.delay_seconds = TIMEOUT_SECONDS * 3
        for _ in range(MAX_FAILURES):
            assert await ask_anew(client) == ANSWER
        await settled(lambda: link.is_left_alone)
        # It answers the probe, but as slowly.
        await asyncio.sleep(PAUSE_SECONDS)
        assert await ask_anew(client) == ANSWER
        assert link.is_left_alone
        way.delay_seconds = 0
        await asyncio.sleep(2 * PAUSE_SECONDS)
        assert await ask_anew(client) == ANSWER
        await settled(lambda: not link.is_left_alone)
        way.cut()
        assert await ask_anew(client) == ANSWER


@pytest.mark.usefixtures("patient_cache")
async def test_databases_of_one_redis_do_not_share_answers(
    database: str, engine: AsyncEngine, sample_url: str, tmp_path: Path
) -> None:
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as full:
        number = (await full.ask("{ dataVersion { version } }"))["dataVersion"]["version"]
        assert await full.ask(NAME) == ANSWER
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE data_version SET version = :number"), {"number": number})
        async with serving(database, redis_url=server.url) as empty:
            assert (await empty.ask(NAME))["node"] is None


@pytest.mark.parametrize("value", [b"", b"short", b"atlas"])
@pytest.mark.usefixtures("patient_cache")
async def test_strange_value_in_redis_is_no_answer(sample_url: str, tmp_path: Path, value: bytes) -> None:
    async with redis_server(tmp_path) as server:
        shared = RedisCache(RedisLink(server.url))
        async with Redis.from_url(server.url) as redis:
            await redis.set("atlas:1:v:k", value)
        assert await shared.answer("k", "v") is None
        await shared.link.close()


@pytest.mark.usefixtures("patient_cache")
async def test_redis_that_takes_nothing_is_left_alone_until_it_does(
    sample_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as client:
        direct = Redis.from_url(server.url)
        await direct.config_set("maxmemory-policy", "noeviction")
        await direct.config_set("maxmemory", "1")
        for _ in range(30):
            await ask_anew(client)
            await asyncio.sleep(0.1)
        assert caplog.text.count("Redis is left alone until it answers again") == 1
        assert "Redis answers again" not in caplog.text
        await direct.config_set("maxmemory", "0")
        async with asyncio.timeout(20):
            while "Redis answers again" not in caplog.text:
                await ask_anew(client)
                await asyncio.sleep(0.1)
        await direct.aclose()


async def test_strange_document_in_redis_is_none(sample_url: str, tmp_path: Path) -> None:
    name = "a" * 64
    async with redis_server(tmp_path) as server, serving(sample_url, redis_url=server.url) as client:
        direct = Redis.from_url(server.url)
        await direct.set(f"atlas:1:document:{name}", b"\xff")
        await direct.aclose()
        persisted = {"persistedQuery": {"version": 1, "sha256Hash": name}}
        answer = await client.http.post("/graphql", json={"extensions": persisted})
    assert answer.json()["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"


def test_bad_redis_url_is_told() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        RedisLink("nonsense")
