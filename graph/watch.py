"""What sees every operation: metrics, traces, and the audit log of callers with a token."""

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from graph.access import Caller
from graph.errors import Code
from graph.metrics import Metrics
from graph.tracing import Tracing

OK = "ok"
CANCELLED = "CANCELLED"
MAX_NAME_LENGTH = 80

# The name of a document that begins with its operation, after blanks and comments.
_NAME = re.compile(r"(?:[\s,\ufeff]|#[^\n\r]*[\n\r])*(?:query|mutation|subscription)[\s,]+([_A-Za-z][_0-9A-Za-z]*)")

audit = logging.getLogger("graph.audit")


@dataclass(slots=True)
class Seen:
    """How an operation went: "ok", or the code of its first error."""

    outcome: str = OK


class Watch:
    """Where an application's operations are seen."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self.metrics = metrics
        self.tracing = tracing

    def begin(self, engine: AsyncEngine) -> None:
        """Watch the engine that the application reads through."""
        self.metrics.watch_engine(engine)
        if self.tracing:
            self.tracing.watch_engine(engine)

    def close(self) -> None:
        """Send what waits; this takes some seconds when nobody receives it."""
        if self.tracing:
            self.tracing.close()

    @contextmanager
    def operation(self, caller: Caller, query: str | None, given_name: str | None) -> Iterator[Seen]:
        """Measure and trace an operation, and write it into the audit log when its caller has a token."""
        seen = Seen()
        name = name_of(query, given_name)
        started = time.perf_counter()
        try:
            with self.tracing.operation(name) if self.tracing else nullcontext():
                yield seen
        except asyncio.CancelledError:
            seen.outcome = CANCELLED
            raise
        except BaseException:
            seen.outcome = Code.INTERNAL
            raise
        finally:
            self.metrics.count_operation(name, seen.outcome, time.perf_counter() - started)
            if caller.subject is not None:
                _write_audit(caller, query, name, seen.outcome)


def name_of(query: str | None, given: str | None) -> str | None:
    """Return an operation's name: the one asked for, else the one its document begins with."""
    if given is None:
        found = _NAME.match(query or "")
        given = found[1] if found else None
    return given[:MAX_NAME_LENGTH] if given else None


def _write_audit(caller: Caller, query: str | None, name: str | None, outcome: str) -> None:
    # The document itself may hold what its caller would not have in a log: its hash tells the same one again.
    document = hashlib.blake2b((query or "").encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    told = {"operation": name, "document": document, "outcome": str(outcome)}
    audit.info("operation", extra=caller.told() | told)
