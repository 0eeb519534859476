"""Engines and sessions: reading and writing are different types, so that a reader cannot be handed a writer."""

import math
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import orjson
from sqlalchemy import CursorResult, Executable, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from db.binary_copy import HEADER, TRAILER
from db.breaker import Breaker
from db.errors import ConfigurationError, ConnectionLostError, DatabaseUnavailableError
from db.observe import OBSERVERS
from db.pool import FairPool
from db.roles import READ_ONLY

CONNECT_TIMEOUT_SECONDS = 10
WAIT_SECONDS = 1.0
"""How long a reader waits for one of the pool's connections: who waits longer is told that all are busy."""
READER_CONNECT_TIMEOUT_SECONDS = 2
IDLE_SECONDS = 1.0
"""A connection that was idle for longer is asked whether it lives, before a statement is trusted to it."""
CHECK_SECONDS = 0.5
CLEAR_SECONDS = 2.0
"""How long a server may take to confirm that it stopped a statement, before the connection is given up."""
OLDEST_SERVER = 14
SILENCE_SECONDS = 30
"""A loader's connection of which the network carries nothing for so long is given up, by either end."""
PROBE_SECONDS = 5
LOOK_SECONDS = 5
"""How often the server looks whether the loader of a statement that runs is there still."""
URL_OPTIONS = {"host": "host", "port": "port", "ssl": "ssl", "sslmode": "ssl"}
"""What may follow the "?" of a URL, and asyncpg's names for it."""

DATABASE_ERRORS = (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a statement may raise: COPY goes to the driver past SQLAlchemy."""

READ_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, OSError, DatabaseUnavailableError)
"""What reading may raise."""

# The driver complains about a URL's parts by ValueError, OverflowError and its InterfaceError.
_REFUSALS = (ValueError, OverflowError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError)
_LOOK = "client_connection_check_interval"
# Connection exceptions, insufficient resources, operator intervention, system errors.
_FAULTS_OF_THE_SERVER = ("08", "53", "57P", "58")


def sqlalchemy_url(url: str) -> URL:
    """Turn a libpq-style URL into SQLAlchemy's; raises ConfigurationError when it is none."""
    try:
        parsed = make_url(url)
    # A port that is no number is a ValueError.
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            "DATABASE_URL cannot be read: expected postgresql://user:password@host:5432/name"
        ) from error
    if parsed.drivername.split("+")[0] not in ("postgresql", "postgres"):
        raise ConfigurationError(
            f"DATABASE_URL starts with {parsed.drivername!r}: only PostgreSQL is supported (postgresql://…)"
        )
    if "@" in (parsed.host or ""):
        # What follows the first @ would be told with the host.
        raise ConfigurationError("DATABASE_URL has an @ in its user or password: write it as %40")
    if unknown := sorted(parsed.query.keys() - URL_OPTIONS.keys()):
        raise ConfigurationError(
            f"DATABASE_URL has the option {unknown[0]!r}: only {', '.join(URL_OPTIONS)} can be given"
        )
    options = {URL_OPTIONS[name]: value for name, value in parsed.query.items()}
    return parsed.set(drivername="postgresql+asyncpg", query=options)


def read_engine(
    url: str, pool_size: int, statement_timeout_seconds: float, breaker: Breaker | None = None
) -> AsyncEngine:
    """Make the engine of an API: every transaction is read-only and sees one snapshot of the data.

    While the breaker is open, no connection is made; what needs one raises DatabaseUnavailableError.
    """
    limit = f"{max(1, int(statement_timeout_seconds * 1000))}ms"
    engine = create_async_engine(
        sqlalchemy_url(url),
        poolclass=FairPool,
        pool_size=pool_size,
        max_overflow=0,
        # Who needs a transaction begins it; the connections cannot write in any case.
        isolation_level="AUTOCOMMIT",
        pool_timeout=WAIT_SECONDS,
        json_deserializer=orjson.loads,
        connect_args={
            "timeout": READER_CONNECT_TIMEOUT_SECONDS,
            # Compiled operations can be long; their number is bounded where they are made.
            "max_cacheable_statement_size": 0,
            "server_settings": {
                "application_name": "chronos-atlas graph",
                "default_transaction_read_only": "on",
                # Compiling costs more than any of the API's short queries saves.
                "jit": "off",
                "statement_timeout": limit,
                "lock_timeout": limit,
                "idle_in_transaction_session_timeout": limit,
                # The server lets go of a client that has vanished.
                "tcp_keepalives_idle": "10",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "3",
            },
        },
    )
    event.listen(engine.sync_engine, "do_connect", partial(_attempt, breaker or Breaker("The database")))
    event.listen(engine.sync_engine, "connect", lambda connection, _: _notice_silence(connection, 3, 1))
    event.listen(engine.sync_engine, "connect", _read_only)
    event.listen(engine.sync_engine, "checkin", _note_idleness)
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine.execution_options(**{OBSERVERS: []})


