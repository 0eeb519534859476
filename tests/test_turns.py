import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator

import pytest
import uvicorn

from db.errors import OverloadedError
from graph import turns
from graph.__main__ import _doors
from graph.endpoint import Endpoint
from graph.turns import AT_ONCE, Turn, Turns
from tests.client import Client, serving

KEPT = '{ figureDetail(id: "Q868") { name } }'


async def test_turns_are_given_in_order_and_at_most_so_many() -> None:
    line, taken = Turns(), []

    async def ask(number: int) -> None:
        turn = Turn(line)
        await turn.take()
        await turn.take()
        taken.append(number)
        await asyncio.sleep(0)
        turn.give()
        turn.give()

    held = [Turn(line) for _ in range(AT_ONCE)]
    for turn in held:
        await turn.take()
    asking = [asyncio.create_task(ask(number)) for number in range(5)]
    await asyncio.sleep(0.05)
    assert taken == []
    # Who leaves the line keeps nobody waiting.
    asking[1].cancel()
    held[0].give()
    await asyncio.gather(*asking, return_exceptions=True)
    assert taken == [0, 2, 3, 4]


async def test_who_would_wait_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(turns, "MAX_WAITING", 1)
    line = Turns()
    for _ in range(AT_ONCE):
        await Turn(line).take()
    first = asyncio.create_task(Turn(line).take())
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="1 wait for their turn already"):
        await Turn(line).take()
    with pytest.raises(OverloadedError, match="no turn came"):
        await first


@pytest.fixture
async def busy(sample_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of an API all of whose turns are taken, and that has one answer in memory."""
    async with serving(sample_url) as client:
        await client.ask(KEPT)
        monkeypatch.setattr(turns, "WAIT_SECONDS", 0.05)
        endpoint = client.app.routes[0].app  # type: ignore[attr-defined]
        assert isinstance(endpoint, Endpoint)
        for _ in range(AT_ONCE):
            await Turn(endpoint.turns).take()
        yield client


@pytest.mark.parametrize("query", ['{ figureDetail(id: "Q9061") { name } }', "{ no GraphQL"])
async def test_overload_is_refused_before_the_document_is_read(busy: Client, query: str) -> None:
    response = await busy.http.post("/graphql", json={"query": query})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
    page = (await busy.http.get("/metrics")).text
    assert 'atlas_operations_total{operation="unnamed",outcome="UNAVAILABLE"} 1.0' in page


async def test_what_needs_no_turn_is_answered_meanwhile(busy: Client) -> None:
    assert (await busy.ask(KEPT))["figureDetail"]["name"] == "Aristotle"
    assert (await busy.http.get("/health/ready")).status_code == 200


async def test_slow_sender_holds_no_turn(sample_url: str) -> None:
    sent = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"query": '
        await sent.wait()
        yield b'"{ __typename }"}'

    async with serving(sample_url) as client:
        headers = {"content-type": "application/json"}
        slow = [
            asyncio.create_task(client.http.post("/graphql", content=slowly(), headers=headers)) for _ in range(AT_ONCE)
        ]
        await asyncio.sleep(0.05)
        await client.ask('{ figureDetail(id: "Q9061") { name } }')
        sent.set()
        found = await asyncio.gather(*slow)
    assert {json.dumps(one.json()) for one in found} == {'{"data": {"__typename": "Query"}}'}


def test_busy_server_takes_many_connections_at_once() -> None:
    """The loop's rounds are long when it is busy: they must not be as many as new clients."""
    rounds, clients = 0, 200

    async def count() -> None:
        nonlocal rounds
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        taken = 0

        class Taken(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                nonlocal taken
                taken += 1
                transport.close()

        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Taken, sock=door, backlog=1024) for door in _doors(listener)]
        connecting = [socket.create_connection(listener.getsockname()) for _ in range(clients)]
        while taken < clients:
            rounds += 1
            time.sleep(0.001)  # noqa: ASYNC251 (the loop is held)
            await asyncio.sleep(0)
        for server in servers:
            server.close()
        for one in connecting:
            one.close()

    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(count())
    assert rounds < clients / 4
