"""What clients see when PostgreSQL or Redis fails, and how soon all is well again: `python -m benchmarks.faults`.

Starts PostgreSQL, Redis and the server (`python -m graph`) on loopback, each dependency behind a network that fails as
told, and writes the tables of docs/faults.md. What Redis costs is told by two further servers that count budgets, one
with Redis and one without.
"""

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from tests.network import Network, between
from tests.postgres import Postgres, postgres
from tests.redis_server import RedisServer, redis_server

DOCS = Path(__file__).parent.parent / "docs" / "faults.md"
BEGIN, END = "<!-- begin: python -m benchmarks.faults -->", "<!-- end -->"
FAULT_SECONDS = 6.0
COST_SECONDS, COST_TRIES = 2.0, 5
BUDGET = 1_000_000_000
RECOVERY_LIMIT_SECONDS = 30.0

WHAT_REDIS_COSTS = """\
What Redis costs, with budgets counted there too: one request at a time, compiled, executed, kept and REST in turn, each
asked of a server with Redis and then of one without. Each fault is tried five times; these are the middle ones of the
five longest waits."""

ROADMAP = 'query Roadmap($first: Int) { knowledgeRoadmap(conceptId: "metacademy:bayes_rule", first: $first) { depth } }'
KEPT = '{ figureDetail(id: "Q868") { name } }'

numbers = count(1)


@dataclass
class Site:
    """A server and what it stands on."""

    http: httpx.AsyncClient
    with_redis: httpx.AsyncClient
    without_redis: httpx.AsyncClient
    database: Postgres
    database_network: Network
    redis: RedisServer
    redis_network: Network


