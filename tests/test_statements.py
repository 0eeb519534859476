import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import statements
from db.errors import ConnectionLostError, OverloadedError
from db.session import read_engine
from db.statements import Readers


@pytest.fixture
async def engine(server_url: str) -> AsyncIterator[AsyncEngine]:
    engine = read_engine(server_url, 4, 10)
    yield engine
    await engine.dispose()


async def backend(readers: Readers, seconds: float = 0) -> int:
    number: int = (await readers.row("SELECT pg_backend_pid(), pg_sleep($1)", [seconds]))[0]
    return number


def on_loan(engine: AsyncEngine) -> int:
    pool: Any = engine.pool
    number: int = pool.checkedout()
    return number


async def test_row_comes_with_its_types(engine: AsyncEngine) -> None:
    row = await Readers(engine).row("SELECT $1::bigint + 1 AS one, 'x'::bytea AS two", [2**40])
    assert (row["one"], row["two"]) == (2**40 + 1, b"x")


async def test_a_part_of_the_pool_is_never_on_loan(engine: AsyncEngine) -> None:
    readers = Readers(engine)
    backends = await asyncio.gather(*(backend(readers, 0.05) for _ in range(12)))
    assert (len(set(backends)), on_loan(engine)) == (3, 3)
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar_one() == 1


async def test_pool_of_one_serves_both_ways(server_url: str) -> None:
    engine = read_engine(server_url, 1, 10)
    readers = Readers(engine)
    for _ in range(2):
        assert len(set(await asyncio.gather(*(backend(readers) for _ in range(5))))) == 1
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql("SELECT 1")).scalar_one() == 1
    await engine.dispose()


async def test_what_is_not_used_goes_back(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "KEEP_SECONDS", 0.01)
    readers = Readers(engine)
    await backend(readers)
    await asyncio.sleep(0.05)
    assert on_loan(engine) == 0
    assert await backend(readers) > 0


async def test_connection_closed_by_the_server_is_replaced(engine: AsyncEngine) -> None:
    readers = Readers(engine)
    first = await backend(readers)
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"SELECT pg_terminate_backend({first})")
    await asyncio.sleep(0.05)
    assert await backend(readers) != first


async def test_cancelled_and_failed_statements_leave_a_working_connection(engine: AsyncEngine) -> None:
    readers = Readers(engine)
    for _ in range(5):
        tasks = [asyncio.create_task(backend(readers, 5)) for _ in range(6)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await readers.row("SELECT 1 / 0", [])
    # One of them may have to be opened anew.
    assert len(set(await asyncio.gather(*(backend(readers, 0.5) for _ in range(6))))) == 3


async def test_waiting_for_a_connection_ends(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "WAIT_SECONDS", 0.05)
    readers = Readers(engine)
    busy = [asyncio.create_task(backend(readers, 0.3)) for _ in range(3)]
    await asyncio.sleep(0.02)
    with pytest.raises(OverloadedError):
        await backend(readers)
    await asyncio.gather(*busy)
    assert await backend(readers) > 0


async def test_statement_that_writes_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await Readers(engine).row("CREATE TABLE made (number int)", [])


async def test_connection_that_is_being_cleared_ends_with_its_engine(
    server_url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "KEEP_SECONDS", 0.01)
    other = read_engine(server_url, 4, 10)
    readers = Readers(other)
    number = await backend(readers)
    task = asyncio.create_task(backend(readers, 5))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait((task,))
    assert readers._clearing
    await other.dispose()
    there = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(5):
        while (await Readers(engine).row(there, [number]))[0]:  # noqa: ASYNC110 - nor has PostgreSQL an event for it
            await asyncio.sleep(0.05)


async def test_statement_is_prepared_anew_when_its_table_has_changed(database: str) -> None:
    other = read_engine(database, 4, 10)
    readers = Readers(other)
    writer = await asyncpg.connect(database)
    await writer.execute("CREATE TABLE changing (one int); INSERT INTO changing VALUES (1)")
    for _ in range(2):
        assert tuple(await readers.row("SELECT * FROM changing", [])) == (1,)
    await writer.execute("ALTER TABLE changing ADD two int DEFAULT 2")
    for _ in range(2):
        assert tuple(await readers.row("SELECT * FROM changing", [])) == (1, 2)
    await writer.close()
    await other.dispose()


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many statements ran together, each time; all are quick that have run before."""
    found: list[int] = []
    rows = statements._Loan.rows

    async def counted(loan: Any, sql: str, arguments: Any) -> Any:
        found.append(len(arguments))
        return await rows(loan, sql, arguments)

    monkeypatch.setattr(statements._Loan, "rows", counted)
    monkeypatch.setattr(statements, "QUICK_SECONDS", 60)
    return found


async def warm(readers: Readers, sql: str, argument: object) -> None:
    """Have a statement run on all connections."""
    for _ in range(2):
        await asyncio.gather(*(backend(readers, 0.05) for _ in range(3)))
        await asyncio.gather(*(readers.row(sql, [argument]) for _ in range(3)))


async def test_quick_statements_run_together(engine: AsyncEngine, together: list[int]) -> None:
    readers = Readers(engine)
    sql = "SELECT $1::int * 2"
    await warm(readers, sql, 1)
    together.clear()
    rows = await asyncio.gather(*(readers.row(sql, [number]) for number in range(100)))
    assert [row[0] for row in rows] == [number * 2 for number in range(100)]
    assert sum(together) == 100
    assert 1 < max(together) <= statements.MAX_TOGETHER


async def test_one_that_fails_fails_alone(engine: AsyncEngine, together: list[int]) -> None:
    readers = Readers(engine)
    sql = "SELECT 12 / $1::int"
    await warm(readers, sql, 1)
    together.clear()
    rows = await asyncio.gather(*(readers.row(sql, [number]) for number in (1, 2, 0, 3)), return_exceptions=True)
    assert together[0] == 4
    assert isinstance(rows.pop(2), asyncpg.DivisionByZeroError)
    assert [row[0] for row in rows if not isinstance(row, BaseException)] == [12, 6, 4]


async def test_one_that_is_cancelled_holds_up_none(engine: AsyncEngine, together: list[int]) -> None:
    readers = Readers(engine)
    await warm(readers, "SELECT $1::float, pg_sleep($1)", 0.0)
    together.clear()
    asked = [
        asyncio.create_task(readers.row("SELECT $1::float, pg_sleep($1)", [seconds])) for seconds in (0.0, 0.01, 30.0)
    ]
    await asyncio.sleep(0.2)
    assert together == [3]
    asked[2].cancel()
    async with asyncio.timeout(10):
        assert [(await one)[0] for one in asked[:2]] == [0.0, 0.01]
    with pytest.raises(asyncio.CancelledError):
        await asked[2]


async def test_one_whose_connection_breaks_breaks_none(engine: AsyncEngine, together: list[int]) -> None:
    readers = Readers(engine)
    sql = "SELECT CASE WHEN $1::bool THEN pg_terminate_backend(pg_backend_pid()) ELSE true END"
    await warm(readers, sql, False)
    together.clear()
    rows = await asyncio.gather(*(readers.row(sql, [ends]) for ends in (False, True, False)), return_exceptions=True)
    assert together[0] == 3
    assert isinstance(rows.pop(1), ConnectionLostError)
    assert [row[0] for row in rows if not isinstance(row, BaseException)] == [True, True]
