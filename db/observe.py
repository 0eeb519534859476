"""Every statement of an API, told to whoever measures or traces: the text, which holds no value, and the time."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine


class Statement(NamedTuple):
    """A statement that has ended; `failure` is the name of the error's class, or None.

    It may have run several `times` together, which took so many seconds each.
    """

    sql: str
    seconds: float
    failure: str | None
    times: int = 1


Tell = Callable[[Statement], None]


OBSERVERS = "observers"
"""The option under which a reading engine has a list of those who are told of statements."""


def tell_observers(engine: AsyncEngine, statement: Statement) -> None:
    """Tell of a statement that a session ran past SQLAlchemy."""
    for tell in engine.get_execution_options()[OBSERVERS]:
        tell(statement)


def observe_statements(engine: AsyncEngine, tell: Tell) -> None:
    """Have a function called after each statement of an engine's sessions, in the context of its request."""
    engine.get_execution_options()[OBSERVERS].append(tell)

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
