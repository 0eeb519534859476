"""Processes that work on items side by side; the results come in the items' order, and a dead process costs nothing."""

import asyncio
import gc
import multiprocessing
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, TypeVar

from etl.source import SourceError

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3
"""How many processes may die of one item before it is given up."""

# Threads of a forked process would hold locks for ever.
_SPAWN = multiprocessing.get_context("spawn")


class _Process(Generic[T, R]):
    """A process that works on what it is sent."""

    def __init__(self) -> None:
        self._work: Callable[[T], R] | None = None
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def apply(self, work: Callable[[T], R], item: T) -> R:
        """Return work(item); raises EOFError or OSError when the process dies of it."""
        self._connection.send((None if work is self._work else work, item))
        self._work = work
        result, error = self._connection.recv()
        if error is not None:
            raise error
        answer: R = result
        return answer

    def stop(self) -> None:
        """End the process; whoever waits for it is woken."""
        self._process.terminate()
        self._process.join(timeout=10)


def _serve(connection: Connection) -> None:
    # Ctrl-C reaches every process of a terminal; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is parsed is many small objects without cycles: looking for some among them took a third of the time.
    gc.disable()
    work: Callable[[Any], Any] | None = None
    while True:
        try:
            other_work, item = connection.recv()
        except EOFError:
            return
        work = other_work or work
        answer: tuple[Any, Exception | None]
        try:
            assert work is not None
            answer = work(item), None
        except Exception as error:  # noqa: BLE001 (raised again where the result is awaited)
            answer = None, error
        try:
            connection.send(answer)
        except OSError:
            return


class Workers(Generic[T, R]):
    """`count` processes that work on items; with none the work is done here."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[_Process[T, R]] = []
        self._idle: asyncio.Queue[_Process[T, R] | None] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(max(1, count))
        self._window: deque[tuple[T, asyncio.Task[R]]] = deque()

    async def __aenter__(self) -> "Workers[T, R]":
        for _ in range(self._count):
            self._start()
        if not self._count:
            self._idle.put_nowait(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, task in self._window:
            task.cancel()
        for process in self._processes:
            process.stop()
        await asyncio.gather(*(task for _, task in self._window), return_exceptions=True)
        self._threads.shutdown()

    @property
    def pids(self) -> list[int]:
        """The ids of the living processes."""
        return [process.pid for process in self._processes if process.pid is not None]

    def _start(self) -> None:
        process = _Process[T, R]()
        self._processes.append(process)
        self._idle.put_nowait(process)

    async def map(self, work: Callable[[T], R], items: AsyncIterator[T]) -> AsyncIterator[tuple[T, R]]:
        """Yield each item with work(item), in order; at most three items a process are held at a time.

        The work is pickled once for each process.
        """
        async for item in items:
            self._window.append((item, asyncio.create_task(self._do(work, item))))
            while self._window and (len(self._window) > 2 * self._count or self._window[0][1].done()):
                yield await self._next()
        while self._window:
            yield await self._next()

    async def _next(self) -> tuple[T, R]:
        item, task = self._window[0]
        result = await task
        self._window.popleft()
        return item, result

    async def _do(self, work: Callable[[T], R], item: T) -> R:
        for _ in range(ATTEMPTS):
            process = await self._idle.get()
            apply = work if process is None else partial(process.apply, work)
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._threads, apply, item)
            except (EOFError, ConnectionError):
                if process is None:
                    raise
                self._processes.remove(process)
                process.stop()
                self._start()
            else:
                self._idle.put_nowait(process)
                return result
        raise SourceError(f"{ATTEMPTS} worker processes died of the same lines: is there enough memory?")
