"""How the server's logs look: JSON lines, or readable lines on a terminal, from every library alike.

Modules log by the standard library; what they give as `extra`, and what is bound to the request, becomes a member.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor

MAX_CHARACTERS = 300
MAX_TRACEBACK_CHARACTERS = 8_000

# What every record has; all else was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(stream: TextIO = sys.stderr) -> None:
    """Write all logs to a stream: our own from INFO on, those of libraries from WARNING on."""
    # A line for every request: what no line tells is not gathered. See "Optimization" in Python's logging HOWTO.
    vars(logging).update(_srcfile=None, logThreads=False, logProcesses=False, logMultiprocessing=False)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_readable() if stream.isatty() else JSONLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("graph").setLevel(logging.INFO)


class JSONLines(logging.Formatter):
    """A line of JSON for each record; structlog's chain of processors takes four times as long."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        told: dict[str, Any] = {"event": record.getMessage(), **structlog.contextvars.get_contextvars()}
        told["level"] = record.levelname.lower()
        told["logger"] = record.name
        for name, value in vars(record).items():
            if name not in _STANDARD:
                told[name] = value
        if record.exc_info:
            # Tracebacks with the values of variables would tell secrets.
            told["exception"] = self.formatException(record.exc_info)
        told["timestamp"] = datetime.fromtimestamp(record.created, UTC)
        return _json(_shortened(told))


def _readable() -> logging.Formatter:
    gathered: list[Processor] = [
        structlog.contextvars.merge_contextvars,
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
