import asyncio
from itertools import permutations

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import ConfigurationError
from db.models.operations import DataVersion
from db.reading import ReadSession
from db.session import read_engine, sqlalchemy_url, write_session


async def test_copy_rolls_back_with_its_transaction(engine: AsyncEngine) -> None:
    async with write_session(engine) as session:
        await session.execute("CREATE TABLE staging.kept (number int)")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 (the block is what fails)
        async with write_session(engine) as session:
            await session.copy("staging", "kept", ("number",), [(1,)])
            raise ZeroDivisionError
    async with write_session(engine) as session:
        assert (await session.execute("SELECT count(*) FROM staging.kept")).scalar_one() == 0


async def test_read_session_cannot_write_and_keeps_its_snapshot(database: str, engine: AsyncEngine) -> None:
    reading = read_engine(database, 2, 10)
    session = ReadSession(reading)
    assert await session.rows(text("SELECT version FROM data_version")) == [(0,)]
    async with write_session(engine) as writer:
        await writer.execute("UPDATE data_version SET version = 5")
    assert await session.rows(text("SELECT version FROM data_version")) == [(0,)]
    with pytest.raises(DBAPIError, match="read-only transaction"):
        await session.rows(text("UPDATE data_version SET version = 6"))
    await session.close()
    await reading.dispose()


async def test_ways_of_reading_share_a_snapshot(database: str, engine: AsyncEngine) -> None:
    reading = read_engine(database, 1, 10)
    newest = select(DataVersion.version)

    async def by_orm(session: ReadSession) -> int | None:
        return await session.scalar(newest)

    async def by_driver(session: ReadSession) -> int | None:
        ((version,),) = await session.load(lambda _: newest, None)
        return int(version)

    for first, second in permutations([by_orm, by_driver]):
        session = ReadSession(reading)
        before = await first(session)
        async with write_session(engine) as writer:
            await writer.execute("UPDATE data_version SET version = version + 1")
        assert await second(session) == await first(session) == before
        await session.close()
    await reading.dispose()


async def test_what_is_to_be_read_once_is_not_read_twice(database: str) -> None:
    reading = read_engine(database, 1, 10)
    session = ReadSession(reading)
    session.reads_once = True
    await session.load(lambda _: select(func.now()), None)
    with pytest.raises(RuntimeError):
        await session.load(lambda _: select(func.now()), None)
    await session.close()
    await reading.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_url_of_any_postgresql_scheme_is_taken(scheme: str) -> None:
    assert sqlalchemy_url(f"{scheme}://me@host/name").drivername == "postgresql+asyncpg"


def test_url_may_ask_for_encryption() -> None:
    assert sqlalchemy_url("postgresql://me@host/name?sslmode=require").query == {"ssl": "require"}


async def test_connections_are_given_in_order(database: str) -> None:
    engine = read_engine(database, 1, 30)
    served: list[int] = []

    async def read(number: int) -> None:
        session = ReadSession(engine)
        await session.rows(text("SELECT 1"))
        served.append(number)
        # Whoever comes now finds others waiting.
        later = asyncio.create_task(read(number + 10)) if number < 10 else None
        await session.close()
        if later is not None:
            await later

    await asyncio.gather(*map(read, range(10)))
    assert served == list(range(20))
    await engine.dispose()


def test_password_with_an_at_sign_is_not_told() -> None:
    with pytest.raises(ConfigurationError, match="write it as %40") as refused:
        sqlalchemy_url("postgresql://me:se@cret@host/name")
    assert "cret" not in str(refused.value)
    assert sqlalchemy_url("postgresql://me:se%40cret@host/name").password == "se@cret"
