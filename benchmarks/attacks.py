"""Send the attacks of the tests, and what must work beside them, to the API over the sample; measure what each costs.

    uv run python -m benchmarks.attacks
    uv run python -m benchmarks.attacks --slowest 40

Each is sent to a fresh application in this process, twice: the second time its document is known, and what can be is
compiled. Those of tests/socket_attacks.py are sent over a WebSocket each, to a server on loopback in this process. CPU
is this process's, PostgreSQL's not included; a stall is the longest time for which the event loop did nothing else;
memory is what the process grew by. See docs/limits.md.
"""

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import uvicorn

from db.embedded import database
from db.migrations import upgrade
from db.settings import Settings
from graph.app import create_app
from tests.attacks import ATTACKS, Attack, posted
from tests.legitimate import LEGITIMATE
from tests.loopback import listening
from tests.socket_attacks import LEGITIMATE_OPERATIONS, SOCKET_ATTACKS, SocketAttack, open_socket

BOUND_SECONDS = 0.25
TICK_SECONDS = 0.001
EVERYTHING = "id name description labels { language text } start { text } end { text } dataset { title }"
COSTLIEST = [
    posted(
        "pages of 100 in a page of 100",
        "{ entities(first: 100, orderBy: DEGREE_DESC) { edges { node { influences(first: 100) { edges { node { id } } } } } } }",
    ),
    posted(
        "a page with all of its edges' entities",
        f"{{ entities(first: 100, orderBy: DEGREE_DESC) {{ edges {{ node {{ influences(first: 20) {{ edges {{ node {{ {EVERYTHING} }} }} }} }} }} }} }}",
    ),
    posted(
        "four levels of those with most edges",
        "{ entities(first: 10, orderBy: DEGREE_DESC) { edges { node { ... on Agent { influencedBy { influencedBy { influencedBy { influencedBy { name } } } } } } } } }",
    ),
    posted(
        "six levels of one with many edges",
        '{ figureDetail(id: "Q9358") { influencedBy { influencedBy { influencedBy { influencedBy { influencedBy { influencedBy { name } } } } } } } }',
    ),
    posted(
        "a walk of 5,000 with names",
        '{ lineage(id: "Q868", direction: FORWARD, first: 5000, maxDepth: 32) { nodes { depth entity { id name } } } }',
    ),
    posted(
        "a walk of 2,500 with edges",
        '{ lineage(id: "Q868", direction: FORWARD, first: 2500, maxDepth: 32) { nodes { depth entity { id name } } edges { source { id } target { id } type } } }',
    ),
    posted(
        "a walk of 1,000 with everything",
        f'{{ lineage(id: "Q868", direction: FORWARD, first: 1000, maxDepth: 32) {{ nodes {{ entity {{ {EVERYTHING} }} }} }} }}',
    ),
    posted(
        "six walks of 5,000",
        "{ "
        + " ".join(
            f'a{n}: lineage(id: "Q868", direction: FORWARD, first: 5000, maxDepth: 32) {{ isTruncated }}'
            for n in range(6)
        )
        + " }",
    ),
    posted(
        "a roadmap of all",
        '{ roadmap(conceptId: "metacademy:bayesian_logistic_regression", maxDepth: 32, first: 2000) { nodes { depth concept { name } } edges { source { id } target { id } } learningOrder { concepts { name } } mermaid } }',
    ),
    posted(
        "introspection three times by aliases within",
        "{ __schema { a: types { name fields { name args { name type { name ofType { name } } } type { name ofType { name } } } } b: types { name fields { name description args { name description } } } } }",
    ),
]


@dataclass(slots=True)
class Measured:
    """What a request cost; `status` is "closed" of a socket that was, else "open"."""

    name: str
    status: str = ""
    cpu: float = 0
    stall: float = 0
    length: int = 0
    grown: int = 0


@dataclass(slots=True)
class Ticker:
    """Notes the longest time for which the loop did not come back to it."""

    longest: float = 0

    async def run(self) -> None:
        """Tick until cancelled."""
        before = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.perf_counter()
            self.longest = max(self.longest, now - before - TICK_SECONDS)
            before = now


