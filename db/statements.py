"""Single statements straight through the driver: what a prepared statement costs when nothing else is in the way."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from db.errors import ConnectionLostError, OverloadedError
from db.observe import Statement, Tell, observe_statements
from db.session import CLEAR_SECONDS, WAIT_SECONDS, was_lost

KEEP_SECONDS = 1.0
MAX_WAITING = 500
"""Who comes when so many wait already is refused at once: the last of them would not have a turn in time."""


@dataclass(slots=True)
class _Loan:
    """A connection that was taken from the engine's pool, and when it was used last."""

    connection: PoolProxiedConnection
    driver: "asyncpg.Connection[asyncpg.Record]"
    used_at: float = 0.0


class Readers:
    """Connections of a reading engine for single statements without a transaction around them.

    One statement sees one snapshot by itself; the connection is read-only and has its statement timeout, and the
    driver keeps the statement prepared. They are on loan from the engine's pool, since taking one from there for every
    statement costs more than the statement. A part of the pool is never on loan, and what is not used for a second
    goes back.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        pool = engine.pool
        assert isinstance(pool, QueuePool)
        self._observers: list[Tell] = []
        self._most = pool.size() - max(1, pool.size() // 4)
        self._count = 0
        self._idle: list[_Loan] = []
        self._waiting: deque[asyncio.Future[_Loan | None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._clearing: set[asyncio.Task[None]] = set()
        event.listen(engine.sync_engine, "engine_disposed", lambda _: self._give_all_back())

    def observe(self, tell: Tell) -> None:
        """Have a function called after each statement, of these connections and of the engine's others."""
        self._observers.append(tell)
        observe_statements(self.engine, tell)

    async def row(self, sql: str, arguments: Sequence[Any]) -> "asyncpg.Record":
        """Return the one row of a statement; when its connection breaks, it is asked for once more on another.

        A cancelled statement is cancelled in PostgreSQL too. Raises asyncpg's and SQLAlchemy's errors, OSError,
        ConnectionLostError and OverloadedError.
        """
        try:
            return await self._row(sql, arguments)
        except ConnectionLostError:
            return await self._row(sql, arguments)

    async def _row(self, sql: str, arguments: Sequence[Any]) -> "asyncpg.Record":
        loan = await self._take()
        begun = time.perf_counter()
        failure: str | None = None
        try:
            row = await loan.driver.fetchrow(sql, *arguments)
        except BaseException as error:
            failure = type(error).__name__
            if isinstance(error, asyncio.CancelledError):
                self._clear(loan)
                raise
            if loan.driver.is_closed() or was_lost(error):
                self._distrust(loan)
                raise ConnectionLostError("the connection broke") from error
            if isinstance(error, asyncpg.PostgresError):
                self._give(loan)
            else:
                self._clear(loan)
            raise
        finally:
            for tell in self._observers:
                tell(Statement(sql, time.perf_counter() - begun, failure))
        self._give(loan)
        assert isinstance(row, asyncpg.Record)
        return row

    def _distrust(self, loan: _Loan) -> None:
        """Give up a connection that broke, and all that were made before it did: they may have broken too, unseen."""
        self.engine.pool._invalidate(loan.connection, _checkin=False)
        self._discard(loan)
        while self._idle:
            self._discard(self._idle.pop())

    def _clear(self, loan: _Loan) -> None:
        """Have a connection used again once its server has confirmed that it does nothing more for it."""
        task = asyncio.create_task(self._cleared(loan))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def _cleared(self, loan: _Loan) -> None:
        try:
            async with asyncio.timeout(CLEAR_SECONDS):
                # The driver waits for the confirmation before it sends anything else.
                await loan.driver.execute("SELECT 1")
        # At the end of the process it is cancelled itself.
        except BaseException as error:
            self._discard(loan)
            if not isinstance(error, OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
                raise
        else:
            self._give(loan)

    async def _take(self) -> _Loan:
        while True:
            while self._idle:
                loan = self._idle.pop()
                if not loan.driver.is_closed():
                    return loan
                self._discard(loan)
            if self._count < max(1, self._most):
                return await self._borrow()
            if loan_or_none := await self._wait():
                return loan_or_none

    async def _borrow(self) -> _Loan:
        self._count += 1
        try:
            connection = await self.engine.raw_connection()
        except BaseException:  # a cancelled request included
            # What was not lent must not be counted as lent.
            self._forget()
            raise
        driver = connection.driver_connection
        assert isinstance(driver, asyncpg.Connection)
        return _Loan(connection, driver)

    async def _wait(self) -> _Loan | None:
        """Wait for a loan to be handed on, or for None: that another may be taken."""
        if len(self._waiting) >= MAX_WAITING:
            raise OverloadedError(f"{MAX_WAITING} wait for a connection already")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[_Loan | None] = loop.create_future()
        self._waiting.append(waiter)
        # Under load most requests come here: a timer of the loop costs a third of asyncio.timeout.
        timer = loop.call_later(WAIT_SECONDS, _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._hand_on(waiter.result())
            raise
        finally:
            timer.cancel()

    def _give(self, loan: _Loan) -> None:
        if self._most == 0:
            loan.connection.close()
            self._forget()
        else:
            self._hand_on(loan)

    def _hand_on(self, loan: _Loan | None) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(loan)
                return
        if loan is not None:
            loop = asyncio.get_running_loop()
            loan.used_at = loop.time()
            self._idle.append(loan)
            if self._sweep is None:
                self._sweep = loop.call_later(KEEP_SECONDS, self._give_back_unused)

    def _give_back_unused(self) -> None:
        loop = asyncio.get_running_loop()
        unused = [loan for loan in self._idle if loop.time() - loan.used_at >= KEEP_SECONDS]
        self._idle = [loan for loan in self._idle if loop.time() - loan.used_at < KEEP_SECONDS]
        self._sweep = loop.call_later(KEEP_SECONDS, self._give_back_unused) if self._idle else None
        for loan in unused:
            loan.connection.close()
            self._forget()

    def _discard(self, loan: _Loan) -> None:
        loan.connection.invalidate()
        loan.connection.close()
        self._forget()

    def _forget(self) -> None:
        self._count -= 1
        self._hand_on(None)

    def _give_all_back(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._discard(self._idle.pop())
        # They discard theirs: given back now, it would be nobody's and stay open.
        for task in self._clearing:
            task.cancel()


def _give_up(waiter: "asyncio.Future[_Loan | None]") -> None:
    if not waiter.done():
        waiter.set_exception(OverloadedError(f"no connection became free within {WAIT_SECONDS} seconds"))
