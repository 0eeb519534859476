import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import generated_dump
from etl import files, pipeline
from etl.files import LocalFile, RemoteFile
from etl.pipeline import Options
from etl.source import SourceError
from etl.sources.wikidata_dump import WikidataDump

CONTENT = bytes(range(256)) * 4000


@asynccontextmanager
async def serving(server: "Server") -> AsyncIterator[str]:
    """Serve on loopback; gives the URL of the server's file."""
    app = web.Application()
    app.router.add_get("/file", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/file"
    finally:
        await runner.cleanup()


class Server:
    """A server that sends at most `limit` bytes and cuts the connection then."""

    def __init__(self, content: bytes = CONTENT, limit: int = 1 << 30, has_ranges: bool = True) -> None:
        self.content, self.limit, self.has_ranges = content, limit, has_ranges
        self.statuses: list[int] = []
        self.etag = '"one"'
        self.asked: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), headers={"Retry-After": "0"})
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.has_ranges else 0
        if start >= len(self.content):
            return web.Response(status=416)
        headers = {"ETag": self.etag, "Content-Length": str(len(self.content) - start)}
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        await response.write(self.content[start : start + self.limit])
        if len(self.content) - start > self.limit:
            # The connection is lost in the middle of the answer.
            assert request.transport is not None
            request.transport.close()
            if not self.has_ranges:
                self.limit *= 2
        return response


async def read_all(blocks: AsyncIterator[bytes]) -> bytes:
    return b"".join([block async for block in blocks])


async def read(url: str, offset: int = 0) -> bytes:
    return await read_all(RemoteFile(url, first_wait_seconds=0.01).blocks(offset))


@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("offset", [0, 700_000])
async def test_lost_connections_are_taken_up_where_they_broke(has_ranges: bool, offset: int) -> None:
    server = Server(limit=300_000, has_ranges=has_ranges)
    async with serving(server) as url:
        assert await read(url, offset) == CONTENT[offset:]
    assert len(server.asked) > 1


async def test_offset_at_the_end_gives_nothing() -> None:
    async with serving(Server()) as url:
        assert await read(url, len(CONTENT)) == b""


async def test_passing_failures_are_waited_out() -> None:
    server = Server()
    server.statuses = [503, 429, 500, 502]
    async with serving(server) as url:
        assert await read(url) == CONTENT


async def test_server_that_keeps_failing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ATTEMPTS", 3)
    server = Server()
    server.statuses = [503] * 9
    async with serving(server) as url:
        with pytest.raises(SourceError, match="HTTP 503"):
            await read(url)
    assert len(server.asked) == 3


async def test_what_cannot_succeed_is_asked_once() -> None:
    server = Server()
    server.statuses = [404] * 9
    async with serving(server) as url:
        with pytest.raises(SourceError, match="HTTP 404"):
            await read(url)
    assert len(server.asked) == 1


async def test_file_that_changes_meanwhile_is_refused() -> None:
    server = Server(limit=300_000)
    async with serving(server) as url:
        blocks = RemoteFile(url, first_wait_seconds=0.01).blocks()
        assert await anext(blocks)
        server.etag = '"two"'
        with pytest.raises(SourceError, match="has changed"):
            await read_all(blocks)


async def test_server_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ATTEMPTS", 2)
    async with serving(Server()) as url:
        pass
    with pytest.raises(SourceError, match="cannot be read"):
        await read(url)


async def test_pipe_is_refused() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"[")
    with pytest.raises(SourceError, match="is a pipe"):
        await anext(LocalFile(Path(f"/dev/fd/{reader}")).blocks())
    os.close(reader)
    os.close(writer)


async def test_dump_of_a_server_is_read_once_and_says_so(engine: AsyncEngine) -> None:
    lines = b"[\n" + b",\n".join(generated_dump.lines(24)) + b"\n]\n"
    async with serving(Server(gzip.compress(lines), limit=5000)) as url:
        report = await pipeline.run(engine, WikidataDump(url, workers=0), Options())
    assert any("is read once" in note for note in report.notes)
    async with engine.connect() as connection:
        described = await connection.execute(text("SELECT count(*) FROM entity WHERE NOT is_stub"))
        assert described.scalar_one() == 8
