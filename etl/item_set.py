"""A set of Wikidata items, small enough to hold all there are: a bit each."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_PAGE_BYTES = 1 << 15
_PAGE_SHIFT = 18

Numbers = NDArray[np.int64]


class ItemSet:
    """A set of item numbers, in pages of 262,144; all items up to Q250000000 take 32 MB."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._pages: dict[int, bytearray] = {}
        self.update(numbers)

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number >> _PAGE_SHIFT)
        return page is not None and bool(page[number >> 3 & _PAGE_BYTES - 1] >> (number & 7) & 1)

    def __bool__(self) -> bool:
        return any(map(any, self._pages.values()))

    def update(self, numbers: Iterable[int]) -> None:
        """Add items."""
        self.add(numbers)

    def add(self, numbers: Iterable[int]) -> Numbers:
        """Add items; returns the places of those that were not there, each at its first."""
        given = np.asarray(numbers if isinstance(numbers, array) else array("q", numbers))
        found, places = np.unique(given, return_index=True)
        is_new = np.empty(len(found), bool)
        for start, end in _runs(found >> _PAGE_SHIFT):
            page = np.frombuffer(self._pages.setdefault(int(found[start]) >> _PAGE_SHIFT, bytearray(_PAGE_BYTES)), "u1")
            at, bits = found[start:end] >> 3 & _PAGE_BYTES - 1, (1 << (found[start:end] & 7)).astype("u1")
            is_new[start:end] = page[at] & bits == 0
            np.bitwise_or.at(page, at, bits)
        return places[is_new]

    def merge(self, others: "ItemSet") -> None:
        """Add the items of another set."""
        for at, page in others._pages.items():
            mine = int.from_bytes(self._pages.get(at, b""))
            self._pages[at] = bytearray((mine | int.from_bytes(page)).to_bytes(_PAGE_BYTES))

    def without(self, others: "ItemSet") -> "ItemSet":
        """Return the items that are not among the others."""
        kept = ItemSet()
        for at, page in self._pages.items():
            rest = int.from_bytes(page) & ~int.from_bytes(others._pages.get(at, b""))
            if rest:
                kept._pages[at] = bytearray(rest.to_bytes(_PAGE_BYTES))
        return kept


def _runs(values: Numbers) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of equal values."""
    if len(values):
        bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
        yield from pairwise(bounds)
