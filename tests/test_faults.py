"""PostgreSQL behind a network that fails; what clients get, and how soon all is well again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text

import graph.app
from db.migrations import upgrade
from db.session import IDLE_SECONDS, write_engine
from graph.execution import Compiling
from graph.schema import build
from tests import small_graph
from tests.client import Client
from tests.loopback import on_loopback
from tests.network import Network, between
from tests.postgres import Postgres, postgres
from tests.redis_server import redis_server

PROMISED_SECONDS = 5
NODE = "query Node($id: ID!) { node(id: $id) { id } }"
KEPT = '{ node(id: "Q868") { id } }'

numbers = count(1)


@pytest.fixture(scope="module")
def server(server_url: str) -> Iterator[Postgres]:
    """A server with the small graph, which each test leaves running."""

    async def load(url: str) -> None:
        engine = write_engine(url)
        await small_graph.load(engine)
        await engine.dispose()

    with postgres("fsync=off") as found:
        upgrade(found.url())
        asyncio.run(load(found.url()))
        yield found


@pytest.fixture
def network(server: Postgres) -> Iterator[Network]:
    with between(server.port) as found:
        yield found


@pytest.fixture
async def client(server: Postgres, network: Network) -> AsyncIterator[Client]:
    """A client of an API whose connections are warm, with its deadline as it is by default."""
    async with on_loopback(server.url(network.port), deadline_seconds=4) as found:
        await asyncio.gather(*(ask_anew(found) for _ in range(4)), found.http.get("/data"))
        yield found


async def ask_anew(client: Client) -> httpx.Response:
    """Ask what no cache has."""
    variables = {"id": f"Q{next(numbers)}"}
    return await client.http.post("/graphql", json={"query": NODE, "variables": variables})


async def ask_all(client: Client) -> list[httpx.Response]:
    """Ask over all ways, several times; each answer is there in the time that is promised."""
    began = time.monotonic()
    found = await asyncio.gather(*(ask_anew(client) for _ in range(4)), *(client.http.get("/data") for _ in range(2)))
    assert time.monotonic() - began < PROMISED_SECONDS
    return found


async def recovered(client: Client) -> None:
    """Wait until all is answered; fails after the time that is promised."""
    async with asyncio.timeout(PROMISED_SECONDS):
        while {answer.status_code for answer in await ask_all(client)} != {200}:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def check_passing(answers: list[httpx.Response]) -> None:
    for answer in answers:
        assert answer.status_code in (503, 504), answer.text
        assert answer.headers["retry-after"] == "1"
        assert '"UNAVAILABLE"' in answer.text or '"TIMEOUT"' in answer.text
        assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("fault", ["reset", "cut"])
@pytest.mark.parametrize("compiling", [Compiling.ALWAYS, Compiling.NEVER])
async def test_broken_connections_are_not_seen(
    server: Postgres, network: Network, monkeypatch: pytest.MonkeyPatch, fault: str, compiling: Compiling
) -> None:
    monkeypatch.setitem(vars(graph.app), "schema", build(compiling=compiling))
    async with on_loopback(server.url(network.port)) as client:
        for _ in range(3):
            assert {answer.status_code for answer in await ask_all(client)} == {200}
            assert (await client.http.get("/health/ready")).status_code == 200
            getattr(network, fault)()


@pytest.mark.parametrize("compiling", [Compiling.ALWAYS, Compiling.NEVER])
async def test_read_that_met_a_reset_is_made_once_more(
    server: Postgres, network: Network, monkeypatch: pytest.MonkeyPatch, compiling: Compiling
) -> None:
    monkeypatch.setitem(vars(graph.app), "schema", build(compiling=compiling))
    engine = write_engine(server.url())
    async with on_loopback(server.url(network.port)) as client, engine.connect() as blocker:
        await blocker.execute(text("LOCK TABLE entity, record IN ACCESS EXCLUSIVE MODE"))
        asking = [asyncio.ensure_future(one) for one in (ask_anew(client), client.http.get("/data"))]
        await asyncio.sleep(1)
        await asyncio.to_thread(network.reset)
        await asyncio.sleep(0.5)
        await blocker.rollback()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200, 200]
    await engine.dispose()


async def test_silent_network_is_told_in_time_and_recovered_from(client: Client, network: Network) -> None:
    network.blackhole()
    for _ in range(2):
        check_passing(await ask_all(client))
    network.restore()
    await recovered(client)


async def test_connections_forgotten_in_silence_are_replaced(client: Client, network: Network) -> None:
    # As a middle box that loses its table: no connection of before works again, and nobody says so.
    network.blackhole()
    await asyncio.sleep(1.5)
    network.restore()
    network.reset()
    await recovered(client)


async def test_connections_that_fell_silent_while_idle_are_replaced(client: Client, server: Postgres) -> None:
    # Their kernel goes on to acknowledge what is sent, so that only an answer would tell that they live.
    await asyncio.sleep(2 * IDLE_SECONDS + 0.5)
    engine = write_engine(server.url())
    async with engine.connect() as connection:
        sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'chronos-atlas graph'"
        silent = [psutil.Process(pid) for (pid,) in await connection.execute(text(sql))]
    await engine.dispose()
    assert len(silent) >= 4
    for process in silent:
        process.suspend()
    try:
        assert {answer.status_code for answer in await ask_all(client)} == {200}
        assert (await client.http.get("/health/ready")).status_code == 200
    finally:
        for process in silent:
            with suppress(psutil.NoSuchProcess):
                process.resume()


async def test_crashed_server_is_told_and_recovered_from(client: Client, server: Postgres) -> None:
    assert (await client.http.post("/graphql", json={"query": KEPT})).json()["data"]["node"]
    await asyncio.to_thread(server.crash)
    try:
        check_passing(await ask_all(client))
        outdated = (await client.http.post("/graphql", json={"query": KEPT})).json()
        assert (outdated["data"]["node"], outdated["extensions"]["cache"]["level"]) == ({"id": "Q868"}, "outdated")
        check_passing(await ask_all(client))
        ready = await client.http.get("/health/ready")
        assert (ready.status_code, ready.json()["breakers"]) == (503, {"database": "open"})
        assert (await client.http.get("/health/live")).status_code == 200
        assert 'atlas_breaker_open{dependency="database"} 1.0' in (await client.http.get("/metrics")).text
    finally:
        await asyncio.to_thread(server.start)
    await recovered(client)
    ready = await client.http.get("/health/ready")
    assert (ready.status_code, ready.json()["breakers"]) == (200, {"database": "closed"})


async def test_slow_network_is_told_in_time(client: Client, network: Network) -> None:
    network.delay(3)
    check_passing(await ask_all(client))
    network.restore()
    await recovered(client)


async def test_overload_is_refused_early(server: Postgres) -> None:
    engine = write_engine(server.url())
    async with on_loopback(server.url(), pool_size=2, deadline_seconds=30) as client, engine.connect() as blocker:
        await ask_anew(client)
        await blocker.execute(text("LOCK TABLE entity IN ACCESS EXCLUSIVE MODE"))
        asking = {asyncio.ensure_future(ask_anew(client)) for _ in range(20)}
        refused, waiting = await asyncio.wait(asking, timeout=PROMISED_SECONDS)
        check_passing([one.result() for one in refused])
        assert "More is asked for" in next(iter(refused)).result().text
        assert 0 < len(waiting) <= 2
        await blocker.rollback()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    await engine.dispose()


async def test_connections_are_forty_at_most(server: Postgres) -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chronos-atlas graph'"
    engine = write_engine(server.url()).execution_options(isolation_level="AUTOCOMMIT")
    async with on_loopback(server.url(), pool_size=38) as client, engine.connect() as looking:
        asking = asyncio.gather(
            *(ask_anew(client) for _ in range(200)),
            *(client.http.get("/data") for _ in range(100)),
            *(client.http.get("/health") for _ in range(50)),
        )
        counts = []
        while not asking.done():
            counts.append((await looking.execute(text(sql))).scalar_one())
            await asyncio.sleep(0.01)
        assert {answer.status_code for answer in await asking} <= {200, 503}
        assert 10 < max(counts) <= 40
    await engine.dispose()


@pytest.mark.parametrize("fault", ["reset", "cut", "blackhole", "slow"])
async def test_redis_that_fails_costs_no_answer(server: Postgres, tmp_path: Path, fault: str) -> None:
    async with redis_server(tmp_path) as redis:
        with between(redis.port) as network:
            url = f"redis://127.0.0.1:{network.port}/0"
            settings = {"redis_url": url, "query_budget_per_minute": 10**9}
            async with on_loopback(server.url(), deadline_seconds=4, **settings) as client:
                assert {answer.status_code for answer in await ask_all(client)} == {200}
                if fault == "slow":
                    network.delay(0.5)
                else:
                    getattr(network, fault)()
                for _ in range(3):
                    assert {answer.status_code for answer in await ask_all(client)} == {200}
