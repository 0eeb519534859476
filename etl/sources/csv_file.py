"""Files of comma-separated values, and of values separated by semicolons, tabs or bars (RFC 4180 where it is kept)."""

import csv
from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson

from etl.csv_layout import LONGEST_CELL, Layout, detect_layout, is_blank, split_lines
from etl.file_source import FileSource
from etl.record_source import Found, Page
from etl.source import Checkpoint, RawRow, RowError, SourceError
from etl.source_config import CsvConfig
from etl.staging import storable
from etl.streams import peeked
from etl.text_kind import SAMPLE_BYTES, check_encoding, detect_encoding, refuse_foreign
from etl.text_lines import Lines, in_utf8

PAGE_ROWS = 10_000
PAGE_BYTES = 4 << 20
LONGEST_ROW_BYTES = 64 << 20


class CsvFile(FileSource):
    """A CSV file. A row is an object of its header's names and its cells' texts as they stand; an empty one is null."""

    config: CsvConfig

    def read(self, name: str, pieces: Iterator[bytes], position: Checkpoint | None) -> Iterator[Page]:
        """Make pages of the file's rows; raises SourceError."""
        sample, is_whole, pieces = peeked(pieces, SAMPLE_BYTES)
        refuse_foreign(name, sample)
        encoding, note = self.config.encoding, None
        if encoding is None:
            encoding, note = detect_encoding(name, sample)
        check_encoding(name, encoding)
        text, _, pieces = peeked(in_utf8(pieces, encoding), 1)
        layout = detect_layout(name, text.decode("utf-8", "surrogateescape"), is_whole, self.config)
        self.notes.extend([*([note] if note else []), *layout.notes])
        how = ascii((encoding, layout.delimiter, layout.names)).encode()
        lines = Lines(name, pieces, layout.separator.encode(), how)
        if position is not None:
            lines.skip_to(position)
        yield from _Reader(name, lines, layout, encoding).pages(is_begun=position is not None)

    def parse(self, row: RawRow) -> Any:
        """Parse a raw row as `pages` does; raises RowError."""
        fields = row.json()
        return _with_nulls(fields) if isinstance(fields, dict) else fields


def _with_nulls(fields: dict[str, str]) -> dict[str, str | None]:
    return {name: cell or None for name, cell in fields.items()}


class _Reader:
    """Makes pages of lines."""

    def __init__(self, name: str, lines: Lines, layout: Layout, encoding: str) -> None:
        self._name, self._lines, self._layout, self._encoding = name, lines, layout, encoding
        self._skipped = lines.before
        self._first = self._skipped + 1
        """The line with which the row that is being read begins."""
        self._recent: list[str] = []
        self._recent_from = self._first
        self._csv = csv.reader(chain.from_iterable(self._fed()), delimiter=layout.delimiter, strict=True)

    def pages(self, is_begun: bool) -> Iterator[Page]:
        """Yield the rows that are left; of a file that was not begun the header is none of them."""
        if self._layout.has_header and not is_begun:
            is_blank_line = True
            while is_blank_line:
                is_blank_line = is_blank(next(self._csv))
            self._first = self._csv.line_num + 1
        while True:
            rows: list[Found] = []
            is_last = not self._fill(rows)
            position = self._lines.position(self._skipped + self._csv.line_num)
            yield Page(rows, position, {} if is_last else None)
            if is_last:
                return

    def _fed(self) -> Iterator[list[str]]:
        """Give csv's reader block after block, as it asks for them, and keep the lines of the row that is begun."""
        separator = self._layout.separator
        for block in self._lines:
            begun = self._recent[self._first - self._recent_from :]
            if sum(map(len, begun)) > LONGEST_ROW_BYTES:
                raise self._endless(f"it has more than {LONGEST_ROW_BYTES >> 20} MB")
            lines = split_lines(block.decode("utf-8", "surrogateescape"), separator)
            self._recent, self._recent_from = begun + lines, self._first
            yield lines

    def _fill(self, rows: list[Found]) -> bool:
        """Read rows of a page; tells whether there may be more."""
        reader, width, size = self._csv, len(self._layout.names), 0
        while size <= PAGE_BYTES and len(rows) < PAGE_ROWS:
            try:
                cells = next(reader, None)
                if cells is None:
                    return False
                found = None if is_blank(cells, width) else self._found(cells)
            except csv.Error as error:
                found = self._refused(error)
            self._first = self._skipped + reader.line_num + 1
            if found is not None:
                rows.append(found)
                size += len(found.payload)
        return True

    def _found(self, cells: list[str]) -> Found:
        names = self._layout.names
        place = f"line {self._first}"
        try:
            if len(cells) != len(names):
                reason = f"has {len(cells)} cells where {len(names)} are expected"
                return Found(orjson.dumps(cells).decode(), RowError(reason), place)
            # There are as many as names; to check it once more would take a tenth of the time.
            fields = dict(zip(names, cells, strict=False))
            payload = orjson.dumps(fields).decode()
        except TypeError:
            reason = f"has bytes that are not valid {self._encoding}: give the file's `encoding`"
            return Found(orjson.dumps(list(map(storable, cells))).decode(), RowError(reason), place)
        return Found(payload, _with_nulls(fields) if "" in cells else fields, place)

    def _refused(self, error: csv.Error) -> Found:
        """Return the row that csv's reader has refused; it goes on with the next line."""
        reason = str(error)
        if reason.startswith("unexpected end of data"):
            raise self._endless("the file ends before it") from error
        if reason.startswith("field larger than field limit"):
            raise self._endless(f"it has a cell of more than {LONGEST_CELL} characters") from error
        start = self._first - self._recent_from
        text = "".join(self._recent[start : self._skipped + self._csv.line_num + 1 - self._recent_from])
        return Found(storable(text) or "", RowError(f"is not CSV: {reason}"), f"line {self._first}")

    def _endless(self, what: str) -> SourceError:
        return SourceError(
            f"{self._name}: the row that begins at line {self._first} has no end, {what}: is a quote not closed there?"
        )
