"""The breaker of a dependency: after failures in a row it is left alone for a moment, what needs it fails at once."""

from types import TracebackType

from circuitbreaker import CircuitBreaker  # type: ignore[import-untyped]

MAX_FAILURES = 3
PAUSE_SECONDS = 1


class Breaker(CircuitBreaker):  # type: ignore[misc]
    """Entered for each attempt; `opened` tells that none should be made at the moment."""

    def __init__(self, name: str) -> None:
        super().__init__(MAX_FAILURES, PAUSE_SECONDS, name=name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count how the attempt went; one that was cancelled tells nothing."""
        if kind is None or issubclass(kind, Exception):
            super().__exit__(kind, error, trace)