@dataclass
class Seen:
    """The answers to one kind of request: how many of each sort, and the longest wait."""

    outcomes: dict[str, int] = field(default_factory=dict)
    longest_seconds: float = 0.0

    def add(self, outcome: str, seconds: float) -> None:
        """Count an answer."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.longest_seconds = max(self.longest_seconds, seconds)

    def __str__(self) -> str:
        """Write a cell of the table."""
        if not self.outcomes:
            return ""
        told = ", ".join(f"{name} ×{number}" for name, number in sorted(self.outcomes.items()))
        return f"{told}; {self.longest_seconds:.2f} s"


Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


async def ask_compiled(http: httpx.AsyncClient) -> httpx.Response:
    """Ask an operation that was seen before, with arguments that were not."""
    return await http.post("/graphql", json={"query": ROADMAP, "variables": {"first": next(numbers) % 5000 + 1}})


async def ask_executed(http: httpx.AsyncClient) -> httpx.Response:
    """Ask an operation that was never seen."""
    query = f'{{ a{next(numbers)}: figureDetail(id: "Q868") {{ name influencedBy {{ name }} }} }}'
    return await http.post("/graphql", json={"query": query})


async def ask_kept(http: httpx.AsyncClient) -> httpx.Response:
    """Ask what is in the cache."""
    return await http.post("/graphql", json={"query": KEPT})


async def ask_rest(http: httpx.AsyncClient) -> httpx.Response:
    """Ask for records."""
    return await http.get("/data")


async def ask_ready(http: httpx.AsyncClient) -> httpx.Response:
    """Ask whether the server is ready."""
    return await http.get("/health/ready")


async def ask_live(http: httpx.AsyncClient) -> httpx.Response:
    """Ask whether the server lives."""
    return await http.get("/health/live")


KINDS: dict[str, Ask] = {
    "compiled": ask_compiled,
    "executed": ask_executed,
    "kept": ask_kept,
    "REST": ask_rest,
    "ready": ask_ready,
    "live": ask_live,
}


def outcome_of(response: httpx.Response) -> str:
    """Name an answer by its status, the code of its error, and whether it is marked as outdated."""
    body: Any = response.json()
    if body.get("extensions", {}).get("cache", {}).get("level") == "outdated":
        return f"{response.status_code} outdated"
    code = body.get("code") or next((one["extensions"]["code"] for one in body.get("errors", ())), None)
    if code and response.status_code >= 500 and "retry-after" not in response.headers:
        return f"{response.status_code} {code} WITHOUT Retry-After"
    return f"{response.status_code} {code}" if code else str(response.status_code)


async def observe(http: httpx.AsyncClient, ask: Ask, seen: Seen) -> str:
    """Ask once."""
    began = time.perf_counter()
    try:
        outcome = outcome_of(await ask(http))
    except httpx.HTTPError as error:
        outcome = type(error).__name__
    seen.add(outcome, time.perf_counter() - began)
    return outcome


async def recovery(http: httpx.AsyncClient) -> float:
    """Return the seconds until every kind of request is answered, several times over."""
    began = time.perf_counter()
    while time.perf_counter() - began < RECOVERY_LIMIT_SECONDS:
        asked = [observe(http, ask, Seen()) for ask in KINDS.values() for _ in range(3)]
        recovered_at = time.perf_counter()
        if set(await asyncio.gather(*asked)) == {"200"}:
            return recovered_at - began
        await asyncio.sleep(0.05)
    return float("inf")


async def try_fault(
    site: Site, begin: Callable[[], Any], end: Callable[[], Any], seconds: float
) -> tuple[dict[str, Seen], float]:
    """Inject a fault, ask all kinds of requests for a while, end it, and wait until all is well."""
    found = {name: Seen() for name in KINDS}
    for ask in KINDS.values():
        for _ in range(3):
            await ask(site.http)
    await _call(begin)
    began = time.perf_counter()
    while True:
        asked = [observe(site.http, ask, found[name]) for name, ask in KINDS.items() for _ in range(2)]
        await asyncio.gather(*asked)
        if time.perf_counter() - began >= seconds:
            break
        await asyncio.sleep(0.2)
    await _call(end)
    return found, await recovery(site.http)


async def try_cost(site: Site, begin: Callable[[], Any], end: Callable[[], Any]) -> list[float]:
    """Return the longest wait in seconds with Redis, without, and the largest difference between two of a pair.

    One request is asked at a time: of the server that has Redis, then of the other.
    """
    asked = [KINDS[name] for name in ("compiled", "executed", "kept", "REST")]
    servers = site.with_redis, site.without_redis
    for _ in range(5):
        for ask in asked:
            for http in servers:
                assert await observe(http, ask, Seen()) == "200"
    await _call(begin)
    began = time.perf_counter()
    longest = [0.0, 0.0, 0.0]
    while time.perf_counter() - began < COST_SECONDS:
        for ask in asked:
            pair = [Seen(), Seen()]
            for http, seen in zip(servers, pair, strict=True):
                assert await observe(http, ask, seen) == "200"
            waits = [seen.longest_seconds for seen in pair]
            longest = list(map(max, longest, [*waits, waits[0] - waits[1]]))
        await asyncio.sleep(0.02)
    await _call(end)
    # Until Redis is used again: left alone, it would cost the next try nothing.
    began = time.perf_counter()
    while time.perf_counter() - began < RECOVERY_LIMIT_SECONDS:
        await ask_executed(site.with_redis)
        if (await ask_ready(site.with_redis)).json()["breakers"]["redis"] == "closed":
            return longest
        await asyncio.sleep(0.05)
    raise RuntimeError("Redis is not used again")


async def _call(function: Callable[[], Any]) -> None:
    if asyncio.iscoroutinefunction(function):
        await function()
    else:
        await asyncio.to_thread(function)


def faults(site: Site) -> dict[tuple[str, str], tuple[Callable[[], Any], Callable[[], Any], float]]:
    """Return what begins and ends each fault, and how long it lasts."""

    async def restart_redis() -> None:
        await site.redis.kill()
        await site.redis.start()

    def restart_database() -> None:
        site.database.stop()
        site.database.start()

    def nothing() -> None:
        pass

    database, redis = site.database_network, site.redis_network
    return {
        ("none", "-"): (nothing, nothing, FAULT_SECONDS),
        ("killed (-9), away for 6 s", "PostgreSQL"): (site.database.crash, site.database.start, FAULT_SECONDS),
        ("restarted", "PostgreSQL"): (restart_database, nothing, 1),
        ("slow: 100 ms each way", "PostgreSQL"): (lambda: database.delay(0.1), database.restore, FAULT_SECONDS),
        ("connections reset", "PostgreSQL"): (database.reset, nothing, 1),
        ("connections closed", "PostgreSQL"): (database.cut, nothing, 1),
        ("half-open: packets vanish", "PostgreSQL"): (database.blackhole, database.restore, FAULT_SECONDS),
        ("killed (-9), away for 6 s", "Redis"): (site.redis.kill, site.redis.start, FAULT_SECONDS),
        ("restarted", "Redis"): (restart_redis, nothing, 1),
        ("slow: 100 ms each way", "Redis"): (lambda: redis.delay(0.1), redis.restore, FAULT_SECONDS),
        ("connections reset", "Redis"): (redis.reset, nothing, 1),
        ("half-open: packets vanish", "Redis"): (redis.blackhole, redis.restore, FAULT_SECONDS),
        ("stopped, takes connections", "Redis"): (site.redis.hang, site.redis.go_on, FAULT_SECONDS),
    }


@asynccontextmanager
async def a_site() -> AsyncIterator[Site]:
    """Start everything."""
    with (
        tempfile.TemporaryDirectory() as directory,
        postgres("fsync=off") as database,
        between(database.port) as to_database,
    ):
        async with redis_server(Path(directory)) as redis:
            with between(redis.port) as to_redis:
                to_all = {"DATABASE_URL": database.url(to_database.port), "ATLAS_PORT": "0"}
                shared = to_all | {"REDIS_URL": f"redis://127.0.0.1:{to_redis.port}/0"}
                budget = {"ATLAS_QUERY_BUDGET_PER_MINUTE": str(BUDGET)}
                async with a_server(shared) as http, a_server(shared | budget) as one, a_server(to_all | budget) as two:
                    yield Site(http, one, two, database, to_database, redis, to_redis)


@asynccontextmanager
async def a_server(environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Run `python -m graph`; yields a client of it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "graph",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | environment,
    )
    assert process.stdout is not None
    try:
        while line := (await process.stdout.readline()).decode():
            if found := re.search(r"(http://\S+)/health", line):
                async with httpx.AsyncClient(base_url=found[1], timeout=30) as http:
                    yield http
                return
        raise RuntimeError("the server did not start")
    finally:
        process.terminate()
        await process.wait()


async def main() -> None:
    """Try all faults."""
    wanted = sys.argv[1:]
    lines = [f"| fault | of | {' | '.join(KINDS)} | all is well again after |", "|" + "---|" * (len(KINDS) + 3)]
    costs = [
        "| fault of Redis | longest wait with it | without | largest difference of a pair |",
        "|---|---:|---:|---:|",
    ]
    async with a_site() as site:
        for (fault, component), (begin, end, seconds) in faults(site).items():
            if wanted and not any(one in f"{fault} {component}" for one in wanted):
                continue
            found, recovered = await try_fault(site, begin, end, seconds)
            cells = " | ".join(str(seen) for seen in found.values())
            lines.append(f"| {fault} | {component} | {cells} | {recovered:.1f} s |")
            print(lines[-1], flush=True)
            if component != "PostgreSQL":
                tries = [await try_cost(site, begin, end) for _ in range(COST_TRIES)]
                waits = [median(waits) for waits in zip(*tries, strict=True)]
                costs.append(f"| {fault} | {' | '.join(f'{one * 1000:.0f} ms' for one in waits)} |")
                print(costs[-1], flush=True)
    if not wanted:
        lines += ["", WHAT_REDIS_COSTS, "", *costs]
        text = DOCS.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        DOCS.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
