"""A set of Wikidata items, small enough to hold all there are."""

from collections.abc import Iterable

DENSE_NUMBERS = 1 << 28
"""Items below this number take a bit each, 32 MB in all; Wikidata has reached about half of it."""


class ItemSet:
    """A set of item numbers."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._bits = bytearray()
        self._sparse: set[int] = set()
        self.update(numbers)

    def __contains__(self, number: int) -> bool:
        if number >= DENSE_NUMBERS:
            return number in self._sparse
        return number >> 3 < len(self._bits) and bool(self._bits[number >> 3] >> (number & 7) & 1)

    def __bool__(self) -> bool:
        return bool(self._sparse) or any(self._bits)

    def update(self, numbers: Iterable[int]) -> None:
        """Add items."""
        for number in numbers:
            if number >= DENSE_NUMBERS:
                self._sparse.add(number)
                continue
            byte = number >> 3
            if byte >= len(self._bits):
                self._bits.extend(bytes(max(byte + 1 - len(self._bits), len(self._bits))))
            self._bits[byte] |= 1 << (number & 7)

    def merge(self, others: "ItemSet") -> None:
        """Add the items of another set."""
        mine, theirs = (int.from_bytes(one._bits, "little") for one in (self, others))
        self._bits = bytearray((mine | theirs).to_bytes(max(len(self._bits), len(others._bits)), "little"))
        self._sparse |= others._sparse

    def without(self, others: "ItemSet") -> "ItemSet":
        """Return the items that are not among the others."""
        kept = ItemSet()
        mine, theirs = (int.from_bytes(one._bits, "little") for one in (self, others))
        kept._bits = bytearray((mine & ~theirs).to_bytes(len(self._bits), "little"))
        kept._sparse = self._sparse - others._sparse
        return kept
