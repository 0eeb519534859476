"""A set of Wikidata items, small enough to hold all there are: a bit each."""

from collections.abc import Iterable

_PAGE_BYTES = 1 << 13
_PAGE_SHIFT = 16


class ItemSet:
    """A set of item numbers, in pages of 65,536; all items up to Q250000000 take 32 MB."""

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
        for number in numbers:
            page = self._pages.get(number >> _PAGE_SHIFT)
            if page is None:
                page = self._pages[number >> _PAGE_SHIFT] = bytearray(_PAGE_BYTES)
            page[number >> 3 & _PAGE_BYTES - 1] |= 1 << (number & 7)

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
