"""What each caller may ask for in a minute, counted in memory or, for several processes together, in Redis."""

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

from graph.redis_link import RedisLink

logger = logging.getLogger(__name__)

HEADERS = ("RateLimit-Policy", "RateLimit", "Retry-After")
POLICY = "cost"
REDIS_TIMEOUT_SECONDS = 0.1
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
    """The budgets of all callers. While Redis does not count them, each process does, for itself."""

    def __init__(self, per_minute: int, redis: RedisLink | None) -> None:
        self._item = RateLimitItemPerMinute(per_minute, namespace="atlas")
        self._redis = redis
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = None if redis is None else FixedWindowRateLimiter(_storage(redis))
        self._per_minute = per_minute
        self._is_counting = True

    async def charge(self, caller: str, cost: int) -> Charge:
        """Take from a caller's budget unless too little is left."""
        shared = self._shared
        if self._redis is None or shared is None:
            return await self._charge(self._own, caller, cost)
        found: Charge | None = await self._redis.ask(
            lambda: self._charge(shared, caller, cost), None, timeout_seconds=REDIS_TIMEOUT_SECONDS
        )
        if self._is_counting and found is None:
            logger.warning("budgets cannot be counted together, each process counts its own")
        self._is_counting = found is not None
        return found or await self._charge(self._own, caller, cost)

    async def _charge(self, limiter: FixedWindowRateLimiter, caller: str, cost: int) -> Charge:
        # A refused charge takes nothing, so that something smaller may still pass.
        is_allowed = await limiter.test(self._item, caller, cost=cost)
        if is_allowed and not await limiter.hit(self._item, caller, cost=cost):
            # Others were faster.
            await limiter.storage.incr(self._item.key_for(caller), self._item.get_expiry(), amount=-cost)
            is_allowed = False
        left = await limiter.get_window_stats(self._item, caller)
        return Charge(is_allowed, max(left.remaining, 0), left.reset_time, self._per_minute)


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


def _storage(redis: RedisLink) -> Storage:
    # The pool has the address.
    options: Any = {"connection_pool": redis.pool}
    return RedisStorage("async+redis://", implementation="redispy", key_prefix="atlas", **options)
