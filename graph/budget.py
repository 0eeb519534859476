"""What each caller may ask for in a minute, counted in memory or, for several processes together, in Redis."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio.connection import ConnectionPool

from graph.redis_pool import FAILURES, redis_pool

logger = logging.getLogger(__name__)

HEADERS = ("RateLimit-Policy", "RateLimit", "Retry-After")
POLICY = "cost"
REDIS_TIMEOUT_SECONDS = 0.1
PAUSE_SECONDS = 5
"""How long nothing is counted after Redis did not answer."""
IPV6_SITE_BITS = 64
"""What one customer is given: counted by address, a caller would have as many budgets as it likes."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What became of a charge: what is left, and when the whole budget is back."""

    is_allowed: bool
    remaining: int
    resets_at: float
    per_minute: int

    @property
    def reset_seconds(self) -> int:
        """The whole seconds until then, 1 at least."""
        return max(1, ceil(self.resets_at - time.time()))

    @property
    def resets_on(self) -> str:
        """The moment as GraphQL's DateTime."""
        return datetime.fromtimestamp(self.resets_at, UTC).isoformat(timespec="seconds")

    def headers(self) -> Mapping[str, str]:
        """Return the response's headers (draft-ietf-httpapi-ratelimit-headers-10)."""
        found = {
            "ratelimit-policy": f'"{POLICY}";q={self.per_minute};w=60',
            "ratelimit": f'"{POLICY}";r={self.remaining};t={self.reset_seconds}',
        }
        return found if self.is_allowed else found | {"retry-after": str(self.reset_seconds)}


class Budget:
    """The budgets of all callers. When they cannot be counted everyone is let in, since an answer matters more."""

    def __init__(self, per_minute: int, redis_url: str | None) -> None:
        """Raise ConfigurationError for a Redis URL that is none."""
        self._item = RateLimitItemPerMinute(per_minute, namespace="atlas")
        self._pool = redis_pool(redis_url, REDIS_TIMEOUT_SECONDS) if redis_url else None
        self._limiter = FixedWindowRateLimiter(_storage(redis_url, self._pool))
        self._per_minute = per_minute
        self._paused_until = 0.0

    async def charge(self, caller: str, cost: int) -> Charge | None:
        """Take from a caller's budget unless too little is left; None when that cannot be told."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                # A refused charge takes nothing, so that something smaller may still pass.
                is_allowed = await self._limiter.test(self._item, caller, cost=cost)
                if is_allowed:
                    await self._limiter.hit(self._item, caller, cost=cost)
                left = await self._limiter.get_window_stats(self._item, caller)
        except FAILURES as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("budgets cannot be counted, everyone is let in for %s s: %s", PAUSE_SECONDS, error)
            return None
        return Charge(is_allowed, max(left.remaining, 0), left.reset_time, self._per_minute)

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()


def network_of(address: str) -> str:
    """Return what to count an address by: itself, and of the sixth version its site."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or ip_network((found.packed, IPV6_SITE_BITS), strict=False))
    return str(found)


def _storage(url: str | None, pool: ConnectionPool | None) -> Storage:
    if url is None or pool is None:
        return MemoryStorage()
    # The pool has the address; of this one only the scheme is read.
    options: Any = {"connection_pool": pool}
    return RedisStorage(f"async+{url}", implementation="redispy", key_prefix="atlas", **options)
