import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from graph.http_protocol import BoundedProtocol
from graph.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_URL_BYTES
from tests.client import Client, serving
from tests.loopback import on_loopback

PADDING = b'{"query": "{ __typename }", "operationName": null, "variables": {"a": "%b"}}'


def body_of(length: int) -> bytes:
    return PADDING % (b"x" * (length - len(PADDING) + 2))


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@pytest.mark.parametrize("is_length_told", [True, False])
@pytest.mark.parametrize(("length", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)])
async def test_body_is_bounded(atlas: Client, length: int, status: int, is_length_told: bool) -> None:
    body = body_of(length)
    content = body if is_length_told else in_pieces(body)
    response = await atlas.http.post("/graphql", content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    if status == 413:
        (error,) = response.json()["errors"]
        assert error["extensions"]["code"] == "LIMIT"
        assert f"the body has {length} bytes or more: send at most {MAX_BODY_BYTES}" in error["message"]
        assert response.headers["connection"] == "close"


async def test_body_too_large_is_not_read(atlas: Client) -> None:
    async def never() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    headers = {"content-type": "application/json", "content-length": str(10**12)}
    assert (await atlas.http.post("/graphql", content=never(), headers=headers)).status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({f"x-{n}": "1" for n in range(90)}, 200),
        ({f"x-{n}": "1" for n in range(101)}, 431),
        ({"x-a": "a" * (MAX_HEADER_BYTES - 1_000)}, 200),
        ({"x-a": "a" * MAX_HEADER_BYTES}, 431),
    ],
)
async def test_headers_are_bounded(atlas: Client, headers: dict[str, str], status: int) -> None:
    assert (await atlas.http.get("/health/live", headers=headers)).status_code == status


async def test_url_is_bounded_and_the_refusal_has_the_routes_form(atlas: Client) -> None:
    refused = await atlas.http.get("/data?search=" + "x" * MAX_URL_BYTES)
    assert (refused.status_code, refused.json()["code"]) == (414, "LIMIT")
    assert "or send a POST" in refused.json()["error"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/graphql", {}, 101),
        ("/graphql", {f"x-{n}": "1" for n in range(101)}, 431),
        ("/graphql", {f"x-{n}": "a" * 6_000 for n in range(6)}, 431),
        ("/graphql", {f"x-{n}": "1" for n in range(150)}, 400),
        ("/graphql", {"x-a": "a" * 10_000}, 400),
        ("/graphql?a=" + "x" * MAX_URL_BYTES, {}, 400),
    ],
    ids=["ordinary", "many", "together", "too many", "too long", "url"],
)
async def test_request_for_a_socket_is_bounded_too(
    database: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with on_loopback(database) as client:
        url = str(client.http.base_url).replace("http", "ws").rstrip("/") + path
        try:
            async with connect(url, additional_headers=headers):
                answered = 101
        except InvalidStatus as refused:
            answered = refused.response.status_code
        assert answered == status


@pytest.mark.parametrize("place", ["fields", "arguments", "variables", "input fields", "enums"])
async def test_suggestions_can_be_switched_off(server_url: str, database: str, place: str) -> None:
    query, variables = {
        "fields": ('{ node(id: "Q1") { idd } }', {}),
        "arguments": ('{ node(idd: "Q1") { id } }', {}),
        "variables": ("query ($f: EntityFilter) { entities(filter: $f) { totalCount } }", {"f": {"kind": "AGENT"}}),
        "input fields": ("{ entities(filter: {kind: AGENT}) { totalCount } }", {}),
        "enums": ("{ entities(orderBy: NAME_ASK) { totalCount } }", {}),
    }[place]
    for suggestions in (True, False):
        async with serving(database, suggestions=suggestions) as client:
            errors = (await client.answer(query, **variables))["errors"]
            assert ("Did you mean" in str(errors)) is suggestions


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body and answer."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@contextmanager
def quiet(server: uvicorn.Server) -> Iterator[None]:
    """Leave the test's signals alone."""
    yield


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """The port of a server that answers everything with 204."""
    monkeypatch.setattr(uvicorn.Server, "capture_signals", quiet)
    server = uvicorn.Server(uvicorn.Config(nothing, port=0, http=BoundedProtocol, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /", b"x" * 1_000),
        (HEAD + b"X-A: ", b"x" * 1_000),
        (HEAD, b"x" * 1_000),
        (HEAD, b"X-A: b\r\n" * 100),
        (CHUNKED + b"1;", b"x" * 1_000),
        (CHUNKED + b"0\r\n", b"X-A: b\r\n" * 100),
        (CHUNKED + b"0\r\nX-A: ", b"x" * 1_000),
    ],
    ids=["url", "value", "name", "headers", "chunk", "trailers", "trailer"],
)
async def test_endless_head_ends_the_connection(port: int, begin: bytes, piece: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)
    for _ in range(1_000):
        writer.write(piece)
        try:
            await writer.drain()
        except ConnectionError:
            break
    # Nothing is read to its end: the server lets go, in words where the client still listens.
    with suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 204"))
        assert b" 204 " in answer or json.loads(answer.partition(b"\r\n\r\n")[2])["code"] in ("BAD_INPUT", "LIMIT")
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["method", "version", "lengths"],
)
async def test_what_is_no_http_is_told_in_json(port: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/json" in head
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    assert json.loads(answer)["code"] == "BAD_INPUT"
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    "request_of",
    [
        HEAD + b"X-A: " + b"x" * 30_000 + b"\r\n\r\n",
        HEAD + b"X-A: b\r\n" * 90 + b"\r\n",
        CHUNKED + b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n0\r\nX-A: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000,
    ],
    ids=["value", "headers", "chunked", "large"],
)
async def test_ordinary_request_passes_and_another_after_it(port: int, request_of: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(request_of)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 204")
    writer.close()
    await writer.wait_closed()
