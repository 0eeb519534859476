"""The servers that are compared: how each is started, pinned and stopped, and how it is asked."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.serving.connections import SQL
from benchmarks.serving.shapes import Sample, Shape, moved

NODE_FILES = Path(__file__).parent / "node"
SERVER_CORE, CLIENT_CORE = 0, 1
POOL_SIZE = 10
"""Connections to PostgreSQL; what the API has by default, for all."""
START_LIMIT_SECONDS = 120
STOP_LIMIT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class System:
    """A server; `language` tells whose queries it understands: "atlas", "postgraphile" or none ("limit").

    The servers that are made for this comparison take an internal id for a cursor.
    """

    name: str
    command: tuple[str, ...]
    language: str = "atlas"
    has_cursors: bool = False
    is_cached: bool = False


def _python(module: str) -> tuple[str, ...]:
    return sys.executable, "-m", module


def _node(script: str) -> tuple[str, ...]:
    return "node_modules/.bin/node", script


SYSTEMS = {
    "atlas": System("Chronos Atlas, uncached", _python("benchmarks.serving.uncached"), has_cursors=True),
    "executed": System("Chronos Atlas, not compiled", _python("benchmarks.serving.executed"), has_cursors=True),
    "postgraphile": System("PostGraphile", _node("postgraphile.mjs"), "postgraphile", has_cursors=True),
    "mercurius": System("mercurius + graphql-jit", _node("mercurius.mjs")),
    "plain": System("plain Strawberry", _python("benchmarks.serving.plain")),
    "limit": System("SQL to JSON, no GraphQL", _python("benchmarks.serving.limit"), "limit"),
    "cached": System("Chronos Atlas, cached", _python("graph"), has_cursors=True, is_cached=True),
}


class Server:
    """A running system."""

    def __init__(self, system: System, port: int) -> None:
        self.system = system
        self.port = port
        self._cursors: dict[str, tuple[str, str]] = {}

    def url(self, shape: Shape) -> str:
        """Return where a shape is asked for."""
        path = shape.name if self.system.language == "limit" else "graphql"
        return f"http://127.0.0.1:{self.port}/{path}"

    def body(self, shape: Shape, sample: Sample) -> str:
        """Write a request."""
        variables: dict[str, Any] = dict(sample)
        if "row_id" in variables:
            variables["after"] = self._cursor(shape, str(variables.pop("row_id")))
        if self.system.language == "limit":
            return json.dumps({"variables": variables})
        return json.dumps({"query": self._query(shape), "variables": variables})

    def ask(self, shape: Shape, sample: Sample) -> Any:
        """Return the data of an answer in the form of ours; raises RuntimeError when there is none."""
        return self.post(shape, self.body(shape, sample))

    def _query(self, shape: Shape) -> str:
        return shape.postgraphile if self.system.language == "postgraphile" else shape.query

    def post(self, shape: Shape, body: str) -> Any:
        """Send a request; see `ask`."""
        headers = {"content-type": "application/json"}
        response = httpx.post(self.url(shape), content=body, headers=headers, timeout=60)
        found = response.json() if response.status_code == 200 else {}
        if "errors" in found or "data" not in found:
            raise RuntimeError(f"{self.system.name} answered {response.status_code}: {response.text[:500]}")
        return shape.read(found["data"]) if self.system.language == "postgraphile" else found["data"]

    def _cursor(self, shape: Shape, row_id: str) -> str:
        """Return the cursor of a row; cursors are a system's own, but all of a list are alike but for the id."""
        if not self.system.has_cursors:
            return row_id
        if shape.name not in self._cursors:
            page = self.post(shape, json.dumps({"query": self._query(shape)}))[shape.page]
            last = page["edges"][-1]["node"]
            # The keys of the generated graph's entities are Q and their id.
            self._cursors[shape.name] = page["pageInfo"]["endCursor"], last.get("sourceId") or last["id"][1:]
        return moved(*self._cursors[shape.name], row_id)


@contextmanager
def running(system: System, url: str, directory: Path) -> Iterator[Server]:
    """Run a system over the database, pinned to one core; its output goes to a file in the directory."""
    port = _free_port()
    environment = os.environ | {
        "DATABASE_URL": url,
        "PORT": str(port),
        "ATLAS_PORT": str(port),
        "POOL_SIZE": str(POOL_SIZE),
        "ATLAS_POOL_SIZE": str(POOL_SIZE),
        "SQL_DIR": str(SQL),
        "NODE_ENV": "production",
        "GRAPHILE_ENV": "production",
    }
    is_node = system.command[0].startswith("node_modules")
    pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *system.command]
    log_file = directory / f"{system.command[-1]}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            pinned,
            env=environment,
            cwd=directory / "node" if is_node else None,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(process, port, log_file)
        yield Server(system, port)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{system.name} did not stop when asked", file=sys.stderr)
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # Any answer will do: a server that listens may not be ready to answer.
            httpx.post(f"http://127.0.0.1:{port}/", content=b"{}", timeout=60)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"a server does not serve: see {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def install(directory: Path) -> None:
    """Install the servers on Node.js, and the Node.js they run on, into the directory, unless they are there."""
    target = directory / "node"
    target.mkdir(parents=True, exist_ok=True)
    for file in NODE_FILES.glob("*.mjs"):
        shutil.copy(file, target)
    wanted, done = NODE_FILES / "package.json", target / "installed.json"
    if not done.exists() or done.read_bytes() != wanted.read_bytes():
        shutil.copy(wanted, target / "package.json")
        print("installing the servers on Node.js", file=sys.stderr)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel", "error"]
        # npm runs on whatever Node.js there is; the servers need the newer one that they install.
        subprocess.run(command, cwd=target, check=True, stdout=sys.stderr)
        shutil.copy(wanted, done)


def node_version(directory: Path) -> str:
    """Return the version of the Node.js that is installed."""
    program = directory / "node" / "node_modules" / ".bin" / "node"
    return subprocess.check_output([str(program), "--version"], text=True).strip()
