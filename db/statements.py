"""Single statements straight through the driver: what a prepared statement costs when nothing else is in the way."""

import asyncio
import contextvars
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from db.errors import ConnectionLostError, DatabaseUnavailableError, OverloadedError
from db.observe import Statement, Tell, observe_statements
from db.session import CLEAR_SECONDS, WAIT_SECONDS, was_lost
from db.shapes import Recent

KEEP_SECONDS = 1.0
QUICK_SECONDS = 0.001
MAX_TOGETHER = 8
"""Statements that take less than that run together, up to so many, if so many wait."""
MAX_PREPARED = 100
"""How many statements a connection on loan keeps prepared."""
MAX_WAITING = 500
"""Who comes when so many wait already is refused at once: the last of them would not have a turn in time."""

Done = Callable[["asyncpg.Record | None", Exception | None], None]


class Job:
    """A statement that waits for its turn or runs; `done` is called with its row or with what went wrong."""

    __slots__ = ("arguments", "context", "done", "is_alone", "is_second_try", "runner", "since", "sql")

    def __init__(
        self, sql: str, arguments: Sequence[Any], done: Done, since: float, context: contextvars.Context | None
    ) -> None:
        self.sql = sql
        self.arguments = arguments
        self.done: Done | None = done
        self.context = context
        self.since = since
        self.is_alone = False
        self.is_second_try = False
        self.runner: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Cancel the statement, in PostgreSQL too; `done` is not called any more."""
        self.done = None
        if self.runner is not None:
            self.runner.cancel()

    def end(self, row: "asyncpg.Record | None", error: Exception | None) -> None:
        """Call `done`, unless it was cancelled."""
        done, self.done = self.done, None
        if done is not None:
            done(row, error)


class _Prepared:
    """A statement of a connection, and the seconds that it took last."""

    __slots__ = ("seconds", "statement")

    def __init__(self, statement: "PreparedStatement[asyncpg.Record]") -> None:
        self.statement = statement
        self.seconds = math.inf


class _Loan:
    """A connection that was taken from the engine's pool."""

    __slots__ = ("_engine", "_pool", "_statements", "connection", "driver", "is_over", "rests_since", "wake")

    def __init__(self, engine: AsyncEngine, connection: PoolProxiedConnection) -> None:
        driver = connection.driver_connection
        assert isinstance(driver, asyncpg.Connection)
        self._engine = engine
        self._pool = engine.pool
        self._statements: Recent[str, _Prepared] = Recent(MAX_PREPARED)
        self.connection = connection
        self.driver = driver
        self.is_over = False
        self.rests_since = 0.0
        self.wake: asyncio.Future[bool]

    def is_quick(self, sql: str) -> bool:
        """Tell whether a statement took little time when it ran last."""
        prepared = self._statements.find(sql)
        return prepared is not None and prepared.seconds < QUICK_SECONDS

    async def rows(self, sql: str, arguments: Sequence[Sequence[Any]]) -> "Sequence[asyncpg.Record | None]":
        """Run a statement, which stays prepared, with each of some lists of arguments; return the row of each."""
        prepared = self._statements.find(sql)
        if prepared is None:
            prepared = self._statements.keep(sql, _Prepared(await self.driver.prepare(sql)))
        begun = time.perf_counter()
        try:
            if len(arguments) == 1:
                rows: Sequence[asyncpg.Record | None] = [await prepared.statement.fetchrow(*arguments[0])]
            else:
                rows = await prepared.statement.fetchmany(arguments)
        except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
            # A table was changed since: the driver prepares anew.
            self._statements.clear()
            return [await self.driver.fetchrow(sql, *one) for one in arguments]
        prepared.seconds = (time.perf_counter() - begun) / len(arguments)
        return rows

    def give_back(self) -> None:
        """Return it to its pool, if that is still the engine's."""
        if not self.is_over and self._pool is self._engine.pool:
            self.is_over = True
            self.connection.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Close it for good."""
        if not self.is_over:
            self.is_over = True
            self.connection.invalidate()
            self.connection.close()


class Readers:
    """Connections of a reading engine for single statements without a transaction around them.

    One statement sees one snapshot by itself; the connection is read-only and has its statement timeout, and the
    driver keeps the statement prepared. They are on loan from the engine's pool, since taking one from there for every
    statement costs more than the statement; each has a task that runs one statement after the other, since a task for
    every statement would cost as much again. A part of the pool is never on loan, and what is not used for a second
    goes back.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        pool = engine.pool
        assert isinstance(pool, QueuePool)
        self._observers: list[Tell] = []
        self._most = pool.size() - max(1, pool.size() // 4)
        self._count = 0
        self._is_woken = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._clearing: set[asyncio.Task[None]] = set()
        self._resting: list[_Loan] = []
        self._jobs: deque[Job] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        event.listen(engine.sync_engine, "engine_disposed", lambda _: self._give_all_back())

    def observe(self, tell: Tell) -> None:
        """Have a function called after each statement, of these connections and of the engine's others."""
        self._observers.append(tell)
        observe_statements(self.engine, tell)

    async def row(self, sql: str, arguments: Sequence[Any]) -> "asyncpg.Record":
        """Return the one row of a statement.

        A cancelled statement is cancelled in PostgreSQL too. Raises what `submit` tells and raises.
        """
        landing: asyncio.Future[asyncpg.Record] = asyncio.get_running_loop().create_future()
        job = self.submit(sql, arguments, partial(_land, landing), contextvars.copy_context())
        try:
            return await landing
        except asyncio.CancelledError:
            job.cancel()
            raise

    def submit(self, sql: str, arguments: Sequence[Any], done: Done, context: contextvars.Context | None = None) -> Job:
        """Have a function called with the one row of a statement, later; when its connection breaks, it runs once more.

        Observers are called in the context, from which they may tell whose statement it was.
        What goes wrong are asyncpg's and SQLAlchemy's errors, OSError, ConnectionLostError and OverloadedError, which
        is raised when too many wait already.
        """
        if len(self._jobs) >= MAX_WAITING:
            raise OverloadedError(f"{MAX_WAITING} wait for a connection already")
        loop = asyncio.get_running_loop()
        job = Job(sql, arguments, done, loop.time(), context)
        self._jobs.append(job)
        if self._patience is None:
            self._patience = loop.call_later(WAIT_SECONDS, self._lose_patience)
        # Whoever is about to look takes all that came together, or wakes the next one.
        if not self._is_woken:
            self._wake_one()
        return job

    def _wake_one(self) -> None:
        while self._resting:
            loan = self._resting.pop()
            if not loan.wake.done():
                loan.wake.set_result(True)
                self._is_woken = True
                return
        if self._count < max(1, self._most):
            self._count += 1
            # What it logs and traces is not of the request that happened to be the first.
            task = asyncio.get_running_loop().create_task(self._work(), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        """Run statements, one after the other, on one connection."""
        loan: _Loan | None = None
        task = asyncio.current_task()
        assert task is not None
        try:
            while (job := self._next()) is not None or (loan is not None and await self._rest(loan)):
                if job is None:
                    continue
                if loan is None or loan.is_over:
                    loan = await self._borrow(job)
                if loan is not None:
                    await self._run(job, loan, task)
                    if self._most == 0:
                        loan.give_back()
        except BaseException:  # a cancelled task included: what its connection does is not known
            if loan is not None:
                loan.discard()
            raise
        finally:
            self._count -= 1
        if loan is not None:
            loan.give_back()

    async def _borrow(self, job: Job) -> _Loan | None:
        """Take a connection from the pool; None when there is none for the statement, which is told so."""
        try:
            return _Loan(self.engine, await self.engine.raw_connection())
        except asyncio.CancelledError:
            job.end(None, DatabaseUnavailableError("the process stops"))
            raise
        except Exception as error:  # noqa: BLE001 - it is told
            job.end(None, error)
            return None

    async def _run(self, job: Job, loan: _Loan, task: "asyncio.Task[None]") -> None:
        """Run a statement, with those like it that wait if it is a quick one: together they cost half as much."""
        jobs = [job, *self._alike(job, loan)]
        if self._jobs and not self._is_woken:
            self._wake_one()
        for one in jobs:
            one.runner = task
        begun = time.perf_counter()
        rows: Sequence[asyncpg.Record | None] = ()
        error: BaseException | None = None
        try:
            rows = await loan.rows(job.sql, [one.arguments for one in jobs])
        except BaseException as raised:  # noqa: BLE001 - it is told
            error = raised
        seconds = (time.perf_counter() - begun) / len(jobs)
        for one in jobs:
            one.runner = None
        if self._observers and (error is None or len(jobs) == 1):
            self._tell(jobs, seconds, error)
        if error is not None:
            await self._mend(jobs, loan, task, error)
            return
        for one, row in zip(jobs, rows, strict=True):
            one.end(row, None)

    def _alike(self, job: Job, loan: _Loan) -> list[Job]:
        """Take those who wait for the same statement."""
        found: list[Job] = []
        if job.is_alone or not self._jobs or not loan.is_quick(job.sql):
            return found
        while self._jobs and len(found) < MAX_TOGETHER - 1:
            other = self._jobs[0]
            if other.done is not None:
                if other.is_alone or other.sql != job.sql:
                    break
                found.append(other)
            self._jobs.popleft()
        return found

    def _tell(self, jobs: Sequence[Job], seconds: float, error: BaseException | None) -> None:
        """Tell observers: of what has no context, together."""
        failure = None if error is None else type(error).__name__
        count = len(jobs)
        for job in jobs:
            if job.context is not None:
                count -= 1
                for tell in self._observers:
                    job.context.run(tell, Statement(job.sql, seconds, failure))
        if count:
            for tell in self._observers:
                tell(Statement(jobs[0].sql, seconds, failure, count))

    async def _mend(self, jobs: list[Job], loan: _Loan, task: "asyncio.Task[None]", error: BaseException) -> None:
        """Tell what went wrong, or try again; give up the connection if it is no longer good.

        Of several, each is tried by itself: one of them failed, or was cancelled.
        """
        if isinstance(error, asyncio.CancelledError) and all(job.done is not None for job in jobs):
            for job in jobs:
                job.end(None, DatabaseUnavailableError("the process stops"))
            raise error
        is_lost = not isinstance(error, asyncio.CancelledError) and (loan.driver.is_closed() or was_lost(error))
        if len(jobs) > 1:
            self._try_again(jobs)
        elif is_lost and not jobs[0].is_second_try:
            jobs[0].is_second_try = True
            self._try_again(jobs)
        elif is_lost:
            lost = ConnectionLostError("the connection broke")
            lost.__cause__ = error
            jobs[0].end(None, lost)
        elif isinstance(error, Exception):
            jobs[0].end(None, error)
        if is_lost:
            self._distrust(loan)
        elif isinstance(error, asyncio.CancelledError):
            task.uncancel()
            await self._clear(loan, task)
        elif not isinstance(error, asyncpg.PostgresError):
            await self._clear(loan, task)

    def _try_again(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.is_alone = True
            job.since = asyncio.get_running_loop().time()
        self._jobs.extendleft(reversed(jobs))

    def _distrust(self, loan: _Loan) -> None:
        """Give up a connection that broke, and all that were made before it did: they may have broken too, unseen."""
        self.engine.pool._invalidate(loan.connection, _checkin=False)
        loan.discard()
        for resting in self._resting:
            resting.discard()
        self._wake_all()

    async def _clear(self, loan: _Loan, task: "asyncio.Task[None]") -> None:
        """Give a connection up unless its server confirms that it does nothing more for it."""
        self._clearing.add(task)
        try:
            async with asyncio.timeout(CLEAR_SECONDS):
                # The driver waits for the confirmation before it sends anything else.
                await loan.driver.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            loan.discard()
        finally:
            self._clearing.discard(task)

    def _next(self) -> Job | None:
        while self._jobs:
            job = self._jobs.popleft()
            if job.done is not None:
                return job
        return None

    async def _rest(self, loan: _Loan) -> bool:
        """Wait for a statement; tell whether there may be one, rather than that none comes for a while."""
        if loan.is_over:
            return False
        loop = asyncio.get_running_loop()
        loan.rests_since = loop.time()
        loan.wake = loop.create_future()
        self._resting.append(loan)
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_SECONDS, self._wake_unused)
        is_for_work = True
        try:
            is_for_work = await loan.wake
        finally:
            if is_for_work:
                self._is_woken = False
        if loan.driver.is_closed():
            loan.discard()
        # What is submitted from when it is woken to when it ends waits in the queue.
        return is_for_work or bool(self._jobs)

    def _wake_unused(self) -> None:
        """Have what was not used for a while given back."""
        loop = asyncio.get_running_loop()
        due = loop.time() - KEEP_SECONDS
        # Those used last are at the end.
        while self._resting and self._resting[0].rests_since <= due:
            self._end_rest(self._resting.pop(0))
        again = loop.call_at(self._resting[0].rests_since + KEEP_SECONDS, self._wake_unused) if self._resting else None
        self._sweep = again

    def _wake_all(self) -> None:
        while self._resting:
            self._end_rest(self._resting.pop())

    @staticmethod
    def _end_rest(loan: _Loan) -> None:
        if not loan.wake.done():
            loan.wake.set_result(False)

    def _lose_patience(self) -> None:
        """Refuse what has waited for too long."""
        loop = asyncio.get_running_loop()
        due = loop.time() - WAIT_SECONDS
        while self._jobs and (self._jobs[0].done is None or self._jobs[0].since <= due):
            reason = f"no connection became free within {WAIT_SECONDS} seconds"
            self._jobs.popleft().end(None, OverloadedError(reason))
        again = loop.call_at(self._jobs[0].since + WAIT_SECONDS, self._lose_patience) if self._jobs else None
        self._patience = again

    def _give_all_back(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for loan in self._resting:
            loan.discard()
        self._wake_all()
        # They discard theirs: given back now, it would be nobody's and stay open.
        for task in self._clearing:
            task.cancel()


def _land(landing: "asyncio.Future[asyncpg.Record]", row: "asyncpg.Record | None", error: Exception | None) -> None:
    if landing.done():
        return
    if error is not None or row is None:
        landing.set_exception(error or AssertionError("the statement gave no row"))
    else:
        landing.set_result(row)
