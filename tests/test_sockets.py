import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from db.session import write_engine
from graph import sockets
from graph.cache import Answer
from graph.limits import MAX_BODY_BYTES, MAX_SOCKET_OPERATIONS
from graph.tokens import LEEWAY_SECONDS
from tests import small_graph
from tests.attacks import ATTACKS, Attack
from tests.client import Client
from tests.conftest import Clone
from tests.legitimate import LEGITIMATE
from tests.loopback import on_loopback
from tests.socket_attacks import FLOODS, FRAMES, SocketAttack, open_socket
from tests.test_attacks import INTERNALS
from tests.tokens import SETTINGS, bearer

PROTOCOL = Subprotocol("graphql-transport-ws")
QUERY = '{ figureDetail(id: "Q9061") { name } }'
MAX_LOG_BYTES = 1024


@pytest.fixture(scope="module")
async def url(clone: Clone, migrated: str) -> str:
    found = await asyncio.to_thread(clone, migrated)
    engine = write_engine(found)
    await small_graph.load(engine)
    await engine.dispose()
    return found


@pytest.fixture(scope="module")
async def served(url: str) -> AsyncIterator[Client]:
    async with on_loopback(url) as client:
        yield client


@asynccontextmanager
async def connected(client: Client, payload: Any = None, **options: Any) -> AsyncIterator[ClientConnection]:
    """Connect, and say hello."""
    async with opened(client, **options) as socket:
        await send(socket, type="connection_init", payload=payload)
        assert await receive(socket) == {"type": "connection_ack"}
        yield socket


def opened(client: Client, **options: Any) -> connect:
    url = str(client.http.base_url.copy_with(scheme="ws", path="/graphql"))
    return connect(url, **{"subprotocols": [PROTOCOL], "compression": None} | options)


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def receive(socket: ClientConnection) -> dict[str, Any]:
    received: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 20))
    return received


async def closed(socket: ClientConnection) -> int:
    """Wait until the server closes; returns its code."""
    await asyncio.wait_for(socket.wait_closed(), 20)
    assert socket.close_code is not None
    return socket.close_code


async def test_operation_is_answered_as_over_http(served: Client) -> None:
    async with connected(served) as socket:
        await send(socket, id="a", type="subscribe", payload={"query": QUERY})
        assert await receive(socket) == {"id": "a", "type": "next", "payload": await served.answer(QUERY)}
        assert await receive(socket) == {"id": "a", "type": "complete"}
        await send(socket, type="ping")
        assert await receive(socket) == {"type": "pong"}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"query": "{"}, "SYNTAX"),
        ({"query": "{ nothing }"}, "VALIDATION"),
        ({"query": "subscription { nothing }"}, "VALIDATION"),
        ({"query": ""}, "BAD_INPUT"),
        ({"query": 7}, "BAD_INPUT"),
        ({"query": "query ($a: Int) { __typename }", "variables": []}, "BAD_INPUT"),
        ({"query": "{ a: __typename " + " ".join(f"a{n}: __typename" for n in range(16)) + "}"}, "LIMIT"),
        ({"query": "mutation { a }"}, "VALIDATION"),
    ],
)
async def test_refused_operation_is_one_error_message(served: Client, payload: dict[str, Any], code: str) -> None:
    async with connected(served) as socket:
        await send(socket, id="a", type="subscribe", payload=payload)
        message = await receive(socket)
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", code)
        await send(socket, id="a", type="subscribe", payload={"query": QUERY})
        assert (await receive(socket))["type"] == "next"


async def test_subscription_tells_every_version(clone: Clone, migrated: str) -> None:
    url = await asyncio.to_thread(clone, migrated)
    engine = write_engine(url)
    async with on_loopback(url) as client, connected(client) as socket:
        await send(socket, id="a", type="subscribe", payload={"query": "subscription { dataVersion { version } }"})
        versions = []
        for _ in range(3):
            message = await receive(socket)
            versions.append(message["payload"]["data"]["dataVersion"]["version"])
            async with engine.begin() as connection:
                await connection.execute(text("UPDATE data_version SET version = version + 1, raised_at = now()"))
        assert versions == [0, 1, 2]
        await send(socket, id="a", type="complete")
        await send(socket, id="a", type="subscribe", payload={"query": "{ __typename }"})
        while (message := await receive(socket))["payload"]["data"] != {"__typename": "Query"}:
            assert message["type"] == "next"
    await engine.dispose()


