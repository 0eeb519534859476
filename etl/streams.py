"""Files read by synchronous code, such as csv's reader, in a thread: bytes of any place, unpacked on the way."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from etl.files import File
from etl.packing import MAGIC_BYTES, Codec, Unpacker, codec_of
from etl.source import SourceError

PIECE_BYTES = 1 << 20
"""What an inflater gives at most at a time, whatever it is given."""

T = TypeVar("T")


class _Blocks:
    """The blocks of a file, fetched by the event loop, iterated by another thread."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._blocks = file.blocks()
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._awaited: Future[bytes | None] | None = None
        self._is_closed = False

    def __iter__(self) -> "_Blocks":
        return self

    def __next__(self) -> bytes:
        if self._is_closed:
            raise SourceError(f"{self._file.name} was let go of")
        self._awaited = asyncio.run_coroutine_threadsafe(self._fetch(), self._loop)
        block = self._awaited.result()
        if block is None:
            raise StopIteration
        return block

    async def _fetch(self) -> bytes | None:
        async with self._lock:
            return await anext(self._blocks, None)

    async def close(self) -> None:
        """Let the file go; a thread that waits for a block, or asks for another, gets an exception."""
        self._is_closed = True
        if self._awaited is not None:
            self._awaited.cancel()
        async with self._lock:
            await self._blocks.aclose()


async def in_thread(file: File, read: Callable[[Iterator[bytes]], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Yield what `read` makes of a file's unpacked bytes, while it runs in a thread; raises SourceError.

    Closed early or cancelled, the file is let go at once, and the thread ends before the next block.
    """
    blocks = _Blocks(file)
    # A thread of its own: one of the pool that fetches blocks may wait for a block that then no thread is left for.
    executor = ThreadPoolExecutor(1, "stream")
    loop = asyncio.get_running_loop()
    try:
        made = await loop.run_in_executor(executor, lambda: read(unpacked(file.name, blocks)))
        while (one := await loop.run_in_executor(executor, next, made, None)) is not None:
            yield one
    finally:
        await blocks.close()
        await asyncio.to_thread(executor.shutdown)


def unpacked(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what a file holds: as it is, or what its packed streams hold, one after another; raises SourceError."""
    rest = iter(blocks)
    head = b""
    while len(head) < MAGIC_BYTES and (block := next(rest, b"")):
        head += block
    codec = codec_of(head)
    whole = chain((head,), rest) if head else rest
    return whole if codec is None else _inflated(name, codec, whole)


def _inflated(name: str, codec: Codec, blocks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = Unpacker(name, codec, PIECE_BYTES)
    for block in blocks:
        yield from unpacker.pieces(block)
    unpacker.finish()


def peeked(pieces: Iterable[bytes], size: int) -> tuple[bytes, bool, Iterator[bytes]]:
    """Return at least so many first bytes, whether they are all, and an iterator whose first piece they are."""
    rest = iter(pieces)
    first: list[bytes] = []
    is_whole = False
    while not is_whole and sum(map(len, first)) < size:
        piece = next(rest, None)
        is_whole = piece is None
        first.append(piece or b"")
    head = b"".join(first)
    return head, is_whole, chain((head,), rest)
