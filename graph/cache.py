"""Answers kept for as long as the data they were made from is the newest.

A key holds the data version, so nothing is ever deleted and nothing stale is served. The cache is Redis when there is
one, else the process's memory; a cache that fails costs speed, never an answer.
"""

import hashlib
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import asyncpg
import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from db.errors import ConfigurationError
from db.statements import Readers

MEMORY_BYTES = 64 * 1024 * 1024
LARGEST_ANSWER_BYTES = 1024 * 1024
TTL_SECONDS = 3600
POLL_SECONDS = 0.5
"""How long a finished run of the ETL may go unnoticed."""
REDIS_TIMEOUT_SECONDS = 0.1
REDIS_PAUSE_SECONDS = 5


class Cache(Protocol):
    """Bytes by key; a value may be gone at any time. The level is its name in metrics."""

    level: str

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""

    async def set(self, key: str, value: bytes) -> None:
        """Keep a value."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class Version:
    """The version of the data, and when it rose: two databases that share a Redis may have the same number."""

    number: int
    raised_at: datetime


class NewestVersion:
    """The version of the data, read again when what is known of it is older than `POLL_SECONDS`."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._known: Version | None = None
        self._read_at = -math.inf

    async def get(self) -> Version | None:
        """Return the version, or None when it cannot be told."""
        now = time.monotonic()
        if now - self._read_at < POLL_SECONDS:
            return self._known
        # Whoever asks while it is read gets what is known.
        self._read_at = now
        try:
            row = await self._readers.row("SELECT version, raised_at FROM data_version", ())
            self._known = Version(row["version"], row["raised_at"])
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, AssertionError):
            self._known, self._read_at = None, -math.inf
        except BaseException:
            self._read_at = -math.inf
            raise
        return self._known


def answer_key(
    version: Version, schema: str, query: str, variables: object, operation_name: str | None, role: str = ""
) -> str:
    """Return the key of an operation's answer at a data version, under a schema told by its text or digest."""
    parts = (
        version.raised_at.isoformat().encode(),
        schema.encode(),
        query.encode("utf-8", "surrogatepass"),
        orjson.dumps(variables, option=orjson.OPT_SORT_KEYS),
        (operation_name or "").encode(),
        role.encode(),
    )
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return f"atlas:{version.number}:{digest.hexdigest()}"


class MemoryCache:
    """The answers used last, up to a number of bytes."""

    level = "memory"

    def __init__(self, max_bytes: int = MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    async def set(self, key: str, value: bytes) -> None:
        """Keep a value, at the cost of those that were not used for longest."""
        self._size += len(value) - len(self._values.pop(key, b""))
        self._values[key] = value
        while self._size > self._max_bytes:
            _, dropped = self._values.popitem(last=False)
            self._size -= len(dropped)

    async def close(self) -> None:
        """Do nothing: there are no connections."""


class RedisCache:
    """A Redis that several processes share; while it does not answer, it is left alone for some seconds."""

    level = "redis"

    def __init__(self, url: str) -> None:
        try:
            self._redis = Redis.from_url(
                url,
                socket_timeout=REDIS_TIMEOUT_SECONDS,
                socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigurationError("REDIS_URL cannot be read: expected redis://host:6379/0") from error
        self._paused_until = 0.0

    @property
    def is_paused(self) -> bool:
        """Tell whether it is left alone at the moment."""
        return time.monotonic() < self._paused_until

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        if self.is_paused:
            return None
        try:
            value = await self._redis.get(key)
            return value if isinstance(value, bytes) else None
        except (RedisError, OSError, TimeoutError):
            self._paused_until = time.monotonic() + REDIS_PAUSE_SECONDS
            return None

    async def set(self, key: str, value: bytes) -> None:
        """Keep a value for an hour at most."""
        if self.is_paused:
            return
        try:
            await self._redis.set(key, value, ex=TTL_SECONDS)
        except (RedisError, OSError, TimeoutError):
            self._paused_until = time.monotonic() + REDIS_PAUSE_SECONDS

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
