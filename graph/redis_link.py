"""How Redis is reached: in time or not at all.

It costs a request at most the time that an answer may take, and when it does not answer, nothing for a while. Whether
it answers again is tried beside the requests, since connecting takes longer than they would wait.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from db.breaker import Breaker
from db.errors import ConfigurationError

TIMEOUT_SECONDS = 0.02
PROBE_TIMEOUT_SECONDS = 1
PROBE_KEY = "atlas:probe"
MAX_CONNECTIONS = 64
"""More commands than these at once are not sent."""

FAILURES = (RedisError, OSError, RuntimeError)
"""What a Redis that cannot be used raises: of a connection that was reset, uvloop tells as a RuntimeError."""


class RedisLink:
    """A process's connections to a Redis, with the breaker of all that use it."""

    def __init__(self, url: str) -> None:
        """Raise ConfigurationError for a URL that is none."""
        self.pool = _pool(url)
        self.client = Redis.from_pool(self.pool)
        self.breaker = Breaker("Redis")
        self._busy = 0
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_left_alone(self) -> bool:
        """Tell whether it is asked nothing at the moment."""
        return not self.breaker.closed

    async def ask(
        self, command: Callable[[], Awaitable[object]], otherwise: object, timeout_seconds: float | None = None
    ) -> Any:
        """Run a command; returns `otherwise` when Redis does not answer in time, or is not asked."""
        if self.is_left_alone:
            self._probe_when_due()
            return otherwise
        if self._busy >= MAX_CONNECTIONS:
            return otherwise
        self._busy += 1
        try:
            with self.breaker:
                async with asyncio.timeout(timeout_seconds or TIMEOUT_SECONDS):
                    return await command()
        except (TimeoutError, RedisTimeoutError):
            # A single one may be our own loop's delay.
            return otherwise
        except FAILURES as error:
            self.breaker.open(error)
            return otherwise
        finally:
            self._busy -= 1

    def _probe_when_due(self) -> None:
        if not self.breaker.opened and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._try_again())

    async def _try_again(self) -> None:
        with suppress(*FAILURES), self.breaker:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self.client.ping()
            # That may have connected, which takes longer. One that is full, or a replica, answers but takes nothing.
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self.client.set(PROBE_KEY, b"", px=1_000)

    async def close(self) -> None:
        """Close the connections."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        with suppress(*FAILURES):
            await self.client.aclose()
            await self.pool.aclose()


def _pool(url: str) -> ConnectionPool:
    """Make a pool of connections that wait for a probe's time and try once."""
    try:
        return ConnectionPool.from_url(
            url,
            socket_timeout=PROBE_TIMEOUT_SECONDS,
            socket_connect_timeout=PROBE_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise ConfigurationError("REDIS_URL cannot be read: expected redis://host:6379/0") from error
