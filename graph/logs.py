"""How the server's logs look: JSON lines, or readable lines on a terminal, from every library alike.

Modules log by the standard library; what they give as `extra`, and the request's id, become members.
"""

import asyncio
import json
import logging
import sys
import time
import warnings
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_CHARACTERS = 300
MAX_TRACEBACK_CHARACTERS = 8_000
GATHER_SECONDS = 0.1
GATHER_LINES = 100

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered."""

_TRACEBACKS = logging.Formatter()

# What every record has; all else was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(stream: TextIO = sys.stderr) -> None:
    """Write all logs to a stream: our own from INFO on, those of libraries from WARNING on."""
    # What no line tells is not gathered. See "Optimization" in Python's logging HOWTO.
    vars(logging).update(_srcfile=None, logThreads=False, logProcesses=False, logMultiprocessing=False)
    handler = _readable(stream) if stream.isatty() else JSONLines(stream)
    # graphql-core leaves coroutines of fields behind that it had not begun when a request was cancelled.
    warnings.filterwarnings("ignore", r"coroutine '(GraphQLCoreConverter|\w*Executor)\.", RuntimeWarning)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("graph").setLevel(logging.INFO)


class JSONLines(logging.StreamHandler[TextIO]):
    """Writes a line of JSON for each record; structlog's chain of processors takes four times as long.

    Lines of requests are written together, GATHER_LINES at most and GATHER_SECONDS late: each alone would take a system
    call.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[tuple[str, str, str, str, dict[str, Any], float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after those that wait."""
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits."""
        # A log that cannot be written must not fail what it tells of.
        with self.lock or nullcontext(), suppress(OSError, ValueError):
            if self._waiting:
                waiting, self._waiting = self._waiting, []
                self.stream.write("".join([_line(*one) + self.terminator for one in waiting]))
            super().flush()

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        told = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            # Tracebacks with the values of variables would tell secrets.
            told["exception"] = _TRACEBACKS.formatException(record.exc_info)
        told = _shortened({"event": record.getMessage(), **told})
        return _line(told.pop("event"), record.levelname, record.name, REQUEST_ID.get(), told, record.created)

    def tell(self, event: str, logger: str, request_id: str, told: dict[str, Any]) -> None:
        """Have a line written at INFO without a record, which would take three times as long; its texts must be short.

        Only where an event loop runs.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
        # They are written as JSON together too, which takes half as long; not too many, for whom requests would wait.
        self._waiting.append((event, "INFO", logger, request_id, told, time.time()))
        if len(self._waiting) >= GATHER_LINES:
            self.flush()


def tell(logger: logging.Logger, event: str, request_id: str, told: dict[str, Any]) -> None:
    """Log at INFO what every request tells."""
    handlers = logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], JSONLines) and logger.isEnabledFor(logging.INFO):
        handlers[0].tell(event, logger.name, request_id, told)
    else:
        logger.info(event, extra=told | {"request_id": request_id})


def _readable(stream: TextIO) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_coloured())
    return handler


def _coloured() -> logging.Formatter:
    gathered: list[Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=gathered,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ],
    )


def _add_request_id(_logger: WrappedLogger, _method: str, told: EventDict) -> EventDict:
    if (request_id := REQUEST_ID.get()) is not None:
        told["request_id"] = request_id
    return told


def _line(event: str, level: str, logger: str, request_id: str | None, told: dict[str, Any], created: float) -> str:
    """Write a line, of a time in seconds since 1970."""
    first = {"event": event} if request_id is None else {"event": event, "request_id": request_id}
    when = datetime.fromtimestamp(created, UTC)
    return _json({**first, "level": level.lower(), "logger": logger, **told, "timestamp": when})


def _json(told: dict[str, Any]) -> str:
    try:
        return orjson.dumps(told, default=str, option=orjson.OPT_UTC_Z).decode()
    except TypeError:
        # Half a character, or a number beyond 64 bits.
        return json.dumps(told, default=str)


def _shortened(told: dict[str, Any]) -> dict[str, Any]:
    """Cut long texts, so that no request fills the disk; a traceback's end tells most."""
    for name, value in told.items():
        if isinstance(value, str) and len(value) > MAX_CHARACTERS:
            is_traceback = name == "exception"
            told[name] = value[-MAX_TRACEBACK_CHARACTERS:] if is_traceback else value[:MAX_CHARACTERS] + "…"
    return told
