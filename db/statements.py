"""Single statements straight through the driver: what a prepared statement costs when nothing else is in the way."""

from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine


async def read_row(engine: AsyncEngine, sql: str, arguments: Sequence[Any]) -> "asyncpg.Record":
    """Run a statement of one row on a connection of a reading engine, without a transaction around it.

    One statement sees one snapshot by itself. The connection is read-only and has its statement timeout, and the
    driver keeps the statement prepared. Raises asyncpg's and SQLAlchemy's errors, and OSError.
    """
    connection = await engine.raw_connection()
    try:
        driver = connection.driver_connection
        assert isinstance(driver, asyncpg.Connection)
        row = await driver.fetchrow(sql, *arguments)
    except asyncpg.PostgresError:
        raise
    except BaseException:
        # The driver may be in the middle of the statement, as when the request was cancelled.
        connection.invalidate()
        raise
    finally:
        connection.close()
    assert isinstance(row, asyncpg.Record)
    return row
