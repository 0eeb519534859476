"""Files with a JSON value a line (https://jsonlines.org)."""

from collections.abc import Iterator
from typing import Any

from etl import json_text
from etl.file_source import FileSource
from etl.record_source import Found, Page
from etl.source import Checkpoint, RawRow, RowError, SourceError
from etl.staging import storable
from etl.streams import peeked
from etl.text_kind import SAMPLE_BYTES, encoding_by_mark, refuse_foreign
from etl.text_lines import Lines, in_utf8

PAGE_ROWS = 10_000


class JsonLines(FileSource):
    """A file of JSON Lines. A row is kept as its line stands; of a name that comes twice the last value counts."""

    def read(self, name: str, pieces: Iterator[bytes], position: Checkpoint | None) -> Iterator[Page]:
        """Make pages of the file's rows; raises SourceError."""
        sample, is_whole, pieces = peeked(pieces, SAMPLE_BYTES)
        refuse_foreign(name, sample)
        text, _, pieces = peeked(in_utf8(pieces, encoding_by_mark(sample) or "utf-8"), 1)
        _refuse_document(name, text)
        if is_whole and not text.strip():
            self.notes.append(f"{name} is empty")
        lines = Lines(name, pieces)
        if position is not None:
            lines.skip_to(position)
        end = lines.before
        for block in lines:
            texts = block.removesuffix(b"\n").split(b"\n")
            for start in range(0, len(texts), PAGE_ROWS):
                part = texts[start : start + PAGE_ROWS]
                rows = list(_found(part, lines.before + start + 1))
                end = lines.before + start + len(part)
                yield Page(rows, lines.position(end))
        yield Page((), lines.position(end), {})

    def parse(self, row: RawRow) -> Any:
        """Parse a raw row as `pages` does; raises RowError."""
        return json_text.parse(row.payload.encode())


def _refuse_document(name: str, text: bytes) -> None:
    first = text.lstrip().partition(b"\n")[0].strip()
    if first.startswith(b"["):
        raise SourceError(f"{name} is one JSON array, not JSON Lines: write an object a line, as `jq -c '.[]'` does")
    if first == b"{":
        raise SourceError(f"{name} is JSON over several lines, not JSON Lines: write it as `jq -c .` does")


def _found(lines: list[bytes], first_number: int) -> Iterator[Found]:
    for number, line in enumerate(lines, first_number):
        if not line or line.isspace():
            continue
        try:
            value = json_text.parse(line)
            payload = line.removesuffix(b"\r").decode()
        except (RowError, UnicodeDecodeError) as error:
            text = line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
            reason = error if isinstance(error, RowError) else RowError("is not valid UTF-8")
            yield Found(storable(text) or "", reason, f"line {number}")
        else:
            yield Found(payload, value, f"line {number}")
