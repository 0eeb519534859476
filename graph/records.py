"""Records of any source, in the form that all sources share: lists by filter, words and order, and single ones."""

import asyncio
import math
import struct
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import orjson
import strawberry
from sqlalchemy import ColumnElement, Double, Text, all_, case, func, literal_column
from sqlalchemy.dialects.postgresql import ARRAY
from strawberry.scalars import JSON

from db import records
from db.models.operations import EtlRun as RunModel
from db.models.records import RawRecord as RawModel
from db.record_keys import OrderValue, Position, RecordOrder, RecordPage, Wanted
from db.records import EXACT_UP_TO, RecordRow, Total
from db.rows import Slot
from graph.access import Role, needs
from graph.compiled.dates import time_of, time_text
from graph.compiled.mapping import SQL, WITHIN_PAGE, Page, Row, Value, mapped
from graph.context import Info
from graph.errors import bad_input, check_text
from graph.pagination import (
    After,
    Before,
    Edge,
    LastSize,
    PageInfo,
    PageSize,
    check_window,
    cursor_sql,
    decode_cursor,
    edges_of,
    encode_cursor,
    page_info,
    refused_cursor,
    resolved,
)
from graph.raw_records import RawRecord
from graph.record_filters import RecordFilterInput, read_filter
from graph.runs import EtlRun
from graph.scalars import BigInt, described, given

ARecord = strawberry.Parent[RecordRow]

described(
    RecordOrder,
    "RecordOrder",
    "How a list of records is ordered. Records without the value come last, whatever the direction; ties go by source"
    " and id there.",
    {
        "ID_ASC": "By source, then by the id there, as text.",
        "ID_DESC": "The reverse of ID_ASC.",
        "TITLE_ASC": "By the first 200 characters of the title, character by character: capitals come first.",
        "TITLE_DESC": "The reverse, Z first.",
        "VALUE_ASC": "By value, the smallest first.",
        "VALUE_DESC": "By value, the largest first.",
        "CREATED_ASC": "By `createdAt`, the oldest first.",
        "CREATED_DESC": "By `createdAt`, the newest first.",
        "UPDATED_ASC": "By `updatedAt`, the oldest first.",
        "UPDATED_DESC": "By `updatedAt`, the newest first.",
    },
)


@strawberry.enum(description="Whether a count is exact.")
class CountKind(Enum):
    """How a number of records was found."""

    EXACT = strawberry.enum_value("EXACT", description="They were counted.")
    ESTIMATED = strawberry.enum_value(
        "ESTIMATED", description=f"There are more than {EXACT_UP_TO}: it is what the database expects."
    )


def record_id(root: RecordRow) -> str:
    """Return a record's id: sources have no "/" in their names."""
    return f"{root.source}/{root.external_id}"


def _id(root: ARecord) -> str:
    return record_id(root)


def _id_sql(row: Row, _request: Any) -> ColumnElement[Any]:
    return row["source"].concat(literal_column("'/'")).concat(row["external_id"])


def _value_sql(row: Row, _request: Any) -> ColumnElement[Any]:
    odd = literal_column("'{NaN,Infinity,-Infinity}'::float8[]", ARRAY(Double))
    return case((row["value"] != all_(odd), row["value"]))


def _value(root: ARecord) -> float | None:
    return root.value if root.value is not None and math.isfinite(root.value) else None


def _attributes(root: ARecord) -> object:
    return orjson.Fragment(root.attributes)


async def _raw(root: ARecord, info: Info) -> RawModel | None:
    info.context.may_change()
    return await info.context.loaders.raw_by_key.load((root.source, root.external_id))


async def _run(root: ARecord, info: Info) -> RunModel | None:
    info.context.may_change()
    return await info.context.loaders.runs_by_id.load(root.run_id)


