"""Compressed answers, for clients that take them.

gzip by isal at level 1: of a page of 13,651 bytes it leaves 3,086 in 18 µs. Zstandard leaves 3,052 in 28 µs, zlib 2,945
in 64 µs; whoever takes Zstandard takes gzip, so that it would gain nothing.
"""

from functools import lru_cache

from isal import igzip

LEVEL = 1
SMALLEST_BYTES = 1_300
"""What is smaller fits into one packet anyway."""


def pack(body: bytes) -> bytes:
    """Compress by gzip; the same body always gives the same bytes."""
    return igzip.compress(body, LEVEL, mtime=0)


@lru_cache(maxsize=256)
def takes_gzip(accept_encoding: bytes) -> bool:
    """Tell whether an Accept-Encoding header takes gzip."""
    quality = {"*": 0.0}
    for part in accept_encoding.decode("latin-1").split(","):
        name, _, parameters = part.partition(";")
        quality[name.strip().lower()] = quality_of(parameters)
    return quality.get("gzip", quality["*"]) > 0


def quality_of(parameters: str) -> float:
    """Return the `q` of a header's parameters, 1 when there is none."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
