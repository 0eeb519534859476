"""The newest version of the data as a process knows it: half a second late at most, and not read for each request."""

import asyncio
import math
import time

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from db.errors import AtlasError
from db.statements import Readers

FRESH_SECONDS = 0.5
"""How long a version is taken for the newest after it was read."""
REREAD_SECONDS = 0.25
"""After which it is read again beside the requests, so that under load none of them waits for it."""
VISIBLE_SECONDS = 0.9
"""How long after it was last seen to be the newest a version's answers may still be given out."""
PATIENCE_SECONDS = 1
FAILED_SECONDS = 2
"""How long after a reading that failed nobody waits for the next one."""


class NewestVersion:
    """Reads the version of the data, through connections that nothing else keeps busy.

    Versions are told as texts that hold when they rose too: databases that share a Redis may have the same numbers.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._newest: str | None = None
        self._read_at = -math.inf
        self._failed_at = -math.inf
        self._replaced: str | None = None
        self._replaced_until = -math.inf
        self._reading: asyncio.Task[None] | None = None

    def known(self) -> str | None:
        """Return the newest version when that is known well enough, without waiting."""
        age = time.monotonic() - self._read_at
        if age > REREAD_SECONDS:
            self._begin()
        return self._newest if age < FRESH_SECONDS else None

    async def get(self) -> str | None:
        """Return the newest version, None when the database does not tell."""
        if (version := self.known()) is not None:
            return version
        if time.monotonic() - self._failed_at < FAILED_SECONDS:
            return None
        await asyncio.shield(self._begin())
        return self._newest

    def is_tolerable(self, version: str) -> bool:
        """Tell whether answers of a version may be given out while those of the one after it are made."""
        return version == self._replaced and time.monotonic() < self._replaced_until

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _begin(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                row = await self._readers.row("SELECT version, raised_at FROM data_version", ())
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, AssertionError, AtlasError):
            self._newest, self._read_at, self._failed_at = None, -math.inf, time.monotonic()
            return
        version = f"{row['version']}.{row['raised_at'].timestamp():.6f}"
        if self._newest is not None and version != self._newest:
            self._replaced, self._replaced_until = self._newest, self._read_at + VISIBLE_SECONDS
        self._newest, self._read_at = version, begun
