"""Statements are looked for in pg_stat_activity, from a connection of the test's own."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import graph.app
from db.session import write_engine
from graph.context import Context
from graph.execution import Compiling
from graph.schema import build
from tests import small_graph
from tests.client import Client, serving
from tests.loopback import on_loopback

NODE = '{ node(id: "Q868") { id } }'
NESTED = '{ figureDetail(id: "Q868") { influencedBy { name } works { id } } }'

Ask = Callable[[httpx.AsyncClient, dict[str, str]], Awaitable[httpx.Response]]


def graphql(query: str) -> Ask:
    return lambda http, headers: http.post("/graphql", json={"query": query}, headers=headers)


def rest(path: str) -> Ask:
    return lambda http, headers: http.get(path, headers=headers)


WAYS: dict[str, tuple[Compiling, str, Ask]] = {
    "compiled": (Compiling.ALWAYS, "entity", graphql(NODE)),
    "executed": (Compiling.NEVER, "entity", graphql(NODE)),
    "loaded": (Compiling.NEVER, "influence", graphql(NESTED)),
    "rest": (Compiling.NEVER, "record", rest("/data")),
}


class Blocked:
    """A server one of whose tables is locked: what reads it waits in PostgreSQL."""

    def __init__(self, client: Client, ask: Ask, locking: AsyncConnection, looking: AsyncConnection) -> None:
        self.client = client
        self.ask = ask
        self.locking = locking
        self._looking = looking

    async def running(self) -> int:
        """Count the statements that run for the API."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        found = await self._looking.execute(text(f"{sql} AND application_name = 'chronos-atlas graph'"))
        return int(found.scalar_one())

    async def until(self, count: int) -> None:
        """Wait until so many run; fails after 5 seconds."""
        async with asyncio.timeout(5):
            while await self.running() != count:  # noqa: ASYNC110 - nor has PostgreSQL
                await asyncio.sleep(0.02)


@pytest.fixture(params=WAYS)
async def blocked(
    request: pytest.FixtureRequest, database: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Blocked]:
    compiling, table, ask = WAYS[request.param]
    await small_graph.load(engine)
    async with blocking(database, compiling, table, ask, monkeypatch) as found:
        yield found
    gc.collect()


@asynccontextmanager
async def blocking(
    url: str, compiling: Compiling, table: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Blocked]:
    monkeypatch.setitem(vars(graph.app), "schema", build(compiling=compiling))
    blocker = write_engine(url)
    async with on_loopback(url) as client, blocker.connect() as locking, blocker.connect() as looking:
        await locking.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        # A transaction would see the same activity all the time.
        await looking.execution_options(isolation_level="AUTOCOMMIT")
        yield Blocked(client, ask, locking, looking)
        await locking.rollback()
    await blocker.dispose()


async def test_deadline_cancels_the_statement(blocked: Blocked) -> None:
    asking = asyncio.ensure_future(blocked.ask(blocked.client.http, {"X-Request-Timeout": "1"}))
    await blocked.until(1)
    response = await asking
    assert (response.status_code, response.headers["retry-after"]) == (504, "1")
    assert b'"TIMEOUT"' in response.content
    assert b"over 1 s" in response.content
    await blocked.until(0)


async def test_client_that_leaves_takes_its_statement_along(blocked: Blocked) -> None:
    asking = asyncio.ensure_future(blocked.ask(blocked.client.http, {}))
    await blocked.until(1)
    asking.cancel()
    await blocked.until(0)


async def test_who_leaves_takes_nothing_from_others(
    database: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small_graph.load(engine)
    compiling, table, ask = WAYS["loaded"]
    async with blocking(database, compiling, table, ask, monkeypatch) as blocked:
        first, second, third = (asyncio.ensure_future(ask(blocked.client.http, {})) for _ in range(3))
        await blocked.until(1)
        first.cancel()
        second.cancel()
        await asyncio.sleep(0.3)
        assert await blocked.running() == 1
        await blocked.locking.rollback()
        assert (await third).json()["data"]["figureDetail"]["influencedBy"]


async def test_loaders_wake_all_who_wait(database: str, engine: AsyncEngine) -> None:
    await small_graph.load(engine)
    async with serving(database) as client, engine.connect() as connection:
        context = Context(client.app.state.engine)
        await connection.execute(text("LOCK TABLE entity IN ACCESS EXCLUSIVE MODE"))
        waiting = [asyncio.ensure_future(context.loaders.entities_by_id.load(number)) for number in range(5)]
        await asyncio.sleep(0.2)
        await context.close()
        found: list[Any] = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert {type(one) for one in found} == {TimeoutError}


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan"])
@pytest.mark.parametrize("ask", [graphql(NODE), rest("/data")], ids=["graphql", "rest"])
async def test_deadline_that_is_none_is_refused(atlas: Client, ask: Ask, value: str) -> None:
    response = await ask(atlas.http, {"X-Request-Timeout": value})
    assert b'"BAD_INPUT"' in response.content
    assert f"X-Request-Timeout is '{value}': give a number of seconds".encode() in response.content


async def test_header_cannot_raise_the_deadline(database: str, engine: AsyncEngine) -> None:
    async with serving(database, deadline_seconds=0.3) as client, engine.connect() as connection:
        await connection.execute(text("LOCK TABLE entity IN ACCESS EXCLUSIVE MODE"))
        response = await asyncio.wait_for(graphql(NODE)(client.http, {"X-Request-Timeout": "100"}), 10)
        assert response.status_code == 504
