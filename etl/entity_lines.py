"""What a chunk of a dump's lines becomes: rows of items and of statements, ready to be staged.

Most lines are left unparsed: the first pass reads the items with a property that joins two, a later one those that
were only named until then.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from db.binary_copy import row_writer
from etl.atlas import AtlasLoad
from etl.entity_json import Reading, excerpt, parse
from etl.entity_rows import write_entity
from etl.item_set import ItemSet
from etl.lines import Chunk
from etl.pipeline import staged
from etl.source import Prepared, RawRow, RowError
from etl.staging import storable
from etl.statement_rows import TABLES, Mentions, StatementRows
from etl.wikidata import RELATION_PROPERTIES, STATEMENT_FORMS, Item, describe, relate, summarise

SOURCE = "wikidata-dump"
ENTITIES, STATEMENTS, LINES = f"{SOURCE}/entities", f"{SOURCE}/statements", f"{SOURCE}/lines"

KEPT_BYTES = 1 << 20
"""How much of a line that cannot be read goes into quarantine."""

_PASS_SHIFT = 56
_HEAD = re.compile(
    rb'\{\s*(?:"pageid"\s*:\s*\d+\s*,\s*"ns"\s*:\s*\d+\s*,\s*"title"\s*:\s*"[^"]*"\s*,\s*"lastrevid"\s*:\s*\d+\s*,\s*'
    rb'"modified"\s*:\s*"[^"]*"\s*,\s*)?"type"\s*:\s*"(\w+)"\s*,\s*(?:"datatype"\s*:\s*"[^"]*"\s*,\s*)?'
    rb'"id"\s*:\s*"([A-Z])(\d{1,18})"'
)
"""How an entity begins in dumps and in API answers; others are known by their whole line only."""


def _prefix_tree(words: Iterable[str]) -> str:
    """Write a pattern of the words that looks at no character twice; half the time of the plain alternatives."""
    branches: dict[str, list[str]] = {}
    for word in words:
        branches.setdefault(word[:1], []).append(word[1:])
    if list(branches) == [""]:
        return ""
    # Longest first: the empty rest of a word that begins another stands last.
    parts = (first + _prefix_tree(rest) if first else "" for first, rest in sorted(branches.items(), reverse=True))
    return f"(?:{'|'.join(parts)})"


_RELATION = re.compile(rf'"P{_prefix_tree(name[1:] for name in RELATION_PROPERTIES)}"\s*:'.encode())


def first_number(pass_number: int) -> int:
    """Return the lowest number that a row of a pass may have: rows are numbered by the place of their line."""
    return pass_number << _PASS_SHIFT


@dataclass(slots=True)
class Extract:
    """A chunk's rows without the mentions, the items it describes (settled) or could not, and those it names.

    `mentions` are by kind the items that statements name, again and again; `left_out` counts what is none of ours.
    """

    prepared: Prepared
    mentions: dict[str, Mentions]
    described: "array[int]" = field(default_factory=lambda: array("q"))
    settled: "array[int]" = field(default_factory=lambda: array("q"))
    named: "array[int]" = field(default_factory=lambda: array("q"))
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class LineReader:
    """Extracts chunk after chunk in one pass, of all items with relations or of the `wanted` ones; picklable."""

    languages: tuple[str, ...]
    pass_number: int
    wanted: ItemSet | None = None

    def __call__(self, chunk: Chunk) -> Extract:
        """Extract the rows of a chunk. Pure."""
        rows = _Rows(self.languages)
        start = first_number(self.pass_number) + chunk.offset
        for line in chunk.data.split(b"\n"):
            self._read(line, rows, start)
            start += len(line) + 1
        return rows.extracted()

    def _read(self, line: bytes, rows: "_Rows", number: int) -> None:
        text = line.strip(b" \t\r,").removeprefix(b"[").removesuffix(b"]")
        if not text:
            return
        head = _HEAD.match(text)
        if head and head[1] != b"item" and text.endswith(b"}"):
            rows.leave_out(head[1].decode(), self.wanted is None)
            return
        if head and text.endswith(b"}") and not self._may_be_wanted(head, text):
            return
        rows.number = number
        try:
            reading = parse(text)
        except RowError as error:
            # The first pass has told of it.
            if self.wanted is None:
                place = number - first_number(self.pass_number)
                rows.reject(_line_row(place, text), error)
            return
        if isinstance(reading, str):
            rows.leave_out(reading, self.wanted is None)
        elif self.wanted is None:
            if relations := _relations(reading.item):
                rows.add(reading, text, relations)
        elif reading.item.number in self.wanted:
            rows.add(reading, text, ())

    def _may_be_wanted(self, head: re.Match[bytes], text: bytes) -> bool:
        return bool(_RELATION.search(text)) if self.wanted is None else int(head[3]) in self.wanted


def _relations(item: Item) -> list[tuple[str, list[int]]]:
    """Return property and values of an item's statements about others."""
    own = item.number
    others = (
        (name, [value for value in values if value != own])
        for name, values in item.links.items()
        if name in STATEMENT_FORMS
    )
    return [(name, values) for name, values in others if values]


