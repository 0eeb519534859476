"""The greatest value of a field that a source's runs have seen, as the text that is sent to ask for what came later."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_SORTABLE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?Z?)?")
_DIGIT = re.compile(r"[0-9]")
_LONGEST = 100


class Watermark:
    """The greatest number or timestamp so far; `text` is as its source wrote it, None before the first.

    `unfit` counts the values that cannot be it: neither number nor timestamp, of the other kind than those before, or
    in the future, since after the year 9999 nothing would ever come again. `example` is the first of them.
    """

    def __init__(self, text: str | None = None, now: datetime | None = None) -> None:
        self.text = text
        self.unfit = 0
        self.example: object = None
        # A day for clocks and zones that differ.
        self._latest = (now or datetime.now(UTC)) + timedelta(days=1)

    def see(self, value: object) -> None:
        """Take note of a row's value."""
        text = value if isinstance(value, str) else _number_text(value)
        key = None if text is None else _key(text)
        if text is None or key is None or not self._fits(key):
            self.example = value if self.unfit == 0 else self.example
            self.unfit += 1
        elif self.text is None or _is_greater(text, self.text):
            self.text = text

    def _fits(self, key: Decimal | datetime) -> bool:
        if isinstance(key, datetime) and key > self._latest:
            return False
        return self.text is None or type(_key(self.text)) is type(key)


def _number_text(value: object) -> str | None:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_greater(one: str, other: str) -> bool:
    # Parsing keeps six digits of a second's fraction; text of one format has them all.
    if _SORTABLE.fullmatch(one) and _SORTABLE.fullmatch(other) and _DIGIT.sub("0", one) == _DIGIT.sub("0", other):
        return one > other
    first, second = _key(one), _key(other)
    if isinstance(first, Decimal) and isinstance(second, Decimal):
        return first > second
    return isinstance(first, datetime) and isinstance(second, datetime) and first > second


def _key(text: str) -> Decimal | datetime | None:
    if len(text) > _LONGEST:
        return None
    if _NUMBER.fullmatch(text):
        return Decimal(text)
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
