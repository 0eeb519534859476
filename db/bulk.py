"""Bulk changes of a table: what is worth doing differently when most of it is new."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from db.session import WriteSession

GROWTH = 10
"""A load this many times the table's rows is faster with the indexes built afterwards (measured: 9 times)."""
MEMORY = "256MB"
SORT_MEMORY = "64MB"
"""Sorting takes longer with more, since the processor's cache holds less of it (measured: 6 s rather than 5)."""
INDEX_MEMORY = "1GB"


@asynccontextmanager
async def bulk_change(session: WriteSession, table: str, source: str, growth: float = GROWTH) -> AsyncIterator[bool]:
    """Change a table by the rows of another in the block; gives whether they outgrow it.

    When `source` has `growth` times the rows of `table` or more, all but the primary key of its foreign keys, unique
    constraints and indexes is dropped for the block and made again after it, all in the session's transaction: readers
    wait for its end.
    """
    await session.execute(f"SET LOCAL work_mem = '{MEMORY}'")
    # Comparing a load with its table reads much and finds little, which PostgreSQL does not expect: it would not
    # share the work between processes.
    await session.execute("SET LOCAL parallel_tuple_cost = 0.001")
    # Of what is used a few times rough figures will do: the usual ones take as long as a join.
    await session.execute("SET LOCAL default_statistics_target = 10")
    await session.execute(f"ANALYZE {source}")
    await session.execute("SET LOCAL default_statistics_target TO DEFAULT")
    if not await _outgrows(session, source, table, growth):
        yield False
        return
    await session.execute(f"SET LOCAL maintenance_work_mem = '{INDEX_MEMORY}'")
    indexes = await session.execute(
        "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index"
        f" WHERE indrelid = '{table}'::regclass AND NOT indisunique ORDER BY 1"
    )
    plain_indexes = indexes.all()
    async with _without_constraints(session, table, "fu"):
        for index in plain_indexes:
            await session.execute(f"DROP INDEX {index.name}")
        yield True
        for index in plain_indexes:
            await session.execute(index.definition)
    await session.execute(f"ANALYZE {table}")


def without_primary_key(session: WriteSession, table: str) -> AbstractAsyncContextManager[None]:
    """Drop a table's primary key for the block, to which no foreign key may refer, and build it after it."""
    return _without_constraints(session, table, "p")


async def has_rows(session: WriteSession, table: str) -> bool:
    """Tell whether a table has any row; PostgreSQL does not know it, and plans as if it had thousands."""
    return bool((await session.execute(f"SELECT EXISTS (SELECT FROM {table})")).scalar_one())


async def insert_found(session: WriteSession, table: str, columns: str, query: str) -> int:
    """Insert the few rows that a query finds among many, by way of a new table; returns their number.

    PostgreSQL shares the search between its processes, as it does not within an INSERT.
    """
    found = f"{table}_found"
    await session.execute(f"CREATE TABLE {found} ({columns}) AS {query}")
    inserted = await session.execute(f"INSERT INTO {table} ({columns}) SELECT * FROM {found}")
    await session.execute(f"DROP TABLE {found}")
    return inserted.rowcount


@asynccontextmanager
async def _without_constraints(session: WriteSession, table: str, kinds: str) -> AsyncIterator[None]:
    found = await session.execute(
        "SELECT quote_ident(conname) AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        f" WHERE conrelid = '{table}'::regclass AND strpos('{kinds}', contype::text) > 0 ORDER BY conname"
    )
    constraints = found.all()
    for constraint in constraints:
        await session.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint.name}")
    yield
    for constraint in constraints:
        await session.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint.name} {constraint.definition}")


async def _outgrows(session: WriteSession, source: str, table: str, growth: float) -> bool:
    analyzed = await session.execute(f"SELECT reltuples::bigint FROM pg_class WHERE oid = '{source}'::regclass")
    coming = int(analyzed.scalar_one())
    there = await session.execute(
        f"SELECT count(*) FROM (SELECT FROM {table} LIMIT :enough) AS counted", enough=int(coming / growth) + 1
    )
    return coming > 0 and int(there.scalar_one()) * growth <= coming
