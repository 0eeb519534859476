"""Sessions that read: all of one snapshot, straight through the driver, or by the ORM on the same connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

import asyncpg
from sqlalchemy import Connection, Executable, Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.pool import PoolProxiedConnection

from db.errors import ConnectionLostError
from db.observe import Statement, tell_observers
from db.session import CLEAR_SECONDS, was_lost
from db.shapes import prepared

END_SECONDS = 0.1
"""How long a request waits for its cancelled statement to end, which goes on without it then."""

NOTHING: frozenset[str] = frozenset()

T = TypeVar("T")
R = TypeVar("R", bound=asyncpg.Record)


class ReadSession:
    """What one request may do: reads, all of the same snapshot, on one connection taken at the first of them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._orm: AsyncSession | None = None
        # Loaders of one request run concurrently; a connection runs one statement at a time.
        self._turn = asyncio.Lock()
        self._is_closed = False
        self._is_cut_short = False
        self._running: asyncio.Timeout | None = None
        self._ending: asyncio.Task[None] | None = None
        self.wanted: frozenset[str] | None = None
        """The columns that somebody will look at; None when all may be."""
        self.reads_once = False
        """Whether one statement reads all: it is its own snapshot, and no transaction is begun for it."""

    @overload
    async def load(self, statement_of: Callable[[Any], Select[Any]], request: Any) -> list[Any]: ...

    @overload
    async def load(self, statement_of: Callable[[Any], Select[Any]], request: Any, kind: type[R]) -> list[R]: ...

    async def load(self, statement_of: Callable[[Any], Select[Any]], request: Any, kind: Any = asyncpg.Record) -> Any:
        """Run the statement for a request, straight through the driver, and return its rows; see `db.shapes`.

        Of the columns that are SELDOM read of such rows, there are only those that are wanted.
        """
        unread = NOTHING if self.wanted is None else getattr(kind, "SELDOM", NOTHING) - self.wanted
        sql, arguments = prepared(statement_of, request, unread)
        async with self._open() as driver:
            found = await self._observed(sql, driver.fetch(sql, *arguments, record_class=kind))
            # A second one would see another snapshot.
            self._is_closed |= self.reads_once
            return found

    async def row(self, sql: str, arguments: Sequence[Any]) -> "asyncpg.Record":
        """Return the one row of a statement as PostgreSQL prepares it."""
        async with self._open() as driver:
            row = await self._observed(sql, driver.fetchrow(sql, *arguments))
            assert isinstance(row, asyncpg.Record)
            return row

    async def rows(
        self, statement: Executable, parameters: dict[str, Any] | None = None
    ) -> Sequence[Row[*tuple[Any, ...]]]:
        """Run a statement and return all of its rows."""
        async with self._open():
            result = await self._session().execute(statement, parameters)
            return result.all()

    async def scalars(self, statement: Select[T]) -> Sequence[T]:
        """Run a statement and return the first column of its rows."""
        async with self._open():
            return (await self._session().scalars(statement)).all()

    async def scalar(self, statement: Select[T]) -> T | None:
        """Run a statement and return the first column of its first row, or None."""
        async with self._open():
            return await self._session().scalar(statement)

    async def restart(self) -> None:
        """Have later reads see another snapshot, which a failed statement makes necessary."""
        async with self._turn:
            await self._give_back()

    async def close(self) -> None:
        """Give the connection back; a running statement is cancelled and fails, later reads raise RuntimeError."""
        self._is_closed = True
        if self._running is None or self._running.expired():
            await self._give_back()
            return
        # Loaders run their statements in tasks of their own, which nobody else would end.
        self._running.reschedule(0)
        self._ending = asyncio.create_task(self._end())
        await asyncio.wait((self._ending,), timeout=END_SECONDS)

    async def _end(self) -> None:
        async with self._turn:
            await self._give_back()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        async with self._turn:
            if self._is_closed:
                # Loaders outlive a cancelled request: their next statement would take a connection for ever.
                raise RuntimeError("the request that this session belongs to has ended")
            try:
                async with asyncio.timeout(None) as self._running:
                    yield await self._begun()
            except BaseException as error:
                self._is_cut_short = True
                if isinstance(error, Exception) and self._was_broken(error):
                    raise ConnectionLostError("the connection broke") from error
                raise
            finally:
                self._running = None

    async def _begun(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return the driver's connection, in the transaction."""
        if self._connection is None:
            self._connection = await self._engine.raw_connection()
        driver = self._connection.driver_connection
        if driver is None:
            raise ConnectionLostError("the connection broke")
        assert isinstance(driver, asyncpg.Connection)
        if not (self.reads_once or driver.is_in_transaction()):
            await driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return driver

    async def _observed(self, sql: str, running: Awaitable[T]) -> T:
        begun = time.perf_counter()
        failure: str | None = None
        try:
            return await running
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            tell_observers(self._engine, Statement(sql, time.perf_counter() - begun, failure))

    def _session(self) -> AsyncSession:
        """Return the ORM's session on the same connection, whose transaction it knows nothing of."""
        if self._orm is None:
            connection = AsyncConnection(self._engine, Connection(self._engine.sync_engine, self._connection))
            self._orm = AsyncSession(connection, expire_on_commit=False, autoflush=False)
        return self._orm

    def _was_broken(self, error: Exception) -> bool:
        """Give up a connection that broke, and all that were made before it did: they may have broken too, unseen."""
        connection = self._connection
        # SQLAlchemy does so by itself.
        if connection is None or (driver := connection.driver_connection) is None:
            return False
        if not was_lost(error) and not (isinstance(driver, asyncpg.Connection) and driver.is_closed()):
            return False
        self._engine.pool._invalidate(connection)
        return True

    async def _give_back(self) -> None:
        connection, self._connection, self._orm = self._connection, None, None
        was_cut_short, self._is_cut_short = self._is_cut_short, False
        if connection is None:
            return
        try:
            driver = connection.driver_connection
            if isinstance(driver, asyncpg.Connection) and (was_cut_short or driver.is_in_transaction()):
                # The driver waits for the end of what was cancelled before it sends anything else.
                await driver.execute("ROLLBACK", timeout=CLEAR_SECONDS)
        except BaseException as error:
            # At the end of the process it is cancelled itself.
            connection.invalidate()
            if not isinstance(error, OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
                raise
        finally:
            connection.close()