async def test_subscription_over_http_is_refused(served: Client) -> None:
    assert (await served.refusal("subscription { dataVersion { version } }"))[0] == "VALIDATION"


MESSAGES = [
    ([b"\0\1"], 4400),
    (["not JSON"], 4400),
    (["[]"], 4400),
    (["7"], 4400),
    (["{}"], 4400),
    (['{"type": 7}'], 4400),
    (['{"type": "start"}'], 4401),
    (['{"type": "subscribe", "id": "a", "payload": {"query": "{ __typename }"}}'], 4401),
    (['{"type": "connection_init"}', '{"type": "connection_init"}'], 4429),
    (['{"type": "connection_init"}', '{"type": "start"}'], 4400),
    (['{"type": "connection_init"}', '{"type": "subscribe", "payload": {"query": "{ __typename }"}}'], 4400),
    (['{"type": "connection_init"}', '{"type": "subscribe", "id": 7, "payload": {}}'], 4400),
    (['{"type": "connection_init"}', '{"type": "subscribe", "id": "a"}'], 4400),
    (['{"type": "connection_init"}', '{"type": "complete"}'], 4400),
    (['{"type": "connection_init"}', '{"type": "subscribe", "id": "' + "a" * 101 + '", "payload": {}}'], 4400),
    (['{"type": "connection_init"}', '{"type": "subscribe", "id": "\\ud800", "payload": {}}'], 4400),
    (['{"type": "connection_init", "payload": {"x": "' + "x" * MAX_BODY_BYTES + '"}}'], 1009),
    (["[" * 100_000], 4400),
]


@pytest.mark.parametrize(("messages", "code"), MESSAGES, ids=lambda value: str(value)[:60])
async def test_odd_message_closes_the_socket_with_its_code(
    served: Client, messages: list[str | bytes], code: int
) -> None:
    async with opened(served) as socket:
        for message in messages:
            await socket.send(message)
        assert await closed(socket) == code


@pytest.mark.parametrize("attack", [*FLOODS, *FRAMES], ids=lambda attack: attack.name)
async def test_attack_by_frames_is_survived_or_closes_the_socket(
    served: Client, attack: SocketAttack, logged: io.StringIO
) -> None:
    assert served.http.base_url.port is not None
    socket = await open_socket(served.http.base_url.port)
    # It does not hang.
    received = await socket.sent(attack)
    await socket.close()
    assert not INTERNALS.search(received.decode("latin-1"))
    assert len(logged.getvalue()) <= MAX_LOG_BYTES


async def test_same_id_twice_closes_the_socket(served: Client) -> None:
    async with connected(served) as socket:
        for _ in range(2):
            await send(socket, id="a", type="subscribe", payload={"query": "subscription { dataVersion { version } }"})
        assert await closed(socket) == 4409


async def test_operations_of_a_socket_are_bounded(served: Client) -> None:
    async with connected(served) as socket:
        for number in range(MAX_SOCKET_OPERATIONS + 1):
            payload = {"query": "subscription { dataVersion { version } }"}
            await send(socket, id=str(number), type="subscribe", payload=payload)
        assert await closed(socket) == 1008


async def test_other_protocol_is_refused(served: Client) -> None:
    async with opened(served, subprotocols=None) as socket:
        assert await closed(socket) == 4406


