"""Files to read from a position on: of this machine, of a web server, or of S3."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from etl.http import USER_AGENT, PassingError, asked_to_wait, is_passing
from etl.s3 import S3File
from etl.source import SourceError

BLOCK_BYTES = 1 << 20
ATTEMPTS = 8
"""How often in a row a server may fail before the file is given up; each time it is waited for twice as long."""
LONGEST_WAIT_SECONDS = 300


class File(Protocol):
    """A file, here or elsewhere."""

    name: str

    def blocks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes from an offset on; raises SourceError."""


class LocalFile:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    async def blocks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes from an offset on; raises SourceError."""
        try:
            with await asyncio.to_thread(self._path.open, "rb", buffering=0) as file:
                if not file.seekable():
                    raise SourceError(f"{self.name} is a pipe: expected a file, which can be read several times")
                file.seek(offset)
                while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
                    yield block
        except OSError as error:
            raise SourceError(f"{self.name} cannot be read: {error.strerror or error}") from error


class RemoteFile:
    """A file of a web server, asked for again from where the connection was lost."""

    def __init__(self, url: str, first_wait_seconds: float = 1) -> None:
        self.name = url
        self._first_wait_seconds = first_wait_seconds
        self._validator: str | None = None

    async def blocks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes from an offset on; raises SourceError when the server keeps failing."""
        failures = 0
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        headers = {"User-Agent": USER_AGENT}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False) as session:
            while True:
                try:
                    async with aclosing(self._answer(session, offset)) as answer:
                        async for block in answer:
                            failures = 0
                            offset += len(block)
                            yield block
                    return
                except (aiohttp.ClientError, TimeoutError, PassingError) as error:
                    failures += 1
                    if failures == ATTEMPTS:
                        raise SourceError(f"{self.name} cannot be read at byte {offset}: {error}") from error
                    await asyncio.sleep(self._wait_seconds(failures, error))

    def _wait_seconds(self, failures: int, error: Exception) -> float:
        if isinstance(error, PassingError) and error.wait_seconds is not None:
            return min(error.wait_seconds, LONGEST_WAIT_SECONDS)
        return float(min(self._first_wait_seconds * 2 ** (failures - 1), LONGEST_WAIT_SECONDS)) * random.uniform(0.5, 1)

    async def _answer(self, session: aiohttp.ClientSession, offset: int) -> AsyncGenerator[bytes, None]:
        # Bytes on their way may be packed once more, and then no offset means what it says.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        async with session.get(self.name, headers=headers) as response:
            self._check(response, offset)
            # A server without ranges sends the file from its start again.
            skip = offset if response.status == 200 else 0
            if response.status == 416:
                return
            async for block in response.content.iter_chunked(BLOCK_BYTES):
                if skip < len(block):
                    yield block[skip:]
                skip = max(0, skip - len(block))

    def _check(self, response: aiohttp.ClientResponse, offset: int) -> None:
        if is_passing(response.status):
            raise PassingError(f"HTTP {response.status} {response.reason}", asked_to_wait(response.headers))
        if response.status not in (200, 206) and not (response.status == 416 and offset):
            raise SourceError(f"{self.name} cannot be read: HTTP {response.status} {response.reason}")
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if self._validator is not None and validator is not None and validator != self._validator:
            raise SourceError(f"{self.name} has changed while it was read: start anew")
        self._validator = validator or self._validator


def stamp(location: str) -> str | None:
    """Return a file's size and when it last changed, by which it is known again unread; None of one elsewhere."""
    try:
        found = None if is_url(location) else Path(location).stat()
    except OSError:
        return None
    # The inode's time of change, unlike that of the contents, cannot be set back.
    return found and f"{found.st_size} bytes, {found.st_ctime_ns} ns"


def is_url(text: str) -> bool:
    """Tell whether a text is a web address rather than a path."""
    return urlsplit(text).scheme in ("http", "https", "s3")


def file_at(location: str) -> File:
    """Return the file at a path or web address; raises SourceError for an address that cannot be."""
    if location.startswith("s3://"):
        return S3File(location)
    return RemoteFile(location) if is_url(location) else LocalFile(Path(location))
