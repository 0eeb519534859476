"""The API on a port of loopback, as a real server serves it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import httpx
import uvicorn
from starlette.types import ASGIApp

from db.settings import Settings
from graph.app import create_app
from graph.http_protocol import BoundedProtocol
from graph.socket_protocol import WEBSOCKETS
from tests.client import Client


@contextmanager
def _quiet(_: uvicorn.Server) -> Iterator[None]:
    yield


@asynccontextmanager
async def listening(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """Serve an application; yields the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=BoundedProtocol, log_config=None, **WEBSOCKETS, **options))
    with patch.object(uvicorn.Server, "capture_signals", _quiet):
        running = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def on_loopback(url: str, **settings: Any) -> AsyncIterator[Client]:
    """Serve the database at a URL."""
    app = create_app(Settings(database_url=None, **{"deadline_seconds": 60} | settings), url)
    async with (
        listening(app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        yield Client(app, http)
