"""What processes share through Redis: answers, documents, and who is computing what.

Redis costs a request at most `TIMEOUT_SECONDS`, and when it does not answer, nothing for a while. All of it fails open:
what Redis does not tell is computed.
"""

import asyncio
import logging
import math
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from graph.cache import Kept
from graph.redis_pool import FAILURES, redis_pool

TIMEOUT_SECONDS = 0.02
PROBE_TIMEOUT_SECONDS = 1
PAUSE_SECONDS = 1
"""How long it is left alone before it is asked, beside the requests, whether it answers again."""
MAX_TIMEOUTS = 3
"""After so many in a row it is left alone: a single one may be our own loop's delay."""
MAX_CONNECTIONS = 64
"""More requests than these at once do without Redis."""

LOCK_MILLISECONDS = 1_000
"""How long others wait for a process that died while it computed."""
RENEW_SECONDS = 0.3
WAIT_SECONDS = 10
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.003, 0.02

_PREFIX = "atlas:1:"
_TIMES = struct.Struct("!dd")

logger = logging.getLogger(__name__)


class RedisCache:
    """A Redis that several processes share."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_pool(redis_pool(url, PROBE_TIMEOUT_SECONDS))
        self._busy = 0
        self._timeouts = 0
        self._paused_until: float | None = None
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_paused(self) -> bool:
        """Tell whether it is left alone at the moment."""
        return self._paused_until is not None

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
        return value.decode() if isinstance(value, bytes) else None

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
        while self._timeouts == 0 and not await self._ask(lambda: self._lock(lock), True):
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

    async def close(self) -> None:
        """Close the connections."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        with suppress(*FAILURES):
            await self._redis.aclose()

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

    async def _ask(self, command: Callable[[], Awaitable[object]], otherwise: object) -> Any:
        """Run a command; returns `otherwise` when Redis does not answer in time, or is not asked."""
        if self._paused_until is not None:
            self._probe_when_due(self._paused_until)
            return otherwise
        if self._busy >= MAX_CONNECTIONS:
            return otherwise
        self._busy += 1
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found = await command()
        except (TimeoutError, RedisTimeoutError):
            self._timeouts += 1
            if self._timeouts >= MAX_TIMEOUTS:
                self._pause(f"it does not answer within {TIMEOUT_SECONDS * 1000:.0f} ms")
            return otherwise
        except FAILURES as error:
            self._pause(str(error))
            return otherwise
        finally:
            self._busy -= 1
        self._timeouts = 0
        return found

    def _pause(self, reason: str) -> None:
        if self._paused_until is None:
            logger.warning("Redis is left alone until it answers again: %s", reason)
        self._paused_until = time.monotonic() + PAUSE_SECONDS

    def _probe_when_due(self, due: float) -> None:
        if time.monotonic() >= due and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._try_again())

    async def _try_again(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self._redis.ping()
            # That may have connected, which takes longer.
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._redis.ping()
        except FAILURES:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            return
        self._timeouts = 0
        self._paused_until = None
        logger.info("Redis answers again")


def _answer_name(key: str, version: str) -> str:
    return f"{_PREFIX}{version}:{key}"


def _read(value: object, version: str) -> Kept | None:
    if not isinstance(value, bytes) or len(value) < _TIMES.size:
        return None
    made_at, ttl_seconds = _TIMES.unpack_from(value)
    return Kept(value[_TIMES.size :], version, made_at, ttl_seconds)
