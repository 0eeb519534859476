import asyncio
import time
from contextlib import suppress

import pytest

from db import breaker
from db.breaker import MAX_FAILURES, Breaker


@pytest.fixture
def dependency(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 0.1)
    return Breaker("It")


def attempt(dependency: Breaker, error: BaseException | None = None) -> None:
    with suppress(OSError, asyncio.CancelledError), dependency:
        if error is not None:
            raise error


def test_breaker_opens_after_failures_in_a_row(dependency: Breaker) -> None:
    for _ in range(MAX_FAILURES - 1):
        attempt(dependency, OSError())
    attempt(dependency)
    for _ in range(MAX_FAILURES):
        assert dependency.closed
        attempt(dependency, OSError())
    assert dependency.opened


def test_cancelled_attempt_tells_nothing(dependency: Breaker) -> None:
    for _ in range(MAX_FAILURES):
        attempt(dependency, asyncio.CancelledError())
    assert dependency.closed


def test_attempt_that_began_before_it_opened_does_not_close_it(dependency: Breaker) -> None:
    with dependency:
        dependency.open(OSError())
    assert dependency.opened


def test_log_tells_once_that_it_opens_and_once_that_it_closes(
    dependency: Breaker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        dependency.open(OSError("out of\norder"))
        attempt(dependency, OSError())
        time.sleep(0.15)
        assert not dependency.opened
        assert not dependency.closed
    attempt(dependency)
    attempt(dependency)
    assert [record.message for record in caplog.records] == [
        "It is left alone until it answers again: out of order",
        "It answers again",
    ]