@strawberry.type(description="A row of a source in the form that all sources share.")
class Record:
    """GraphQL's view of a row of `record`."""

    id: strawberry.ID = mapped(
        _id, 'The record\'s id: its source and its id there, "shop/42". See `record(id:)`.', Value(_id_sql)
    )
    source: str = strawberry.field(description='Where it came from: "shop".')
    external_id: str = strawberry.field(name="sourceId", description="Its id there.")
    title: str | None = strawberry.field(description="What it is called.")
    value: float | None = mapped(
        _value,
        "Its number, such as a price, to 15 digits; `raw` has it exactly. Null when it is none, or not finite.",
        Value(_value_sql),
    )
    description: str | None = strawberry.field(description="What it is, in words.")
    created_at: datetime | None = strawberry.field(
        description="When it was created in its source.", metadata={SQL: time_of("created_at")}
    )
    updated_at: datetime | None = strawberry.field(
        description="When it was last updated there.", metadata={SQL: time_of("updated_at")}
    )
    attributes: JSON = mapped(
        _attributes,
        "All else that the source says of it, as a JSON object; numbers keep every digit.",
        Value(lambda row, _: row["attributes"]),
    )
    raw: RawRecord | None = needs(
        Role.ANALYST, resolved(_raw, "The row as its source gave it; null when it was not kept.")
    )
    run: EtlRun | None = resolved(_run, "The run that changed it last.")


class _Count:
    """Counts once, however many fields ask, and not before one does."""

    def __init__(self, info: Info, wanted: Wanted) -> None:
        self._info = info
        self._wanted = wanted
        self._counting: asyncio.Task[Total] | None = None

    async def total(self) -> Total:
        """Return how many there are."""
        if self._counting is None:
            self._counting = asyncio.create_task(records.count_records(self._info.context.session, self._wanted))
        total = await self._counting
        if not total.is_exact:
            # The planner's knowledge grows while the data version stays.
            self._info.context.may_change()
        return total


async def _total_count(root: "strawberry.Parent[RecordConnection]") -> int:
    return (await root.count.total()).count


async def _total_count_kind(root: "strawberry.Parent[RecordConnection]") -> CountKind:
    return CountKind.EXACT if (await root.count.total()).is_exact else CountKind.ESTIMATED


@strawberry.type(description="A page of a list, as Relay's Cursor Connections Specification has it.")
class RecordConnection:
    """A page of records, which are too many to count each time."""

    count: strawberry.Private[_Count]
    edges: list[Edge[Record]] = strawberry.field(
        description="The records with their cursors.", metadata={SQL: WITHIN_PAGE}
    )
    page_info: PageInfo = strawberry.field(
        description="Where the page stands in the list.", metadata={SQL: WITHIN_PAGE}
    )
    total_count: BigInt = resolved(
        _total_count,
        f"How many records there are on all pages, counted only when you ask. Above {EXACT_UP_TO} it is an estimate:"
        " see `totalCountKind`.",
    )
    total_count_kind: CountKind = resolved(_total_count_kind, "Whether `totalCount` is exact.")


def read_position(cursor: str, order: RecordOrder) -> Position:
    """Return the position that a cursor stands for; raises RequestError when it is not one of this order."""
    kind = type(None) if order.column is None else order.column.type.python_type
    kinds = (type(None),) if order.column is None else (str, type(None))
    value, source, external_id = decode_cursor(cursor, f"RECORD_{order}", kinds, str, str)
    try:
        found = None if value is None else _READ[kind](value)
    except (ValueError, struct.error):
        raise refused_cursor(cursor) from None
    if isinstance(found, datetime) and found.tzinfo is None:
        raise refused_cursor(cursor)
    return Position(found, source, external_id)


def write_position(position: Position, order: RecordOrder) -> str:
    """Return the cursor of a position."""
    return encode_cursor(f"RECORD_{order}", (_written(position.value), position.source, position.external_id))


_READ: dict[type, Any] = {
    str: str,
    float: lambda text: struct.unpack(">d", bytes.fromhex(text))[0],
    datetime: datetime.fromisoformat,
}


def _written(value: OrderValue | Slot) -> str | None:
    # There are several ways to write a number's digits, and none in JSON for what is not finite: its bits are sure.
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    return value.isoformat() if isinstance(value, datetime) else value  # type: ignore[return-value]


