"""The lines of a text, in blocks; positions from which a later reading goes on, sure that it is the same text."""

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain

from etl.source import Checkpoint, SourceError

BLOCK_BYTES = 1 << 20
LONGEST_LINE_BYTES = 64 << 20

_BOM = codecs.BOM_UTF8


class Lines:
    """A text's lines as blocks of UTF-8: whole lines, together BLOCK_BYTES at least.

    `before` is the number of lines before the block that was given last; `how` tells how they are read, so that a
    position is good for readings of the same way only. Raises SourceError for an endless line.
    """

    def __init__(self, name: str, pieces: Iterable[bytes], separator: bytes = b"\n", how: bytes = b"") -> None:
        self._name = name
        self._separator = separator
        self._blocks: Iterator[bytes] = self._whole_lines(iter(pieces))
        self._block = b""
        self._digest = hashlib.blake2b(how, digest_size=16)
        self.before = 0

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> bytes:
        self._leave()
        self._block = next(self._blocks)
        return self._block

    def _leave(self) -> None:
        self._digest.update(self._block)
        self.before += self._count()
        self._block = b""

    def _count(self) -> int:
        block, separator = self._block, self._separator
        return block.count(separator) + (bool(block) and not block.endswith(separator))

    def _whole_lines(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            end = piece.rfind(self._separator) + 1 if size >= BLOCK_BYTES else 0
            if not end:
                parts.append(piece)
                if size > LONGEST_LINE_BYTES:
                    self._refuse_endless(parts)
                continue
            yield b"".join((*parts, piece[:end]))
            parts, size = [piece[end:]], len(piece) - end
        if size:
            yield b"".join(parts)

    def _refuse_endless(self, parts: list[bytes]) -> None:
        # Pieces without a line's end are what is too much; in earlier ones some may have ended.
        lines = self.before + self._count() + sum(part.count(self._separator) for part in parts)
        raise SourceError(f"{self._name}: line {lines + 1} has no end within {LONGEST_LINE_BYTES >> 20} MB")

    def position(self, lines: int) -> Checkpoint:
        """Return the position after so many lines of the text; the last of them is in the last block."""
        digest = self._digest.copy()
        digest.update(self._block[: self._end(lines)])
        return {"lines": lines, "digest": digest.hexdigest()}

    def _end(self, lines: int) -> int:
        end = 0
        for _ in range(lines - self.before):
            end = self._block.find(self._separator, end) + 1 or len(self._block)
        return end

    def skip_to(self, position: Checkpoint) -> None:
        """Go to a position of an earlier reading; raises SourceError when what stands before it is something else."""
        while self.before + self._count() < position["lines"]:
            if next(self, None) is None:
                break
        if self.position(position["lines"]) != position:
            raise SourceError(f"{self._name} is not the file the run began with: start anew")
        end = self._end(position["lines"])
        rest, self._block = self._block[end:], self._block[:end]
        self._leave()
        self._blocks = chain((rest,) if rest else (), self._blocks)


def in_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Turn a text into UTF-8 without byte order mark; what is not valid in its encoding is not valid UTF-8 either."""
    if codecs.lookup(encoding).name != "utf-8":
        pieces = _transcoded(pieces, encoding)
    rest = iter(pieces)
    head = b""
    while len(head) < len(_BOM) and (piece := next(rest, b"")):
        head += piece
    head = head.removeprefix(_BOM)
    return chain((head,), rest) if head else rest


def _transcoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(_ESCAPE)
    for piece in chain(pieces, (b"",)):
        if text := decoder.decode(piece, not piece):
            yield text.encode("utf-8", "surrogateescape")


_ESCAPE = "atlas.escape"


def _escape(error: UnicodeError) -> tuple[str, int]:
    # Python's own surrogateescape leaves out bytes below 128, as they occur in broken UTF-16.
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error(_ESCAPE, _escape)
