"""Answers kept in the process: bytes to be sent again as they are."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from graph.packing import pack
from graph.watch import OK

MEMORY_BYTES = 64 * 1024 * 1024
LARGEST_ANSWER_BYTES = 1024 * 1024
ENTRY_BYTES = 600
"""About what an entry takes beside its bodies; a compressed body is taken for a quarter of the other."""
LASTING_SECONDS = 3600.0
"""How long an answer is kept that stays true as long as the data version stands."""


class Answer(NamedTuple):
    """The body of a response, whether anything was executed for it, and "ok" or the code of its first error.

    It may be given out again for `ttl_seconds`, if the data version stands.
    """

    body: bytes
    was_executed: bool = True
    outcome: str = OK
    ttl_seconds: float = LASTING_SECONDS


@dataclass(slots=True)
class Kept:
    """An answer without errors, made from a version of the data; `made_at` is in seconds since 1970."""

    body: bytes
    version: str
    made_at: float
    ttl_seconds: float
    _packed: bytes | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Return about how many bytes it takes in memory, with the compressed body that may come later."""
        return ENTRY_BYTES + len(self.body) * 5 // 4

    @property
    def age_seconds(self) -> float:
        """Return how old it is."""
        return max(0.0, time.time() - self.made_at)

    @property
    def is_lasting(self) -> bool:
        """Tell whether it is true as long as the data version stands."""
        return self.ttl_seconds >= LASTING_SECONDS

    @property
    def is_good(self) -> bool:
        """Tell whether it may still be given out, if the data version stands."""
        return self.age_seconds < self.ttl_seconds

    def packed(self) -> bytes:
        """Return the body compressed; that is done once."""
        if self._packed is None:
            self._packed = pack(self.body)
        return self._packed


class MemoryCache:
    """The answers used last, up to a number of bytes; one for a request, whatever the data version."""

    def __init__(self, max_bytes: int = MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._entries: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        """Return how many answers there are."""
        return len(self._entries)

    def get(self, key: str) -> Kept | None:
        """Return the answer, or None."""
        kept = self._entries.get(key)
        if kept is not None:
            self._entries.move_to_end(key)
        return kept

    def set(self, key: str, kept: Kept) -> None:
        """Keep an answer, at the cost of those that were not used for longest."""
        if (old := self._entries.pop(key, None)) is not None:
            self._size -= old.size
        self._entries[key] = kept
        self._size += kept.size
        while self._size > self._max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._size -= dropped.size

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._size = 0


def digest(*parts: bytes) -> bytes:
    """Return a digest that tells apart all sequences of parts."""
    found = hashlib.blake2b(digest_size=20)
    for part in parts:
        found.update(len(part).to_bytes(8))
        found.update(part)
    return found.digest()