def _cursor_sql(row: Row, page: RecordPage) -> ColumnElement[Any]:
    value: ColumnElement[Any] = literal_column("NULL::text", Text)
    if (column := page.order.column) is not None:
        value, kind = row["order_value"], column.type.python_type
        if kind is float:
            value = func.encode(func.float8send(value), literal_column("'hex'"), type_=Text())
        elif kind is datetime:
            value = time_text(value)
    return cursor_sql(f"RECORD_{page.order}", value, row["source"], row["external_id"])


def check_search(search: str) -> str:
    """Return words to search for; raises RequestError when there are none."""
    if not any(character.isalnum() for character in check_text("search", search)):
        raise bad_input(f"search is {search!r}: give at least one letter or digit")
    return search


async def _data(
    info: Info,
    source: Annotated[
        str | None, strawberry.argument(description='Only records of this source: "shop". `stats` has all sources.')
    ] = strawberry.UNSET,
    filter: Annotated[
        RecordFilterInput | None, strawberry.argument(description="What records must have; all when left out.")
    ] = strawberry.UNSET,
    search: Annotated[
        str | None,
        strawberry.argument(
            description="Only records whose title and description have all of these words, in any case; the last one"
            " may be begun only."
        ),
    ] = strawberry.UNSET,
    order_by: Annotated[RecordOrder, strawberry.argument(description="How to order them.")] = RecordOrder.ID_ASC,
    first: PageSize = strawberry.UNSET,
    after: After = strawberry.UNSET,
    last: LastSize = strawberry.UNSET,
    before: Before = strawberry.UNSET,
) -> RecordConnection:
    page = _page(source, filter, search, order_by, first, after, last, before)
    found, has_more = await records.record_page(info.context.session, page)

    def cursor_of(row: RecordRow) -> str:
        return write_position(records.position_of(row), order_by)

    return RecordConnection(
        count=_Count(info, page.wanted),
        edges=edges_of(found, cursor_of),
        page_info=page_info(
            found,
            cursor_of,
            has_next=page.has_cursor if page.is_backward else has_more,
            has_previous=has_more if page.is_backward else page.has_cursor,
        ),
    )


def _page(
    source: str | None,
    filter: RecordFilterInput | None,
    search: str | None,
    order_by: RecordOrder,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> RecordPage:
    size, cursor, is_backward = check_window(given(first), given(after), given(last), given(before))
    words, conditions, of_source = given(search), given(filter), given(source)
    wanted = Wanted(
        source=None if of_source is None else check_text("source", of_source),
        search=None if words is None else check_search(words),
        filter=None if conditions is None else read_filter(conditions),
    )
    position = None if cursor is None else read_position(cursor, order_by)
    is_within = position is not None and position.source == of_source
    return RecordPage(wanted, order_by, size, position, is_backward, is_within)


async def _record(
    info: Info,
    id: Annotated[
        strawberry.ID | None, strawberry.argument(description='The record\'s id: "shop/42".')
    ] = strawberry.UNSET,
    source: Annotated[
        str | None, strawberry.argument(description="With `sourceId`, instead of `id`: its source.")
    ] = strawberry.UNSET,
    external_id: Annotated[
        str | None, strawberry.argument(name="sourceId", description="With `source`: its id there.")
    ] = strawberry.UNSET,
) -> RecordRow | None:
    key = _key(given(id), given(source), given(external_id))
    return (await records.records_by_key(info.context.session, [key])).get(key)


def _key(id: str | None, source: str | None, external_id: str | None) -> tuple[str, str]:
    if id is None and source is not None and external_id is not None:
        return check_text("source", source), check_text("sourceId", external_id)
    if id is None or source is not None or external_id is not None:
        raise bad_input("record needs either id, or source and sourceId: give one of the two")
    name, slash, rest = id.partition("/")
    if not slash:
        raise bad_input(f'id is {id[:60]!r}: give a source and an id there, such as "shop/42"')
    return check_text("the id's source", name), check_text("the id in its source", rest)


@strawberry.type
class RecordQuery:
    """Root fields about records."""

    data: RecordConnection | None = mapped(
        _data,
        "Records of all sources, or of one, by filter, words and order, a page at a time.",
        Page(lambda _, page: page.rows(), _cursor_sql, None, _page),
        reads_once=True,
    )
    record: Record | None = resolved(
        _record, "A record by its id, or by its source and id there; null when there is none."
    )