def main() -> None:
    """Read the command line and print the table."""
    parser = ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__.partition("\n")[0])
    parser.add_argument("--slowest", type=int, default=25, help="how many of each table are shown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, sample(Path(directory)) as url:
        for title, attacks in (("attacks", ATTACKS), ("legitimate", LEGITIMATE), ("the costliest", COSTLIEST)):
            print(table(title, asyncio.run(measure(url, attacks)), options.slowest), flush=True)
        # Sockets are served as the command serves them: by uvloop, which reads more at once.
        loop_factory = uvicorn.Config("").get_loop_factory()
        for title, frames in (("attacks on sockets", SOCKET_ATTACKS), ("legitimate on sockets", LEGITIMATE_OPERATIONS)):
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                print(table(title, runner.run(measure_sockets(url, frames)), options.slowest), flush=True)


@contextmanager
def sample(directory: Path) -> Iterator[str]:
    """Load the sample into a PostgreSQL of its own; yield its URL."""
    with database(Settings(database_url=None, data_dir=directory)) as url:
        upgrade(url)
        environment = os.environ | {"DATABASE_URL": url}
        subprocess.run([sys.executable, "-m", "etl", "sample"], env=environment, check=True, capture_output=True)
        yield url


async def measure(url: str, attacks: Sequence[Attack]) -> list[Measured]:
    """Send requests, each twice."""
    app = create_app(Settings(database_url=None), url)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://atlas", timeout=120) as client,
    ):
        await send(client, posted("warm", "{ dataVersion { version } entities { totalCount } }"))
        found = []
        for attack in attacks:
            found += [await send(client, attack), await send(client, attack, " again")]
        return found


async def measure_sockets(url: str, attacks: Sequence[SocketAttack]) -> list[Measured]:
    """Send frames, each twice."""
    async with listening(create_app(Settings(database_url=None), url), log_level="critical") as port:
        await send_frames(port, SOCKET_ATTACKS[0])
        found = []
        for attack in attacks:
            found += [await send_frames(port, attack), await send_frames(port, attack, " again")]
        return found


async def send(client: httpx.AsyncClient, attack: Attack, again: str = "") -> Measured:
    """Send a request and measure it."""
    request = client.build_request(attack.method, attack.url, content=attack.content, headers=attack.headers)
    async with measuring(attack.name + again) as found:
        response = await client.send(request)
    found.status, found.length = str(response.status_code), len(response.content)
    return found


async def send_frames(port: int, attack: SocketAttack, again: str = "") -> Measured:
    """Send an attack over a socket of its own and measure it."""
    socket = await open_socket(port)
    async with measuring(attack.name + again) as found:
        received = await socket.sent(attack)
    found.status, found.length = "open" if socket.is_open else "closed", len(received)
    await socket.close()
    return found


@asynccontextmanager
async def measuring(name: str) -> AsyncIterator[Measured]:
    """Measure the block."""
    found = Measured(name)
    gc.collect()
    process = psutil.Process()
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(0)
    before, used = process.memory_info().rss, time.process_time()
    yield found
    found.cpu = time.process_time() - used
    await asyncio.sleep(2 * TICK_SECONDS)
    ticking.cancel()
    found.stall = ticker.longest
    found.grown = process.memory_info().rss - before


def table(title: str, found: Sequence[Measured], shown: int) -> str:
    """Write the slowest as a table."""
    slowest = sorted(found, key=lambda one: one.cpu, reverse=True)
    beyond = sum(one.cpu > BOUND_SECONDS for one in found)
    lines = [
        f"\n{title}: {len(found)} requests, {beyond} above {BOUND_SECONDS} CPU s, at most"
        f" {slowest[0].cpu * 1e3:.0f} ms CPU, {max(one.stall for one in found) * 1e3:.0f} ms stall,"
        f" {max(one.length for one in found):,} bytes, {max(one.grown for one in found) >> 20} MB grown;"
        f" statuses {', '.join(sorted({one.status for one in found}))}",
        f"{'':50} status  CPU ms  stall ms      bytes  grown KB",
    ]
    lines += [
        f"{one.name[:50]:50} {one.status:6} {one.cpu * 1e3:7.1f} {one.stall * 1e3:9.1f} {one.length:10,}"
        f" {one.grown >> 10:9,}"
        for one in slowest[:shown]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
