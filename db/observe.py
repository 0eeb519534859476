"""Every statement of an engine, told to whoever measures or traces: the text, which holds no value, and the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

_TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that has ended; `failure` is the name of the error's class, or None."""

    sql: str
    seconds: float
    failure: str | None


def observe_statements(engine: AsyncEngine, tell: Callable[[Statement], None]) -> None:
    """Have a function called after each statement, in the context of the request that ran it."""
    _observe_sqlalchemy(engine, tell)
    _observe_driver(engine, tell)


def _observe_sqlalchemy(engine: AsyncEngine, tell: Callable[[Statement], None]) -> None:
    def start(_connection: Any, _cursor: Any, _sql: str, _parameters: Any, context: Any, _many: bool) -> None:
        context.started_at = time.perf_counter()

    def end(_connection: Any, _cursor: Any, sql: str, _parameters: Any, context: Any, _many: bool) -> None:
        tell(Statement(sql, time.perf_counter() - context.started_at, None))

    def fail(trouble: ExceptionContext) -> None:
        started_at = getattr(trouble.execution_context, "started_at", None)
        if started_at is not None:
            # SQLAlchemy's adapter wraps the driver's error.
            failure = trouble.original_exception.__cause__ or trouble.original_exception
            tell(Statement(trouble.statement or "", time.perf_counter() - started_at, type(failure).__name__))

    event.listen(engine.sync_engine, "before_cursor_execute", start)
    event.listen(engine.sync_engine, "after_cursor_execute", end)
    event.listen(engine.sync_engine, "handle_error", fail)


def _observe_driver(engine: AsyncEngine, tell: Callable[[Statement], None]) -> None:
    """Observe what goes to the driver past SQLAlchemy, whose own statements the driver's loggers do not see."""

    def log(query: Any) -> None:
        if not query.query.startswith(_TRANSACTION):
            failure = type(query.exception).__name__ if query.exception is not None else None
            tell(Statement(query.query, query.elapsed, failure))

    def connect(connection: Any, _record: object) -> None:
        connection.driver_connection.add_query_logger(log)

    event.listen(engine.sync_engine, "connect", connect)
