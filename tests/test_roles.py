import asyncio

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from db.migrations import upgrade
from db.session import read_engine, write_engine
from tests.client import serving
from tests.conftest import Clone


async def execute(url: str, *statements: str) -> None:
    engine = write_engine(url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def current_role(url: str) -> str:
    engine = read_engine(url, 1, 10)
    async with engine.connect() as connection:
        found = (await connection.execute(text("SELECT current_user"))).scalar_one()
    await engine.dispose()
    return str(found)


def as_user(url: str, name: str) -> str:
    return make_url(url).set(username=name).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE data_version SET version = 7",
        "DELETE FROM entity",
        "CREATE TABLE made (number int)",
        "SELECT 1 FROM staging.x",
    ],
)
async def test_api_cannot_write_even_in_a_writing_transaction(database: str, statement: str) -> None:
    await execute(database, "CREATE TABLE IF NOT EXISTS staging.x (number int)")
    async with serving(database) as client:
        connection = await client.app.state.engine.raw_connection()
        driver = connection.driver_connection
        await driver.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await driver.execute(statement)
        connection.invalidate()
        connection.close()


async def test_api_reads_as_the_reader(database: str) -> None:
    assert await current_role(database) == "atlas_reader"


async def test_tables_made_later_can_be_read(database: str) -> None:
    await execute(database, "CREATE TABLE later (number int)")
    engine = read_engine(database, 1, 10)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM later"))).scalar_one() == 0
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await connection.execute(text("INSERT INTO later VALUES (1)"))
    await engine.dispose()


def test_owner_that_may_make_no_roles_is_served_all_the_same(clone: Clone, server_url: str) -> None:
    url = clone("template0")
    name = make_url(url).database
    asyncio.run(execute(server_url, f"CREATE ROLE plain_{name} LOGIN", f"ALTER DATABASE {name} OWNER TO plain_{name}"))
    asyncio.run(execute(url, f"ALTER SCHEMA public OWNER TO plain_{name}"))
    own = as_user(url, f"plain_{name}")
    upgrade(own)
    # It may not take on the role, which another database's owner has made, until somebody lets it.
    assert asyncio.run(current_role(own)) == f"plain_{name}"
    asyncio.run(execute(server_url, f"GRANT atlas_reader TO plain_{name}"))
    assert asyncio.run(current_role(own)) == "atlas_reader"


def test_owner_that_may_make_roles_gets_a_reader(clone: Clone, server_url: str) -> None:
    url = clone("template0")
    name = make_url(url).database
    asyncio.run(execute(server_url, f"CREATE ROLE maker_{name} LOGIN CREATEROLE"))
    asyncio.run(
        execute(
            server_url,
            f"ALTER DATABASE {name} OWNER TO maker_{name}",
            f"GRANT atlas_reader TO maker_{name} WITH ADMIN OPTION",
        )
    )
    asyncio.run(execute(url, f"ALTER SCHEMA public OWNER TO maker_{name}"))
    own = as_user(url, f"maker_{name}")
    upgrade(own)
    upgrade(own)
    assert asyncio.run(current_role(own)) == "atlas_reader"
