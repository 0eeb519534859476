"""What processes share through Redis: answers, documents, and who is computing what.

All of it fails open: what Redis does not tell is computed.
"""

import asyncio
import math
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from graph.cache import Kept
from graph.redis_link import RedisLink

LOCK_MILLISECONDS = 1_000
"""How long others wait for a process that died while it computed."""
RENEW_SECONDS = 0.3
WAIT_SECONDS = 10
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.003, 0.02

_PREFIX = "atlas:1:"
_TIMES = struct.Struct("!dd")


class RedisCache:
    """A Redis that several processes share."""

    def __init__(self, link: RedisLink) -> None:
        self.link = link
        self._redis = link.client
        self._ask = link.ask

    async def answer(self, key: str, version: str) -> Kept | None:
        """Return the answer to a request at a data version, or None."""
        value = await self._ask(lambda: self._redis.get(_answer_name(key, version)), None)
        return _read(value, version)

    async def keep_answer(self, key: str, kept: Kept) -> None:
        """Keep an answer, for as long as it may be given out."""
        value = _TIMES.pack(kept.made_at, kept.ttl_seconds) + kept.body
        left = max(1, math.ceil((kept.ttl_seconds - kept.age_seconds) * 1000))
        await self._ask(lambda: self._redis.set(_answer_name(key, kept.version), value, px=left), None)

    async def document(self, sha256: str) -> str | None:
        """Return a document by its hash, or None."""
        value = await self._ask(lambda: self._redis.get(f"{_PREFIX}document:{sha256}"), None)
        return value.decode(errors="replace") if isinstance(value, bytes) else None

    async def keep_document(self, sha256: str, text: str, ttl_seconds: int) -> None:
        """Keep a document."""
        await self._ask(lambda: self._redis.set(f"{_PREFIX}document:{sha256}", text, ex=ttl_seconds), None)

    @asynccontextmanager
    async def turn(self, key: str, version: str) -> AsyncIterator[Kept | None]:
        """Wait for our turn to compute an answer: at once, or until another process has made it or given up.

        Yields that process's answer; None when it is for us to compute, which others wait for in the block.
        """
        name = _answer_name(key, version)
        lock = f"{name}:lock"
        deadline = time.monotonic() + WAIT_SECONDS
        # What Redis does not tell is ours to compute; after a time-out, the request does not wait for another.
        while self.link.breaker.failure_count == 0 and not await self._ask(lambda: self._lock(lock), True):
            kept = await self._made_elsewhere(name, lock, version, deadline)
            if kept is not None or time.monotonic() > deadline:
                yield kept
                return
        renewing = asyncio.create_task(self._renew(lock))
        try:
            yield None
        finally:
            renewing.cancel()
            await self._ask(lambda: self._redis.delete(lock), None)

    async def _lock(self, lock: str) -> bool:
        return bool(await self._redis.set(lock, b"1", nx=True, px=LOCK_MILLISECONDS))

    async def _renew(self, lock: str) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._ask(lambda: self._redis.pexpire(lock, LOCK_MILLISECONDS), None)

    async def _made_elsewhere(self, name: str, lock: str, version: str, deadline: float) -> Kept | None:
        """Wait while another process holds the lock; returns None when it left no answer."""
        pause = FIRST_LOOK_SECONDS
        while time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_LOOK_SECONDS)
            value, held = await self._ask(lambda: self._redis.mget(name, lock), [None, None])
            if value is not None or held is None:
                return _read(value, version)
        return None


def _answer_name(key: str, version: str) -> str:
    return f"{_PREFIX}{version}:{key}"


def _read(value: object, version: str) -> Kept | None:
    if not isinstance(value, bytes) or len(value) < _TIMES.size:
        return None
    made_at, ttl_seconds = _TIMES.unpack_from(value)
    return Kept(value[_TIMES.size :], version, made_at, ttl_seconds)
