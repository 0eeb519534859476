"""How the server's logs look: JSON lines, or readable lines on a terminal, from every library alike.

Modules log by the standard library; what they give as `extra`, and what is bound to the request, becomes a member.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_CHARACTERS = 300
MAX_TRACEBACK_CHARACTERS = 8_000


def configure(stream: TextIO = sys.stderr) -> None:
    """Write all logs to a stream: our own from INFO on, those of libraries from WARNING on."""
    is_terminal = stream.isatty()
    gathered: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks with the values of variables would tell secrets.
    lines: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if is_terminal
        else [structlog.processors.format_exc_info, _shortened, structlog.processors.JSONRenderer()]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=gathered,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *lines],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("graph").setLevel(logging.INFO)


def _shortened(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Cut long texts, so that no request fills the disk; a traceback's end tells most."""
    for name, value in event.items():
        if name == "exception":
            event[name] = value[-MAX_TRACEBACK_CHARACTERS:]
        elif isinstance(value, str) and len(value) > MAX_CHARACTERS:
            event[name] = value[:MAX_CHARACTERS] + "…"
    return event
