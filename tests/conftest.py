"""Databases for the tests: one embedded PostgreSQL a session, a migrated template in it, and clones of that."""

import asyncio
import io
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

import graph.app
from db.embedded import database as embedded_database
from db.migrations import upgrade
from db.session import write_engine
from db.settings import Settings
from etl import rest_client
from graph import logs, redis_link
from graph.schema import build
from tests import oxigraph, small_graph, small_records, wikidata_facts, wikidata_rdf
from tests.client import COMPILING, Client, serving
from tests.rest_reading import SECRET

Clone = Callable[[str], str]

vars(graph.app)["schema"] = build(compiling=COMPILING)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server's default database."""
    with embedded_database(Settings(database_url=None, data_dir=tmp_path_factory.mktemp("atlas"))) as url:
        yield url


@pytest.fixture(scope="session")
def clone(server_url: str) -> Clone:
    """Make a copy of a database by name and return the copy's URL; of `template0`, an empty one."""
    numbers = count(1)

    def make(template: str) -> str:
        name = f"clone_{next(numbers)}"
        asyncio.run(_administer(server_url, f'CREATE DATABASE {name} TEMPLATE "{template}" STRATEGY file_copy'))
        return make_url(server_url).set(database=name).render_as_string(hide_password=False)

    return make


@pytest.fixture(scope="session")
def migrated(clone: Clone) -> str:
    """The name of a database with all migrations and no data, to clone."""
    url = clone("template0")
    upgrade(url)
    return str(make_url(url).database)


@pytest.fixture
def database(clone: Clone, migrated: str) -> str:
    """The URL of a fresh migrated database that the test may write to."""
    return clone(migrated)


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """A writing engine on a fresh migrated database."""
    engine = write_engine(database)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def sample_url(clone: Clone, migrated: str) -> str:
    """The URL of a database with the shipped sample, loaded once; tests only read it."""
    url = clone(migrated)
    subprocess.run(
        [sys.executable, "-m", "etl", "sample"], env=os.environ | {"DATABASE_URL": url}, check=True, capture_output=True
    )
    return url


@pytest.fixture(scope="session")
async def atlas(clone: Clone, migrated: str) -> AsyncIterator[Client]:
    """A client of the API over the small graph; tests only read it."""
    url = await asyncio.to_thread(clone, migrated)
    engine = write_engine(url)
    await small_graph.load(engine)
    await engine.dispose()
    async with serving(url) as client:
        yield client


@pytest.fixture(scope="session")
async def shop(clone: Clone, migrated: str) -> AsyncIterator[Client]:
    """A client of the API over the small records; tests only read it."""
    url = await asyncio.to_thread(clone, migrated)
    engine = write_engine(url)
    await small_records.load(engine)
    await engine.dispose()
    async with serving(url) as client:
        yield client


@pytest.fixture(scope="session")
async def sample(sample_url: str) -> AsyncIterator[Client]:
    """A client of the API over the sample."""
    async with serving(sample_url) as client:
        yield client


@pytest.fixture
def impatient_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client of REST APIs wait for hardly anything, and know the secret of the tests."""
    monkeypatch.setattr(rest_client, "WAIT_INITIAL_SECONDS", 0.01)
    monkeypatch.setattr(rest_client, "WAIT_MAX_SECONDS", 0.01)
    monkeypatch.setattr(rest_client, "ATTEMPTS", 4)
    monkeypatch.setenv("REST_SECRET", SECRET)


@pytest.fixture
def patient_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for Redis as long as a busy machine may need: what is tested is not the time-out."""
    monkeypatch.setattr(redis_link, "TIMEOUT_SECONDS", 5)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the logs have during the test."""
    root, ours = logging.getLogger(), logging.getLogger("graph")
    before = (root.handlers[:], root.level, ours.level)
    stream = io.StringIO()
    logs.configure(stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.fixture(scope="session")
def wikidata_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SPARQL endpoint with the facts of Wikidata that the tests keep."""
    with oxigraph.serving(tmp_path_factory.mktemp("oxigraph"), wikidata_rdf.lines(wikidata_facts.entities())) as url:
        yield url


async def _administer(url: str, statement: str) -> None:
    engine = write_engine(url)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(statement))
    await engine.dispose()
