"""How files are packed: gzip, bzip2 and Zstandard, told by their first bytes."""

import bz2
import re
import sys
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from isal import igzip_lib

from etl.source import SourceError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC_BYTES = 10
"""How many of a file's first bytes tell how it is packed."""


class Inflater(Protocol):
    """Python's `bz2.BZ2Decompressor` and what has its methods: one packed stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


Codec = Callable[[], Inflater]

BROKEN: tuple[type[Exception], ...] = (OSError, cast("type[Exception]", igzip_lib.IsalError), zstd.ZstdError)
"""What an inflater raises for data that is not packed as it should be."""


def _gunzip() -> Inflater:
    inflater: Inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return inflater


_CODECS: tuple[tuple[re.Pattern[bytes], Codec], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), _gunzip),
    # A text may well begin with "BZh9", so the first block's mark counts, or that of the end where there is none.
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor),
    # A frame, or one to be skipped, with which some packers begin (RFC 8878, 3.1).
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), zstd.ZstdDecompressor),
)


def codec_of(head: bytes) -> Codec | None:
    """Return what unpacks a file with these first bytes, MAGIC_BYTES of them; None when it is not packed."""
    return next((codec for magic, codec in _CODECS if magic.match(head)), None)


class Unpacker:
    """Unpacks a file block by block: one packed stream, or several in a row, perhaps padded with zeros."""

    def __init__(self, name: str, codec: Codec, piece_bytes: int) -> None:
        self._name = name
        self._codec = codec
        self._piece_bytes = piece_bytes
        self._inflater: Inflater | None = None

    def pieces(self, block: bytes) -> Iterator[bytes]:
        """Yield what the file's next block holds, `piece_bytes` at most at a time; raises SourceError."""
        data = block
        while True:
            if self._inflater is None:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._inflater = self._codec()
            try:
                piece = self._inflater.decompress(data, self._piece_bytes)
            except BROKEN as error:
                raise SourceError(f"{self._name} cannot be unpacked: {error}") from error
            if piece:
                yield piece
            data = b""
            if self._inflater.eof:
                data, self._inflater = self._inflater.unused_data, None
            elif self._inflater.needs_input:
                return

    def finish(self) -> None:
        """Raise SourceError when the file has ended within a packed stream."""
        if self._inflater is not None:
            raise SourceError(f"{self._name} is cut: it ends within its packed data")
