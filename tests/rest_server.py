"""A REST API on loopback with JSONPlaceholder's records: every kind of pagination, and answers that go wrong."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_DATA = Path(__file__).parent / "data" / "jsonplaceholder" / "data.json.gz"


@cache
def collections() -> dict[str, list[dict[str, Any]]]:
    """Return the records by collection: 100 posts, 500 comments, 100 albums, 5000 photos, 200 todos, 10 users."""
    found: dict[str, list[dict[str, Any]]] = orjson.loads(gzip.decompress(_DATA.read_bytes()))
    return found


class Server:
    """Serves /{style}/{collection}; the answers in `script` come first, one a request, then `always` if it is set.

    `cap` is the most rows that it gives at once.
    """

    def __init__(self, *script: Handler, always: Handler | None = None, cap: int = 10_000) -> None:
        self.script = list(script)
        self.always = always
        self.cap = cap
        self.asked: list[web.Request] = []

    def queries(self) -> list[dict[str, str]]:
        """Return the parameters of each request."""
        return [dict(request.query) for request in self.asked]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.script:
            return await self.script.pop(0)(request)
        if self.always is not None:
            return await self.always(request)
        return self._page(request, request.match_info["style"], collections()[request.match_info["collection"]])

    def _page(self, request: web.Request, style: str, rows: list[dict[str, Any]]) -> web.Response:
        size = min(int(request.query.get("size", 10_000)), self.cap)
        at = _start(request, size)
        page = rows[at : at + size]
        following = None if at + size >= len(rows) else str(at + size)
        address = f"{request.path}?{'&'.join(f'{k}={v}' for k, v in request.query.items() if k != 'at')}&at={following}"
        if style == "link":
            links = f'<{request.path}>; rel="first"' + (f', <{address}>; rel="last next"' if following else "")
            return reply(page, headers={"Link": links})
        if style == "cursor":
            return reply({"data": {"items": page}, "meta": {"cursor": following}})
        if style == "next":
            return reply({"data": {"items": page}, "next": address if following else None})
        return reply(page)


def _start(request: web.Request, size: int) -> int:
    query = request.query
    if "page" in query:
        return (int(query["page"]) - 1) * size
    return int(query.get("offset") or query.get("cursor") or query.get("at") or 0)


def reply(value: object = None, status: int = 200, body: bytes | None = None, **options: Any) -> web.Response:
    """Make an answer of a JSON value, or of bytes."""
    content = orjson.dumps(value) if body is None else body
    return web.Response(body=content, status=status, content_type="application/json", **options)


def sends(value: object = None, status: int = 200, body: bytes | None = None, **options: Any) -> Handler:
    """Return a handler that gives such an answer."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return reply(value, status, body, **options)

    return handle


def cuts(body: bytes = b'[{"id": 1}, {"id"', announced: int = 100) -> Handler:
    """Return a handler that announces more than it sends and closes the connection."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(announced)})
        await response.prepare(request)
        await response.write(body)
        _hang_up(request)
        return response

    return handle


async def resets(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    _hang_up(request)
    return web.Response()


async def drips(request: web.Request) -> web.StreamResponse:
    """Send a byte at a time, for ever."""
    response = web.StreamResponse()
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" ")
        await asyncio.sleep(0.01)
    return response


def _hang_up(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    """Serve on loopback; gives the address before the style."""
    app = web.Application()
    app.router.add_get("/{style}/{collection}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