class _Rows:
    """The rows of a chunk while they come."""

    def __init__(self, languages: Sequence[str]) -> None:
        self.number = 0
        self._languages = languages
        self._entities: list[bytes] = []
        self._statements = StatementRows()
        self._extract = Extract(Prepared(0, {}, []), self._statements.mentions)

    def extracted(self) -> Extract:
        """Return what the chunk became."""
        self._extract.prepared.written = {
            "entity": b"".join(self._entities),
            "influence": b"".join(self._statements.edges),
            "authorship": b"".join(self._statements.authorships),
        }
        return self._extract

    def leave_out(self, what: str, is_first_pass: bool) -> None:
        """Count an entity that is none of ours, once."""
        if is_first_pass:
            self._extract.left_out[what] += 1

    def add(self, reading: Reading, text: bytes, relations: Iterable[tuple[str, list[int]]]) -> None:
        """Add an item and statements of it; each is a row."""
        item = reading.item
        self._extract.left_out["unknown values"] += reading.unknown
        self._extract.described.append(item.number)
        for error in reading.bad_times:
            self.reject(_excerpt_row(text, f"{item.key}#{error.field}", self._languages), error)
        try:
            row = self._entity(item)
        except RowError as error:
            self.reject(_excerpt_row(text, item.key, self._languages), error)
            is_settled = False
        else:
            self._entities.append(row)
            self._extract.settled.append(item.number)
            self._count(1, 1)
            is_settled = True
        for name, others in relations:
            self._extract.named.extend(others)
            self._count(self._statements.add(item.number, name, others, self.number, is_settled), len(others))

    def _entity(self, item: Item) -> bytes:
        summary = summarise(item, self._languages)
        row = write_entity(self.number, item, summary)
        if row is None:
            ((_, values),) = staged(_LOAD, lambda: [describe(item, self._languages)])
            row = _write_record((self.number, *values))
        for references in (summary.disciplines, summary.fields, summary.work_types):
            if references:
                self._extract.named.extend(references)
        return row

    def _count(self, rows: int, numbers: int) -> None:
        self._extract.prepared.processed += rows
        self.number += numbers

    def reject(self, row: RawRow, error: RowError) -> None:
        """Add a row that cannot be loaded."""
        self._extract.prepared.rejects.append((self.number, row, error))
        self._count(1, 1)


_LOAD = AtlasLoad()
_write_record = row_writer(TABLES["entity"].types)


def _line_row(place: int, text: bytes) -> RawRow:
    kept = storable(text[:KEPT_BYTES].decode(errors="backslashreplace"))
    return RawRow(LINES, f"byte {place}", kept or "")


def _excerpt_row(text: bytes, external_id: str, languages: Sequence[str]) -> RawRow:
    return RawRow.from_json(ENTITIES, external_id, excerpt(orjson.loads(text), languages))


def transform(row: RawRow, languages: Sequence[str]) -> Iterable[object]:
    """Turn one raw row into records, as when a row of the quarantine is tried again; raises RowError."""
    if row.source == STATEMENTS:
        statement = row.json()
        return relate(statement["subject"], statement["property"], statement["value"])
    reading = parse(row.payload.encode())
    if isinstance(reading, str):
        raise RowError("not an item")
    # "Q1#P569" is what was wrong with a time; the item itself has been loaded.
    _, _, bad_property = row.external_id.partition("#")
    for error in reading.bad_times:
        if error.field == bad_property:
            raise error
    records: list[object] = [describe(reading.item, languages)]
    if row.source == LINES:
        for name, values in _relations(reading.item):
            for value in values:
                records.extend(relate(reading.item.number, name, value))
    return records