def _attempt(breaker: Breaker, dialect: Any, _record: object, arguments: Any, options: Any) -> Any:
    if breaker.opened:
        raise DatabaseUnavailableError("the database could not be reached just now")
    with breaker:
        return dialect.connect(*arguments, **options)


def _notice_silence(connection: Any, silence_seconds: int, probe_seconds: int) -> None:
    """Have the kernel close a connection whose far side has been silent for so long."""
    # Neither asyncpg nor asyncio has an option for it.
    client = connection.driver_connection._transport.get_extra_info("socket")
    if client is None or client.family not in (socket.AF_INET, socket.AF_INET6):
        return
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", probe_seconds),
        ("TCP_KEEPINTVL", probe_seconds),
        ("TCP_KEEPCNT", silence_seconds // probe_seconds - 1),
        ("TCP_USER_TIMEOUT", silence_seconds * 1000),
    ):
        # Elsewhere than on Linux some are missing, and the checks have to do.
        if (option := getattr(socket, name, None)) is not None:
            client.setsockopt(socket.IPPROTO_TCP, option, value)


def _read_only(connection: Any, _record: object) -> None:
    """Give up the right to write."""
    driver = connection.driver_connection
    try:
        connection.run_async(lambda _: driver.fetchval(READ_ONLY, timeout=READER_CONNECT_TIMEOUT_SECONDS))
    except BaseException:  # whoever wanted the connection may be cancelled
        # The pool does not know it yet.
        driver.terminate()
        raise


def _note_idleness(_connection: object, record: Any) -> None:
    record.info["idle_since"] = time.monotonic()


def _refuse_dead(connection: Any, record: Any, _proxy: object) -> None:
    """Have the pool replace a connection that is closed, or that does not answer after it was idle."""
    driver = connection.driver_connection
    if driver.is_closed():
        raise DisconnectionError("the server closed the connection")
    if time.monotonic() - record.info.get("idle_since", math.inf) <= IDLE_SECONDS:
        return
    try:
        connection.run_async(lambda _: driver.execute("SELECT 1", timeout=CHECK_SECONDS))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # Else the pool would wait for its farewell.
        driver.terminate()
        raise DisconnectionError("the connection is dead") from error


