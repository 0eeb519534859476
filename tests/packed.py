"""How a file may be packed, each way a function of its content."""

import bz2
import gzip
import sys
from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def _zstd(data: bytes) -> bytes:
    # The command `zstd` adds a checksum; the library does not by itself.
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstd": _zstd,
    "gzip of two": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "gzip padded": lambda data: gzip.compress(data) + b"\0" * 100,
    "bzip2 of two": lambda data: bz2.compress(data[:1000]) + bz2.compress(data[1000:]),
    "zstd of two": lambda data: _zstd(data[:1000]) + _zstd(data[1000:]),
    "zstd with a frame to be skipped": lambda data: b"\x50\x2a\x4d\x18\4\0\0\0skip" + _zstd(data),
}
