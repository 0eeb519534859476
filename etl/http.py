"""What all who ask over HTTP agree on: who they are, which failures may pass, how long a server wants to be left."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

USER_AGENT = "chronos-atlas/0.1 (python -m etl; aiohttp)"

_PASSING = frozenset({408, 425, 429})


class PassingError(Exception):
    """The server failed in a way that may pass; `wait_seconds` is what it asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


def is_passing(status: int) -> bool:
    """Tell whether what a status says may pass by itself."""
    return status in _PASSING or status >= 500


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds an answer asks to wait; a date counts from the server's own clock."""
    return parse_retry_after(headers.get("Retry-After"), _parse_date(headers.get("Date")))


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds a Retry-After header names, as a number or a date; None when it names none."""
    if value is None:
        return None
    with suppress(ValueError, OverflowError):
        return max(0.0, float(int(value)))
    at = _parse_date(value)
    return None if at is None else max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _parse_date(value: str | None) -> datetime | None:
    if value is None:
        return None
    with suppress(ValueError):
        at = parsedate_to_datetime(value)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None