async def test_silent_client_is_let_go(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKET_INIT_SECONDS", 0.1)
    async with opened(served) as socket:
        assert await closed(socket) == 4408


async def test_old_socket_is_closed(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_SOCKET_SECONDS", 0.2)
    async with connected(served) as socket:
        assert await closed(socket) == 1012


async def test_sockets_of_a_process_are_bounded(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_SOCKETS", 1)
    async with connected(served), opened(served) as second:
        assert await closed(second) == 1013


async def test_foreign_page_may_not_connect(served: Client) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(served, origin="https://elsewhere.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_socket_that_closes_ends_its_operations(served: Client) -> None:
    async with connected(served) as socket:
        await send(socket, id="a", type="subscribe", payload={"query": "subscription { dataVersion { version } }"})
        await receive(socket)
        assert [task for task in asyncio.all_tasks() if "_Socket._run" in repr(task)]
    for _ in range(100):
        if not [task for task in asyncio.all_tasks() if "_Socket._run" in repr(task)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the operation goes on")


async def test_failure_is_told_and_logged(served: Client, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise KeyError("inside")

    monkeypatch.setattr("graph.endpoint.Endpoint.make", fail)
    async with connected(served) as socket:
        await send(socket, id="a", type="subscribe", payload={"query": '{ figureDetail(id: "Q41390") { name } }'})
        message = await receive(socket)
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "INTERNAL")
        assert "inside" not in json.dumps(message)
    assert "an operation of a socket failed" in logged.getvalue()


async def test_client_that_leaves_before_its_answers_is_no_failure(
    served: Client, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = asyncio.Event()

    async def make(*_: Any) -> Answer:
        await made.wait()
        return Answer(b"{}")

    monkeypatch.setattr("graph.endpoint.Endpoint.make", make)
    for number in range(10):
        made.clear()
        async with connected(served) as socket:
            for other in range(15):
                query = f"{{ a{number}_{other}: {QUERY[2:]}"
                await send(socket, id=str(other), type="subscribe", payload={"query": query})
            await asyncio.sleep(0.1)
            socket.transport.abort()
            # At some moment the server knows, but not yet what answers.
            for _ in range(number):
                await asyncio.sleep(0)
            made.set()
    await asyncio.sleep(0.2)
    assert "Traceback" not in logged.getvalue()


async def test_token_in_the_first_message_tells_the_caller(url: str) -> None:
    query = "{ etlRuns(first: 1) { edges { node { error } } } }"
    async with on_loopback(url, **SETTINGS) as client:
        async with connected(client) as socket:
            await send(socket, id="a", type="subscribe", payload={"query": query})
            message = await receive(socket)
            assert message["payload"][0]["extensions"]["code"] == "FORBIDDEN", message
        async with connected(client, bearer("operator")) as socket:
            await send(socket, id="a", type="subscribe", payload={"query": query})
            assert (await receive(socket))["type"] == "next"
        async with opened(client) as socket:
            await send(socket, type="connection_init", payload={"authorization": "Bearer nonsense"})
            assert await closed(socket) == 4403


async def test_socket_is_closed_when_its_token_expires(url: str) -> None:
    async with on_loopback(url, **SETTINGS) as client:
        for name in ("payload", "additional_headers"):
            # It has expired, but for the leeway.
            expiring = bearer("reader", exp=time.time() - LEEWAY_SECONDS + 2)
            async with connected(client, **{name: expiring}) as socket:
                await send(socket, type="ping")
                assert await receive(socket) == {"type": "pong"}
                assert await closed(socket) == 4403
                assert "expired" in (socket.close_reason or "")


OPERATIONS = [one for one in ATTACKS if one.method == "POST" and one.url == "/graphql" and one.content is not None]


@pytest.mark.parametrize("attack", OPERATIONS, ids=lambda attack: attack.name)
async def test_attack_is_answered_as_over_http(served: Client, attack: Attack) -> None:
    message = b'{"id": "a", "type": "subscribe", "payload": %b}' % (attack.content or b"")
    async with connected(served) as socket:
        try:
            # As a text, whatever it is.
            await socket.send(message, text=True)
            received = await receive(socket)
        except ConnectionClosed:
            assert socket.close_code in (1007, 1009, 4400)
            return
        assert received["type"] in ("next", "error")
        assert "INTERNAL" not in json.dumps(received)
        assert not INTERNALS.search(json.dumps(received))


@pytest.mark.parametrize("request_", LEGITIMATE, ids=lambda request: request.name)
async def test_legitimate_operation_works(served: Client, request_: Attack) -> None:
    if request_.method != "POST" or request_.url != "/graphql":
        return
    async with connected(served) as socket:
        await send(socket, id="a", type="subscribe", payload=json.loads(request_.content or b""))
        received = await receive(socket)
        assert received["type"] == "next"
        assert "errors" not in received["payload"]
