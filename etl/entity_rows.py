"""The row of an item, written as it is staged: what `etl.wikidata.describe` makes, in half the time.

What the rows of all items have in common is written once. This runs for each of many million items.
"""

from struct import Struct

import orjson

from db.binary_copy import WRITERS
from db.dates import HistoricalDate
from db.models.atlas import DATE_PARTS, Kind
from db.text import fold
from etl.atlas import AtlasLoad
from etl.facts import MAX_TEXT_LENGTH
from etl.statement_rows import TABLES
from etl.wikidata import Item, Summary, describe

_TABLE = TABLES["entity"]
_SAMPLE = (0, *AtlasLoad().stage(describe(Item(1)))[1])
_WRITTEN = {
    column: WRITERS[sql_type](value)
    for column, sql_type, value in zip(_TABLE.staged_columns, _TABLE.types, _SAMPLE, strict=True)
}
_WIDTH = len(_WRITTEN)
_COVERS, _DETAILS = _WRITTEN["covers"], _WRITTEN["details"]
_KINDS = {kind: WRITERS["entity_kind"](kind.value) + _WRITTEN["dataset"] for kind in Kind}
_NO_TEXTS = _WRITTEN["disciplines"] + _WRITTEN["field"] + _WRITTEN["work_type"]

_HEAD, _ID, _LENGTH, _JSON = Struct(">hiq"), Struct(">iq"), Struct(">i"), Struct(">ib")
_write_text, _write_numbers, _NO_NUMBERS = WRITERS["text"], WRITERS["bigint[]"], WRITERS["bigint[]"](())

# A part that is missing has the length -1 and nothing else.
_NO_DATE = _LENGTH.pack(-1) * len(DATE_PARTS)
_YEAR, _MONTH, _DAY = Struct(">iqiiihihiqiq"), Struct(">iqihiihihiqiq"), Struct(">iqihihihihiqiq")


def write_entity(row_no: int, item: Item, summary: Summary) -> bytes | None:
    """Return an item's row; None where a text may be one that cannot be stored, which its record would tell."""
    labels = orjson.dumps(summary.labels, option=orjson.OPT_SORT_KEYS)
    name, description = summary.name, summary.description
    if len(labels) > MAX_TEXT_LENGTH or b"\\u0000" in labels:
        return None
    if description is not None and (len(description) > MAX_TEXT_LENGTH or "\0" in description):
        return None
    return b"".join(
        (
            _HEAD.pack(_WIDTH, 8, row_no),
            _COVERS,
            _write_numbers(summary.disciplines) if summary.disciplines else _NO_NUMBERS,
            _write_numbers(summary.fields) if summary.fields else _NO_NUMBERS,
            _write_numbers(summary.work_types) if summary.work_types else _NO_NUMBERS,
            _ID.pack(8, item.number),
            _write_text(item.key),
            _KINDS[summary.kind],
            _write_text(name),
            _write_text(fold(name) if name else None),
            _JSON.pack(len(labels) + 1, 1),
            labels,
            _write_text(description),
            _NO_TEXTS,
            _write_date(summary.start),
            _write_date(summary.end),
            _DETAILS,
        )
    )


def _write_date(date: HistoricalDate | None) -> bytes:
    if date is None:
        return _NO_DATE
    year, month, day, first, last = date.year, date.month, date.day, date.first, date.last
    if month is None:
        return _YEAR.pack(8, year, -1, -1, 2, date.precision, 2, date.calendar, 8, first, 8, last)
    if day is None:
        return _MONTH.pack(8, year, 2, month, -1, 2, date.precision, 2, date.calendar, 8, first, 8, last)
    return _DAY.pack(8, year, 2, month, 2, day, 2, date.precision, 2, date.calendar, 8, first, 8, last)
