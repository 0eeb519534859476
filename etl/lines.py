"""Lines of a big file of JSON, plain or packed, in chunks small enough for memory; nothing is unpacked on disk."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import orjson

from etl.packing import BROKEN, Codec, Unpacker, codec_of
from etl.source import SourceError

if TYPE_CHECKING:
    # Importing it would have every worker import an HTTP client, a fifth of its start.
    from etl.files import File

CHUNK_BYTES = 8 << 20
LONGEST_LINE_BYTES = 256 << 20
"""Wikidata's longest entity has 5 MB; what has no line end for so long is no file of lines."""
HEAD_BYTES = 1 << 16

_INFLATED_BYTES = 16 << 20
_TAIL_BYTES = 64
_DOCUMENT = re.compile(rb'\s*\{\s*(?:[\r\n]|"(?:entities|success|batchcomplete|warnings|requestInfo)"\s*:)')


class Form(StrEnum):
    """How entities are written: a line each, such lines in an array, or one document with all."""

    LINES = "lines"
    ARRAY = "array"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines, and the offset of the first in the unpacked file."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file's first bytes tell: how it is packed and written, and a digest by which to know it again."""

    codec: Codec | None
    form: Form
    digest: str


async def sniff(file: "File", digest_bytes: int | None = None) -> tuple[Layout, int]:
    """Look at a file's first bytes; returns its layout and the number of bytes the digest covers; raises SourceError.

    A file that goes on from where it was cut has the same digest over as many bytes.
    """
    head = b""
    async with aclosing(file.blocks()) as blocks:
        async for block in blocks:
            head += block
            if len(head) >= HEAD_BYTES:
                break
    head = head[: digest_bytes or HEAD_BYTES]
    codec = codec_of(head)
    text = _first(codec, head, file)
    form = Form.DOCUMENT if _DOCUMENT.match(text) else Form.ARRAY if text.lstrip()[:1] == b"[" else Form.LINES
    return Layout(codec, form, hashlib.blake2b(head, digest_size=8).hexdigest()), len(head)


def _first(codec: Codec | None, head: bytes, file: "File") -> bytes:
    if codec is None:
        return head
    try:
        return codec().decompress(head, HEAD_BYTES)
    except BROKEN as error:
        raise SourceError(f"{file.name} cannot be unpacked: {error}") from error


async def read_chunks(
    file: "File", layout: Layout, offset: int = 0, chunk_bytes: int | None = None
) -> AsyncGenerator[Chunk, None]:
    """Yield a file's lines from an offset in the unpacked file on, which must be that of a line.

    A document is read as if each of its entities stood on a line. Raises SourceError for a file that is cut.
    """
    # What stands before the offset tells whether an array was closed there already.
    context = min(offset, _TAIL_BYTES)
    content = _content(file, layout, offset - context)
    tail = b""
    async with aclosing(content):
        async for chunk in _whole_lines(content, offset - context, chunk_bytes or CHUNK_BYTES, file):
            tail = (tail + chunk.data)[-_TAIL_BYTES:]
            # Only the last chunk may end within a line; where the file is cut, that line is not whole.
            if not chunk.data.endswith(b"\n"):
                _check_end(layout, tail, file)
            if chunk.offset >= offset:
                yield chunk
            elif chunk.end > offset:
                yield Chunk(offset, chunk.data[offset - chunk.offset :])
    _check_end(layout, tail, file)


def _check_end(layout: Layout, tail: bytes, file: "File") -> None:
    if layout.form is Form.ARRAY and not tail.rstrip().endswith(b"]"):
        raise SourceError(f"{file.name} is cut: its array of entities has no end")


async def _whole_lines(
    content: AsyncIterator[bytes], offset: int, chunk_bytes: int, file: "File"
) -> AsyncIterator[Chunk]:
    parts: list[bytes] = []
    size = 0
    async for piece in content:
        # Pieces may be much bigger than chunks ought to be.
        for start in range(0, len(piece), chunk_bytes):
            part = piece[start : start + chunk_bytes]
            size += len(part)
            end = part.rfind(b"\n") + 1 if size >= chunk_bytes else 0
            if not end:
                if size > LONGEST_LINE_BYTES:
                    raise SourceError(f"{file.name} has no line end for {size} bytes: expected an entity a line")
                parts.append(part)
                continue
            chunk = Chunk(offset, b"".join((*parts, part[:end])))
            yield chunk
            offset, parts, size = chunk.end, [part[end:]], len(part) - end
    if size:
        yield Chunk(offset, b"".join(parts))


async def _content(file: "File", layout: Layout, skip: int) -> AsyncGenerator[bytes, None]:
    """Yield a file's unpacked bytes, from an offset on."""
    if layout.form is Form.DOCUMENT:
        lines = await _document_lines(file, layout)
        yield lines[skip:]
    elif layout.codec is None:
        async with aclosing(file.blocks(skip)) as blocks:
            async for block in blocks:
                yield block
    else:
        async with aclosing(_unpacked(file, layout.codec)) as pieces:
            async for piece in pieces:
                if skip < len(piece):
                    yield piece[skip:]
                skip = max(0, skip - len(piece))


async def _unpacked(file: "File", codec: Codec) -> AsyncGenerator[bytes, None]:
    """Yield what one packed stream or several in a row hold; raises SourceError when the last is cut or broken."""
    unpacker = Unpacker(file.name, codec, _INFLATED_BYTES)
    async with aclosing(file.blocks()) as blocks:
        async for block in blocks:
            pieces = unpacker.pieces(block)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece
    unpacker.finish()


async def _document_lines(file: "File", layout: Layout) -> bytes:
    parts, size = [], 0
    source = _unpacked(file, layout.codec) if layout.codec else file.blocks()
    async with aclosing(source) as pieces:
        async for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size > LONGEST_LINE_BYTES:
                raise SourceError(f"{file.name} is one document of more than {LONGEST_LINE_BYTES} bytes")
    try:
        document = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{file.name} is not complete JSON: {error}") from error
    entities = document.get("entities", [document])
    return b"".join(
        orjson.dumps(entity, option=orjson.OPT_APPEND_NEWLINE)
        for entity in (entities.values() if isinstance(entities, dict) else entities)
    )
