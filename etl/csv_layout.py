"""How a CSV file is written, told by its first rows: line ends, delimiter, whether the first row has the names."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest

import orjson

from etl.source import SourceError
from etl.source_config import CsvConfig

LONGEST_CELL = 16 << 20
"""In characters; csv's reader takes four bytes for each."""
SAMPLE_ROWS = 200

_DELIMITERS = "\t;|,"
"""By rank: of two that cut all rows alike, the comma is the one that numbers and texts have by themselves."""
_QUOTED = re.compile(r'"[^"]*"')
_KINDS = (
    ("number", re.compile(r"\s*[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?\s*")),
    ("date", re.compile(r"\s*[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}(?:[T ][0-9:.,+Z-]+)?\s*")),
)


@dataclass(slots=True)
class Layout:
    """How the rows are to be read; `notes` tells what was guessed."""

    separator: str
    delimiter: str
    names: tuple[str, ...]
    has_header: bool
    notes: list[str] = field(default_factory=list)


def detect_layout(name: str, sample: str, is_whole: bool, config: CsvConfig) -> Layout:
    """Find what the configuration does not give in the beginning of a file; raises SourceError."""
    csv.field_size_limit(LONGEST_CELL)
    separator = _separator(sample)
    if not is_whole:
        sample = sample[: sample.rfind(separator) + 1] or sample
    _refuse_json(name, sample)
    delimiter = config.delimiter or _delimiter(sample, separator)
    rows = _rows(sample, separator, delimiter)
    layout = Layout(separator, delimiter, (), has_header=False)
    if delimiter not in (config.delimiter, ","):
        layout.notes.append(f"delimiter {delimiter!r} was detected")
    if isinstance(config.header, tuple):
        layout.names = _named_apart(config.header, layout.notes)
    elif not sample.strip():
        raise SourceError(f"{name} is empty: expected a row of names at least")
    elif not rows:
        raise SourceError(f"{name} has a first row that cannot be read: a quote in it is not closed, or not doubled")
    else:
        _find_names(layout, rows, config.header)
    return layout


def _separator(sample: str) -> str:
    outside = _QUOTED.sub("", sample)
    return "\r" if "\r" in outside and "\n" not in outside else "\n"


def _refuse_json(name: str, sample: str) -> None:
    first = sample.lstrip().partition("\n")[0]
    try:
        parsed = orjson.loads(first.encode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return
    if isinstance(parsed, dict | list):
        raise SourceError(f'{name} looks like JSON, not CSV: if it has an object a line, give kind = "jsonl"')


def _rows(sample: str, separator: str, delimiter: str) -> list[list[str]]:
    """Return the first rows that are not blank; what is left of the sample after a row that is bad is not looked at."""
    rows: list[list[str]] = []
    reader = csv.reader(split_lines(sample, separator), delimiter=delimiter, strict=True)
    try:
        for row in islice(reader, SAMPLE_ROWS):
            if not is_blank(row):
                rows.append(row)
    except csv.Error:
        pass
    return rows


def _delimiter(sample: str, separator: str) -> str:
    """Return the delimiter that cuts the most rows into as many cells as the first; a comma when none does."""
    # The library's csv.Sniffer gives up on a table of one column, and where few rows are ragged.
    best, most = ",", 0
    for delimiter in _DELIMITERS:
        rows = _rows(sample, separator, delimiter)
        if not rows or len(rows[0]) < 2:
            continue
        widths = Counter(map(len, rows))
        if widths[len(rows[0])] > most:
            best, most = delimiter, widths[len(rows[0])]
    return best


def is_blank(row: Sequence[str], width: int = 0) -> bool:
    """Tell whether a row is that of a line with nothing in it, or only spaces where `width` cells are expected."""
    return not row or (len(row) == 1 and width != 1 and row[0].isspace())


def split_lines(text: str, separator: str) -> list[str]:
    """Cut a text into lines that keep their ends."""
    lines = text.split(separator)
    last = lines.pop()
    whole = [line + separator for line in lines]
    return [*whole, last] if last else whole


def _find_names(layout: Layout, rows: list[list[str]], header: bool | None) -> None:
    first = rows[0]
    layout.has_header = not _is_data(first, rows[1:]) if header is None else bool(header)
    if layout.has_header:
        layout.names = _named_apart(first, layout.notes)
        return
    layout.names = tuple(f"column_{number}" for number in range(1, len(first) + 1))
    if header is None:
        layout.notes.append("the first row has values like those below it, so the columns are named column_1 and so on")


def _is_data(first: list[str], below: list[list[str]]) -> bool:
    """Tell whether a first row is clearly not of names: each cell a number or date as below it, or a date so."""
    columns = list(zip_longest(*(row for row in below if len(row) == len(first)), fillvalue=""))
    if not columns:
        return False
    kinds = [_kind(cell) for cell in first]
    alike = [kind is not None and _kinds(column) == {kind} for kind, column in zip(kinds, columns, strict=True)]
    return all(alike) or any(same and kind == "date" for same, kind in zip(alike, kinds, strict=True))


def _kind(cell: str) -> str | None:
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(cell)), None)


def _kinds(column: Sequence[str]) -> set[str | None]:
    return {_kind(cell) for cell in column if cell}


def _named_apart(first: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Return the names of a first row, each once; one that is empty or comes again gets a name by number."""
    names: list[str] = []
    taken = {cell.strip() for cell in first}
    for number, cell in enumerate(first, 1):
        name = cell.strip() or f"column_{number}"
        if name in names or (not cell.strip() and name in taken):
            base, count = name, 2
            while (name := f"{base}_{count}") in taken or name in names:
                count += 1
            notes.append(f"the name {base!r} comes again in column {number}: it is called {name!r} there")
        names.append(name)
    return tuple(names)