def was_lost(error: BaseException) -> bool:
    """Tell whether an error is that of a connection that broke while it was used."""
    if isinstance(error, ConnectionLostError | asyncpg.ConnectionDoesNotExistError | ConnectionResetError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # Shut down by an operator, and by a crash.
    return getattr(error, "sqlstate", None) in ("57P01", "57P02")


def write_engine(url: str) -> AsyncEngine:
    """Make the engine of a loader or migration: a connection a use, no time limit on statements.

    A network that is silent for SILENCE_SECONDS ends a connection at either end, so that neither a statement is awaited
    nor a dead loader's lock held for ever. Raises DatabaseUnavailableError where no connection can be had.
    """
    engine = create_async_engine(
        sqlalchemy_url(url),
        poolclass=NullPool,
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "server_settings": {
                "application_name": "chronos-atlas etl",
                "jit": "off",
                "tcp_keepalives_idle": str(PROBE_SECONDS),
                "tcp_keepalives_interval": str(PROBE_SECONDS),
                "tcp_keepalives_count": str(SILENCE_SECONDS // PROBE_SECONDS - 1),
                "tcp_user_timeout": str(SILENCE_SECONDS * 1000),
                # A long statement would otherwise run on, and hold its locks, after its loader is dead.
                _LOOK: f"{LOOK_SECONDS}s",
            },
        },
    )
    event.listen(engine.sync_engine, "do_connect", _connect)
    return engine


def _connect(dialect: Any, _record: object, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    refused = dialect.loaded_dbapi.Error
    try:
        try:
            connection = dialect.connect(*arguments, **options)
        except refused as error:
            if not isinstance(error.__cause__, asyncpg.InvalidParameterValueError):
                raise
            # A server on Windows cannot look.
            settings = {name: value for name, value in options["server_settings"].items() if name != _LOOK}
            connection = dialect.connect(*arguments, **options | {"server_settings": settings})
    except TimeoutError as error:
        raise DatabaseUnavailableError(
            f"cannot connect to PostgreSQL: no answer within {CONNECT_TIMEOUT_SECONDS} seconds"
        ) from error
    except (OSError, refused) as error:
        cause = error if isinstance(error, OSError) else error.__cause__ or error
        raise DatabaseUnavailableError(f"cannot connect to PostgreSQL: {one_line(cause)}") from cause
    _notice_silence(connection, SILENCE_SECONDS, PROBE_SECONDS)
    return connection


class WriteSession:
    """One transaction of a loader, with PostgreSQL's binary COPY."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def execute(self, statement: Executable | str, **parameters: Any) -> CursorResult[Any]:
        """Run a statement; a text takes its parameters by name."""
        if isinstance(statement, str):
            statement = text(statement)
        return await self._connection.execute(statement, parameters)

    async def copy(self, schema: str, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Append rows to a table by binary COPY."""
        driver = await _driver(self._connection)
        await driver.copy_records_to_table(table, schema_name=schema, columns=list(columns), records=rows)

    async def copied(self, query: str) -> bytearray:
        """Return the rows of a query in the form of binary COPY: no Python objects are made."""
        received = bytearray()

        async def keep(chunk: bytes) -> None:
            received.extend(chunk)

        driver = await _driver(self._connection)
        await driver.copy_from_query(query, output=keep, format="binary")
        return received

    async def copy_written(self, schema: str, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
        """Append rows to a table that are written, some at a time, in the form of binary COPY; see `db.binary_copy`."""

        async def whole() -> AsyncIterator[bytes]:
            yield HEADER
            for part in rows:
                yield part
            yield TRAILER

        driver = await _driver(self._connection)
        await driver.copy_to_table(table, schema_name=schema, columns=list(columns), source=whole(), format="binary")


async def _driver(connection: AsyncConnection) -> "asyncpg.Connection[asyncpg.Record]":
    """Return the driver's connection, in the transaction."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, asyncpg.Connection)
    if not driver.is_in_transaction():
        # SQLAlchemy sends BEGIN with its first own statement; without that, a COPY would commit by itself.
        await connection.execute(text("SELECT 1"))
    return driver


@asynccontextmanager
async def write_session(engine: AsyncEngine) -> AsyncIterator[WriteSession]:
    """Open a transaction that commits at the end of the block and rolls back on an error."""
    async with engine.begin() as connection:
        yield WriteSession(connection)


async def check_server(url: str) -> None:
    """Connect once; raises DatabaseUnavailableError, in one clear line, when that fails or the server is too old."""
    target = sqlalchemy_url(url)
    where = target.render_as_string(hide_password=True).replace("+asyncpg", "")
    engine = write_engine(url)
    try:
        async with engine.connect() as connection:
            version = int((await connection.execute(text("SHOW server_version_num"))).scalar_one()) // 10_000
    except (DatabaseUnavailableError, *_REFUSALS) as error:
        cause = error.__cause__ if isinstance(error, DatabaseUnavailableError) else getattr(error, "orig", None)
        cause = cause or error
        raise DatabaseUnavailableError(f"cannot connect to {where}: {one_line(cause)}") from error
    finally:
        await engine.dispose()
    if version < OLDEST_SERVER:
        raise DatabaseUnavailableError(f"{where} is PostgreSQL {version}: {OLDEST_SERVER} or later is needed")


async def is_empty(url: str) -> bool:
    """Tell whether the migrated database at the URL holds no entity."""
    engine = write_engine(url)
    try:
        async with engine.connect() as connection:
            return not (await connection.execute(text("SELECT EXISTS (SELECT FROM entity)"))).scalar_one()
    finally:
        await engine.dispose()


def one_line(error: BaseException) -> str:
    """Write an error as one line for a person."""
    cause = getattr(error, "__cause__", None) if isinstance(error, DBAPIError) else error
    message = " ".join(str(cause or error).split())
    return message or type(error).__name__


def fault_of_server(error: BaseException) -> str | None:
    """Say in one line how PostgreSQL failed: gone, out of disk or memory; None when it is not to blame."""
    if isinstance(error, DatabaseUnavailableError):
        return one_line(error)
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
    if isinstance(cause, asyncpg.InterfaceError):
        # A closed connection is told in no other way.
        return f"the connection to PostgreSQL is gone: {one_line(cause)}" if "closed" in str(cause) else None
    if not isinstance(cause, asyncpg.PostgresError) or not str(cause.sqlstate).startswith(_FAULTS_OF_THE_SERVER):
        return None
    if str(cause.sqlstate).startswith("08"):
        why = f" ({one_line(cause.__cause__)})" if cause.__cause__ else ""
        return f"the connection to PostgreSQL is gone: {one_line(cause)}{why}"
    return f"PostgreSQL cannot go on: {one_line(cause)}"
