"""Files with a JSON value a line (https://jsonlines.org)."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from etl import json_text
from etl.files import file_at
from etl.record_source import Found, Page, RecordSource
from etl.source import Checkpoint, RawRow, RowError, SourceError
from etl.source_config import JsonLinesConfig
from etl.staging import storable
from etl.streams import in_thread, peeked
from etl.text_kind import SAMPLE_BYTES, encoding_by_mark, refuse_foreign
from etl.text_lines import Lines, in_utf8

PAGE_ROWS = 10_000


class JsonLines(RecordSource):
    """A file of JSON Lines. A row is kept as its line stands; of a name that comes twice the last value counts."""

    def __init__(self, name: str, config: JsonLinesConfig) -> None:
        super().__init__(name, config)
        self._location = config.location

    async def pages(self, position: Checkpoint | None, state: dict[str, Any]) -> AsyncGenerator[Page, None]:  # noqa: ARG002
        """Yield the rows; a position is a number of lines and a digest of them."""
        file = file_at(self._location)
        async with aclosing(in_thread(file, lambda pieces: self._read(file.name, pieces, position))) as pages:
            async for page in pages:
                yield page

    def _read(self, name: str, pieces: Iterator[bytes], position: Checkpoint | None) -> Iterator[Page]:
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
