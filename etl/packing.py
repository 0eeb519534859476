"""How files are packed: gzip, bzip2 and Zstandard, told by their first bytes."""

import bz2
import re
import sys
from collections.abc import Callable
from typing import Protocol, cast

from isal import igzip_lib

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
