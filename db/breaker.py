"""The breaker of a dependency: after failures in a row it is left alone for a moment, what needs it fails at once."""

import logging
from types import TracebackType

from circuitbreaker import CircuitBreaker  # type: ignore[import-untyped]

MAX_FAILURES = 3
PAUSE_SECONDS = 1
MAX_REASON = 200

logger = logging.getLogger(__name__)


class Breaker(CircuitBreaker):  # type: ignore[misc]
    """Entered for each attempt; `opened` tells that none should be made at the moment, `closed` that all is well.

    Between the two it is up to an attempt. The log tells when it opens, and when it is closed again.
    """

    def __init__(self, name: str) -> None:
        super().__init__(MAX_FAILURES, PAUSE_SECONDS, name=name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count how the attempt went; one that was cancelled tells nothing, nor one that began before others failed."""
        was_closed = self.closed
        if (kind is None and not self.opened) or (kind is not None and issubclass(kind, Exception)):
            super().__exit__(kind, error, trace)
        if was_closed and not self.closed:
            reason = " ".join(str(error).split())[:MAX_REASON] or (kind and kind.__name__)
            logger.warning("%s is left alone until it answers again: %s", self.name, reason)
        elif self.closed and not was_closed:
            logger.warning("%s answers again", self.name)

    def open(self, error: Exception) -> None:
        """Leave it alone at once."""
        while self.closed:
            self.__exit__(type(error), error, None)
