"""What sees every operation: metrics, traces, and the audit log of callers with a token."""

import asyncio
import hashlib
import logging
import re
import time
from typing import Any

from starlette.requests import ClientDisconnect

from db.statements import Readers
from graph.access import Caller
from graph.errors import Code, explain
from graph.metrics import Metrics
from graph.tracing import Tracing

OK = "ok"
CANCELLED = "CANCELLED"
MAX_NAME_LENGTH = 80

# The name of a document that begins with its operation, after blanks and comments.
_NAME = re.compile(r"(?:[\s,\ufeff]|#[^\n\r]*[\n\r])*(?:query|mutation|subscription)[\s,]+([_A-Za-z][_0-9A-Za-z]*)")

audit = logging.getLogger("graph.audit")


class Watch:
    """Where an application's operations are seen."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self.metrics = metrics
        self.tracing = tracing

    def begin(self, readers: Readers) -> None:
        """Watch what the application reads through."""
        self.metrics.watch_readers(readers)
        if self.tracing:
            self.tracing.watch_readers(readers)

    def close(self) -> None:
        """Send what waits; this takes some seconds when nobody receives it."""
        if self.tracing:
            self.tracing.close()

    def operation(self, caller: Caller, query: str | None, name: str | None) -> "Seen":
        """Return what is to be entered while an operation is answered; its name is that of `name_of`."""
        return Seen(self, caller, query, name)


class Seen:
    """An operation while it is answered; whoever answers tells the outcome: "ok", or the code of the first error.

    It is measured and traced, and written into the audit log when its caller has a token.
    """

    __slots__ = ("_caller", "_name", "_query", "_span", "_started", "_watch", "outcome")

    def __init__(self, watch: Watch, caller: Caller, query: str | None, name: str | None) -> None:
        self.outcome: str = OK
        self._watch = watch
        self._caller = caller
        self._query = query
        self._name = name
        self._span = watch.tracing.operation(name) if watch.tracing else None
        self._started = time.perf_counter()

    def __enter__(self) -> "Seen":
        """Begin."""
        if self._span is not None:
            self._span.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """End, also by an error or cancellation."""
        if kind is not None:
            self.outcome = (
                CANCELLED if issubclass(kind, asyncio.CancelledError | ClientDisconnect) else _outcome_of(error)
            )
        if self._span is not None:
            self._span.__exit__(kind, error, trace)
        self._watch.metrics.count_operation(self._name, self.outcome, time.perf_counter() - self._started)
        if self._caller.subject is not None:
            _write_audit(self._caller, self._query, self._name, self.outcome)


def _outcome_of(error: BaseException | None) -> str:
    known = explain(error) if isinstance(error, Exception) else None
    return Code.INTERNAL if known is None else known[0]


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
