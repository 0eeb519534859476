import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from graph import http_protocol, socket_protocol
from tests.loopback import listening
from tests.socket_attacks import HANDSHAKE, PING, frame

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
LARGE = b"x" * 50_000_000


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body and send a large one; of a socket, send back what comes."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": LARGE, "more_body": True})
    await send({"type": "http.response.body"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    for protocol in (http_protocol, socket_protocol):
        monkeypatch.setattr(protocol, "SLOW_SECONDS", 0.5)
    async with listening(large, lifespan="off") as number:
        yield number


def test_slow_clients_are_cut_within_half_a_minute() -> None:
    assert http_protocol.SLOW_SECONDS < 30
    assert socket_protocol.SLOW_SECONDS < 30


@pytest.mark.parametrize(
    "begin", [b"", b"G", HEAD, HEAD + b"X-A: ", BODY], ids=["nothing", "line", "head", "header", "body"]
)
@pytest.mark.parametrize("drip", [b"", b"x"], ids=["silent", "dripping"])
async def test_request_that_does_not_come_is_cut(port: int, begin: bytes, drip: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answering = asyncio.ensure_future(reader.read())
    with suppress(ConnectionError):
        writer.write(begin)
        async with asyncio.timeout(10):
            while not answering.done():
                writer.write(drip)
                await asyncio.sleep(0.05)
    with suppress(ConnectionError):
        assert (await answering).startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


PINGS = frame(b"x" * 125, PING) * 100_000
TEXTS = frame("x" * 200_000) * 100


@pytest.mark.parametrize(
    ("hello", "sent", "answer"),
    [(b"", HEAD + b"\r\n", LARGE), (HANDSHAKE, PINGS, PINGS), (HANDSHAKE, TEXTS, TEXTS)],
    ids=["answer", "pongs", "texts"],
)
async def test_client_that_does_not_read_is_cut(port: int, hello: bytes, sent: bytes, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        if hello:
            await loop.sock_sendall(client, hello)
            await loop.sock_recv(client, 4096)
        with suppress(ConnectionError):
            await asyncio.wait_for(loop.sock_sendall(client, sent), 10)
        await asyncio.sleep(2)
        received = 0
        with suppress(ConnectionError):
            while got := await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 5):
                received += len(got)
        assert received < len(answer) // 2


async def test_idle_connection_between_requests_is_kept(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for pause in (1.2, 0):
        writer.write(HEAD + b"\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 200")
        size = int(await reader.readline(), 16)
        await reader.readexactly(size + 2)
        assert await reader.readline() == b"0\r\n"
        await reader.readline()
        await asyncio.sleep(pause)
    writer.close()
    await writer.wait_closed()


async def test_socket_may_be_silent(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/") as socket_open:
        for _ in range(2):
            await asyncio.sleep(1.2)
            await socket_open.send("are you there?")
            assert await asyncio.wait_for(socket_open.recv(), 10) == "are you there?"
