"""How an operation is answered: from the process's memory, from Redis, or by computing it once for all who ask.

An answer is kept for a request at a data version. When a newer version is found, those who ask first get the answer of
the one before while the new one is made, but no longer than `VISIBLE_SECONDS` after that was the newest; a little
longer than its time lives, too, an answer that may change by itself.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from graph.cache import LARGEST_ANSWER_BYTES, Answer, Kept, MemoryCache
from graph.metrics import Metrics
from graph.shared_cache import RedisCache
from graph.versions import NewestVersion
from graph.watch import OK

STALE_SECONDS = 0.4

Make = Callable[[], Awaitable[Answer]]


class Level(StrEnum):
    """Where an answer came from."""

    MEMORY = "memory"
    STALE = "stale"
    """Memory, but a newer one is being made."""
    REDIS = "redis"
    JOINED = "joined"
    """Computed for another request that came at the same time."""
    COMPUTED = "computed"


@dataclass(frozen=True, slots=True)
class Found:
    """An answer and where it came from; `kept` is that which may be given out again."""

    level: Level
    body: bytes
    kept: Kept | None
    was_executed: bool = True
    outcome: str = OK

    @property
    def is_hit(self) -> bool:
        """Tell whether nothing was computed for the request."""
        return self.level in (Level.MEMORY, Level.STALE, Level.REDIS)

    def told(self) -> dict[str, object]:
        """Return what clients are told who ask."""
        age = round(self.kept.age_seconds, 3) if self.is_hit and self.kept else 0
        return {"hit": self.is_hit, "level": self.level.value, "age": age}


class Answers:
    """The answers of a process, by request; `counts` are of requests by level."""

    def __init__(self, newest: NewestVersion, shared: RedisCache | None, metrics: Metrics) -> None:
        self.newest = newest
        self._metrics = metrics
        self.shared = shared
        self.memory = MemoryCache()
        self.counts: Counter[Level] = Counter()
        self._flights: dict[tuple[str, str], asyncio.Future[Found]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def _at_hand(self, key: str) -> Kept | None:
        """Return the answer to a request when it is in memory and good."""
        version = self.newest.known()
        kept = self.memory.get(key)
        if kept is None or kept.version != version or not kept.is_good:
            return None
        self._count(Level.MEMORY)
        return kept

    async def find(self, key: str | None, make: Make) -> Found:
        """Return the answer to a request; `make` computes it, and may be called after this was cancelled.

        Without a key, the answer is neither shared nor kept.
        """
        if key is not None and (kept := self._at_hand(key)) is not None:
            return Found(Level.MEMORY, kept.body, kept)
        version = await self.newest.get() if key is not None else None
        if key is None or version is None:
            return _once(await make())
        # Known only now, after a while without requests.
        if (kept := self._at_hand(key)) is not None:
            return Found(Level.MEMORY, kept.body, kept)
        found = await self._find(key, version, make)
        self._count(found.level)
        return found

    def _count(self, level: Level) -> None:
        self.counts[level] += 1
        self._metrics.count_cache_read("memory", is_hit=level in (Level.MEMORY, Level.STALE))
        if self.shared is not None and level in (Level.REDIS, Level.COMPUTED):
            self._metrics.count_cache_read("redis", is_hit=level is Level.REDIS)

    async def _find(self, key: str, version: str, make: Make) -> Found:
        flight = self._flights.get((key, version))
        is_first = flight is None
        if flight is None:
            flight = self._begin(key, version, make)
        if (stale := self._stale(key, version)) is not None:
            return Found(Level.STALE, stale.body, stale)
        # Whoever goes away must not take the answer from the others.
        found = await asyncio.shield(flight)
        if is_first or found.is_hit:
            return found
        return replace(found, level=Level.JOINED)

    def _stale(self, key: str, version: str) -> Kept | None:
        kept = self.memory.get(key)
        if kept is None or (kept.version != version and not self.newest.is_tolerable(kept.version)):
            return None
        return kept if kept.age_seconds < kept.ttl_seconds + STALE_SECONDS else None

    def _begin(self, key: str, version: str, make: Make) -> asyncio.Future[Found]:
        flight: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._flights[key, version] = flight
        flight.add_done_callback(lambda _: self._land(key, version))
        task = asyncio.create_task(self._fly(key, version, make, flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(self, key: str, version: str, make: Make, flight: asyncio.Future[Found]) -> None:
        try:
            if self.shared is None:
                flight.set_result(self._kept(key, version, await make()))
            else:
                await self._fly_together(self.shared, key, version, make, flight)
        except Exception as error:
            if flight.done():
                raise
            # It is raised where the answer is waited for.
            flight.set_exception(error)
        finally:
            flight.cancel()

    def _land(self, key: str, version: str) -> None:
        flight = self._flights.pop((key, version))
        if not flight.cancelled():
            # A failure that nobody waits for any more is not one.
            flight.exception()

    async def _fly_together(
        self, shared: RedisCache, key: str, version: str, make: Make, flight: asyncio.Future[Found]
    ) -> None:
        if (kept := await shared.answer(key, version)) is None:
            async with shared.turn(key, version) as kept:
                if kept is None:
                    found = self._kept(key, version, await make())
                    # Nobody waits until it is in Redis.
                    flight.set_result(found)
                    if found.kept is not None:
                        await shared.keep_answer(key, found.kept)
                    return
        self.memory.set(key, kept)
        flight.set_result(Found(Level.REDIS, kept.body, kept))

    def _kept(self, key: str, version: str, answer: Answer) -> Found:
        if answer.ttl_seconds <= 0 or len(answer.body) > LARGEST_ANSWER_BYTES:
            return _once(answer)
        kept = Kept(answer.body, version, time.time(), answer.ttl_seconds)
        self.memory.set(key, kept)
        return Found(Level.COMPUTED, answer.body, kept)

    async def close(self) -> None:
        """Stop what is being computed, and let go of all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.newest.close()
        if self.shared is not None:
            await self.shared.close()


def _once(answer: Answer) -> Found:
    return Found(Level.COMPUTED, answer.body, None, answer.was_executed, answer.outcome)
