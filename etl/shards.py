"""Work cut into pieces: done some at a time, taken in order, and cut finer where a piece turns out too big."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Split(Generic[P]):
    """What work on a piece gives when it must be cut: smaller pieces, in order, that make up the whole."""

    pieces: Sequence[P]


async def in_order(
    pieces: Iterable[P], work: Callable[[P], Awaitable[R | Split[P]]], ahead: int
) -> AsyncGenerator[tuple[P, R], None]:
    """Yield each piece with its result, in the pieces' order, while work on the next ones is under way."""
    queue = deque(_Entry[P, R](piece) for piece in pieces)
    try:
        while queue:
            for entry in islice(queue, ahead):
                entry.task = entry.task or asyncio.ensure_future(work(entry.piece))
            first = queue[0]
            assert first.task is not None
            outcome = await first.task
            queue.popleft()
            if isinstance(outcome, Split):
                queue.extendleft(_Entry(piece) for piece in reversed(outcome.pieces))
            else:
                yield first.piece, outcome
    finally:
        tasks = [entry.task for entry in queue if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class _Entry(Generic[P, R]):
    piece: P
    task: "asyncio.Future[R | Split[P]] | None" = None


def halves(path: str, depth: int = 1) -> list[str]:
    """Cut a part of hash space, named by the first bits of the hashes in it, into 2^depth equal parts, in order."""
    return [f"{path}{number:0{depth}b}" for number in range(2**depth)]


def rest_after(root: str, path: str) -> list[str]:
    """Return the parts of hash space that are in `root` and come after `path`, itself in `root`; in order."""
    return [f"{path[:bit]}1" for bit in reversed(range(len(root), len(path))) if path[bit] == "0"]


def hex_prefixes(path: str) -> list[str]:
    """Return the hexadecimal digits with which the hashes in a part begin; none for all of hash space."""
    digits, bits = divmod(len(path), 4)
    prefix = "".join(f"{int(path[at * 4 : at * 4 + 4], 2):x}" for at in range(digits))
    if not bits:
        return [prefix] if prefix else []
    first = int(path[digits * 4 :].ljust(4, "0"), 2)
    return [f"{prefix}{digit:x}" for digit in range(first, first + 2 ** (4 - bits))]
