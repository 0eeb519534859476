import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from etl.source import SourceError
from etl.workers import Workers


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def square(number: int) -> int:
    # Later items are done sooner.
    time.sleep(0.02 / (number + 1))
    return number * number


def refuse(number: int) -> int:
    raise ValueError(f"no {number}")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("count", [0, 2])
async def test_results_come_in_order(count: int) -> None:
    async with Workers[int, int](count) as workers:
        assert [pair async for pair in workers.map(square, numbers(30))] == [
            (number, number**2) for number in range(30)
        ]


async def test_killed_worker_costs_nothing() -> None:
    found = []
    async with Workers[int, int](2) as workers:
        async for _, result in workers.map(square, numbers(40)):
            found.append(result)
            if result in (0, 100, 900):
                os.kill(workers.pids[0], signal.SIGKILL)
    assert found == [number**2 for number in range(40)]


async def test_item_that_kills_every_worker_is_given_up() -> None:
    with pytest.raises(SourceError, match="3 worker processes died"):
        async with Workers[int, int](1) as workers:
            assert [pair async for pair in workers.map(die, numbers(1))] == []


@pytest.mark.parametrize("count", [0, 1])
async def test_error_of_the_work_is_raised(count: int) -> None:
    with pytest.raises(ValueError, match="no 0"):
        async with Workers[int, int](count) as workers:
            assert [pair async for pair in workers.map(refuse, numbers(3))] == []


async def test_processes_take_up_other_work() -> None:
    async with Workers[int, int](2) as workers:
        for work in (square, abs, square):
            assert [result async for _, result in workers.map(work, numbers(5))] == [
                work(number) for number in range(5)
            ]


async def test_no_process_is_left() -> None:
    async with Workers[int, int](2) as workers:
        pids = workers.pids
        async for _ in workers.map(square, numbers(9)):
            break
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
