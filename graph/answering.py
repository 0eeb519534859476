"""How an operation is answered: from the process's memory, from Redis, or by computing it once for all who ask.

An answer is kept for a request at a data version. When a newer version is found, those who ask first get the answer of
the one before while the new one is made, but no longer than `VISIBLE_SECONDS` after that was the newest; a little
longer than its time lives, too, an answer that may change by itself.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from starlette.requests import ClientDisconnect

from db.errors import DatabaseUnavailableError
from db.statements import Job
from graph.cache import LARGEST_ANSWER_BYTES, Answer, Kept, MemoryCache
from graph.deadlines import Deadline, too_late
from graph.errors import PASSING, RequestError
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
    OUTDATED = "outdated"
    """Memory, since the database cannot answer or not in time; it may be of an older version of the data."""
    REDIS = "redis"
    JOINED = "joined"
    """Computed for another request that came at the same time."""
    COMPUTED = "computed"


class Found(NamedTuple):
    """An answer and where it came from; `kept` is that which may be given out again."""

    level: Level
    body: bytes
    kept: Kept | None
    was_executed: bool = True
    outcome: str = OK

    @property
    def is_hit(self) -> bool:
        """Tell whether nothing was computed for the request."""
        return self.level in (Level.MEMORY, Level.STALE, Level.OUTDATED, Level.REDIS)

    def told(self) -> dict[str, object]:
        """Return what clients are told who ask."""
        age = round(self.kept.age_seconds, 3) if self.is_hit and self.kept else 0
        return {"hit": self.is_hit, "level": self.level.value, "age": age}


@dataclass(slots=True, eq=False)
class Flight:
    """A computation, of an answer at a version if it is for others too, and how many wait for it.

    It has a task, or the job of a statement, unless it is that of the first request, which then is not among those
    that wait.
    """

    at: tuple[str, str] | None
    landing: "asyncio.Future[Found]"
    waiting: int = 0
    task: "asyncio.Task[None] | Job | None" = None


class Answers:
    """The answers of a process, by request; `counts` are of requests by level."""

    def __init__(self, newest: NewestVersion, shared: RedisCache | None, deadline_seconds: float | None = None) -> None:
        self.newest = newest
        self._seconds = deadline_seconds
        self.shared = shared
        self.memory = MemoryCache()
        self.counts: Counter[Level] = Counter()
        self._flights: dict[tuple[str, str], Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def at_hand(self, key: str) -> Kept | None:
        """Return the answer to a request when it is in memory and good."""
        version = self.newest.known()
        kept = self.memory.get(key)
        if kept is None or kept.version != version or not kept.is_good:
            return None
        self._count(Level.MEMORY)
        return kept

    async def find(self, key: str | None, make: Make, deadline: Deadline | None = None) -> Found:
        """Return the answer to a request; `make` computes it, which goes on while anybody waits for it.

        Without a key, the answer is neither shared nor kept. When the database cannot answer, the last answer is told
        if there is one. Raises what `make` and `Deadline.wait` do, DatabaseUnavailableError when the process stops.
        """
        if key is not None and (kept := self.at_hand(key)) is not None:
            return Found(Level.MEMORY, kept.body, kept)
        version = await self.newest.get() if key is not None else None
        if key is None:
            return await self._find(None, make, deadline)
        if version is None and (outdated := self.outdated(key)) is not None:
            return outdated
        if version is None:
            return await self._find(None, make, deadline)
        # Known only now, after a while without requests.
        if (kept := self.at_hand(key)) is not None:
            return Found(Level.MEMORY, kept.body, kept)
        try:
            found = await self._find((key, version), make, deadline)
        except RequestError as error:
            outdated = self.outdated(key) if error.code in PASSING else None
            if outdated is None:
                raise
            return outdated
        if found.outcome in PASSING and (outdated := self.outdated(key)) is not None:
            return outdated
        self._count(found.level)
        return found

    def lead(self, key: str) -> Flight | None:
        """Begin an answer that the caller computes, and lands; None when others may compute it, or have computed it."""
        version = self.newest.known()
        if version is None or self.shared is not None:
            return None
        at = key, version
        return None if at in self._flights or self._stale(*at) is not None else self._flight(at)

    def land(self, flight: Flight, answer: Answer) -> Found:
        """End what `lead` began: with what is to be told, to those who have joined too."""
        assert flight.at is not None
        found = self._kept(*flight.at, answer)
        if not flight.landing.done():
            flight.landing.set_result(found)
        self._land(flight)
        if found.outcome in PASSING and (outdated := self.outdated(flight.at[0])) is not None:
            return outdated
        self._count(found.level)
        return found

    def abandon(self, flight: Flight, make: Make) -> None:
        """End what `lead` began without an answer: those who have joined get one by `make`."""
        if flight.waiting:
            self._launch(flight, make)
        else:
            self._land(flight)

    def leave(self, flight: Flight, job: Job) -> None:
        """Have a job go on as long as anybody waits for it who has joined."""
        if flight.waiting:
            flight.task = job
        else:
            self._land(flight)
            job.cancel()

    def outdated(self, key: str) -> Found | None:
        """Return the last answer to a request, for when there is no newer one."""
        kept = self.memory.get(key)
        if kept is None or not kept.is_good:
            return None
        self._count(Level.OUTDATED)
        return Found(Level.OUTDATED, kept.body, kept)

    def _count(self, level: Level) -> None:
        self.counts[level] += 1

    def reads(self) -> dict[tuple[str, str], int]:
        """Return how often answers were looked up, by where and by "hit" or "miss"."""
        hits = sum(self.counts[level] for level in (Level.MEMORY, Level.STALE, Level.OUTDATED))
        return {
            ("memory", "hit"): hits,
            ("memory", "miss"): self.counts.total() - hits,
            ("redis", "hit"): self.counts[Level.REDIS],
            ("redis", "miss"): 0 if self.shared is None else self.counts[Level.COMPUTED],
        }

    async def _find(self, at: tuple[str, str] | None, make: Make, deadline: Deadline | None) -> Found:
        flight = None if at is None else self._flights.get(at)
        is_first = flight is None
        if flight is None:
            if self.shared is None and (at is None or self._stale(*at) is None):
                return await self._lead(at, make, deadline)
            flight = self._launch(self._flight(at), make)
        flight.waiting += 1
        if at is not None and (stale := self._stale(*at)) is not None:
            if is_first and self._seconds is not None:
                # Nobody with a deadline waits for it.
                asyncio.get_running_loop().call_later(self._seconds, self._give_up, flight, too_late(self._seconds))
            return Found(Level.STALE, stale.body, stale)
        try:
            found = await (asyncio.shield(flight.landing) if deadline is None else deadline.wait(flight.landing))
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and flight.task is not None and not flight.landing.done():
                self._call_off(flight)
        if is_first or found.is_hit:
            return found
        return found._replace(level=Level.JOINED)

    def _stale(self, key: str, version: str) -> Kept | None:
        kept = self.memory.get(key)
        if kept is None or (kept.version != version and not self.newest.is_tolerable(kept.version)):
            return None
        return kept if kept.age_seconds < kept.ttl_seconds + STALE_SECONDS else None

    async def _lead(self, at: tuple[str, str] | None, make: Make, deadline: Deadline | None) -> Found:
        """Compute an answer in the request's own task: one of its own would take a fifth of a small answer's time."""
        flight = self._flight(at)
        work = self._computed(at, make)
        try:
            found = await (work if deadline is None else deadline.run(work))
        except (asyncio.CancelledError, ClientDisconnect, RequestError):
            # Its time is up or its client gone: for those who have joined, it begins again.
            self.abandon(flight, make)
            raise
        except Exception as error:
            flight.landing.set_exception(error)
            self._land(flight)
            raise
        flight.landing.set_result(found)
        self._land(flight)
        return found

    def _flight(self, at: tuple[str, str] | None) -> "Flight":
        flight = Flight(at, asyncio.get_running_loop().create_future())
        if at is not None:
            self._flights[at] = flight
        return flight

    def _launch(self, flight: "Flight", make: Make) -> "Flight":
        flight.landing.add_done_callback(lambda _: self._land(flight))
        flight.task = asyncio.create_task(self._fly(flight, make))
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

    def _call_off(self, flight: "Flight") -> None:
        """Cancel what nobody waits for any more; whoever asks from here on begins anew."""
        self._land(flight)
        if flight.task is not None:
            flight.task.cancel()

    def _give_up(self, flight: "Flight", error: RequestError) -> None:
        if not flight.landing.done():
            flight.landing.set_exception(error)
            self._call_off(flight)

    async def _fly(self, flight: "Flight", make: Make) -> None:
        landing = flight.landing
        try:
            if flight.at is None or self.shared is None:
                landing.set_result(await self._computed(flight.at, make))
            else:
                await self._fly_together(self.shared, *flight.at, make, landing)
        except Exception as error:
            if landing.done():
                raise
            # It is raised where the answer is waited for.
            landing.set_exception(error)
        finally:
            if not landing.done():
                landing.set_exception(DatabaseUnavailableError("the process stops"))

    def _land(self, flight: "Flight") -> None:
        if flight.landing.done():
            # A failure that nobody waits for any more is not one.
            flight.landing.exception()
        if flight.at is not None and self._flights.get(flight.at) is flight:
            del self._flights[flight.at]

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

    async def _computed(self, at: tuple[str, str] | None, make: Make) -> Found:
        answer = await make()
        return _once(answer) if at is None else self._kept(*at, answer)

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


def _once(answer: Answer) -> Found:
    return Found(Level.COMPUTED, answer.body, None, answer.was_executed, answer.outcome)
