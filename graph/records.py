"""Records of any source, in the form that all sources share: lists by filter, words and order, and single ones."""

import asyncio
import math
from datetime import datetime
from enum import Enum
from typing import Annotated

import orjson
import strawberry
from strawberry.scalars import JSON

from db import records
from db.models.operations import EtlRun as RunModel
from db.models.records import RawRecord as RawModel
from db.record_keys import OrderValue, Position, RecordOrder, RecordPage, Wanted
from db.records import EXACT_UP_TO, RecordRow, Total
from graph.access import Role, needs
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
    decode_cursor,
    encode_cursor,
    page_info,
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

    id: strawberry.ID = resolved(_id, 'The record\'s id: its source and its id there, "shop/42". See `record(id:)`.')
    source: str = strawberry.field(description='Where it came from: "shop".')
    external_id: str = strawberry.field(name="sourceId", description="Its id there.")
    title: str | None = strawberry.field(description="What it is called.")
    value: float | None = resolved(
        _value, "Its number, such as a price, to 15 digits; `raw` has it exactly. Null when it is none, or not finite."
    )
    description: str | None = strawberry.field(description="What it is, in words.")
    created_at: datetime | None = strawberry.field(description="When it was created in its source.")
    updated_at: datetime | None = strawberry.field(description="When it was last updated there.")
    attributes: JSON = resolved(
        _attributes, "All else that the source says of it, as a JSON object; numbers keep every digit."
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
    edges: list[Edge[Record]] = strawberry.field(description="The records with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands in the list.")
    total_count: BigInt = resolved(
        _total_count,
        f"How many records there are on all pages, counted only when you ask. Above {EXACT_UP_TO} it is an estimate:"
        " see `totalCountKind`.",
    )
    total_count_kind: CountKind = resolved(_total_count_kind, "Whether `totalCount` is exact.")


def read_position(cursor: str, order: RecordOrder) -> Position:
    """Return the position that a cursor stands for; raises RequestError when it is not one of this order."""
    column = order.column
    kinds = (type(None),) if column is None else (str, float, type(None))
    value, source, external_id = decode_cursor(cursor, f"RECORD_{order}", kinds, str, str)
    if value is not None and column is not None and column.type.python_type is not str:
        try:
            value = float(value) if column.type.python_type is float else datetime.fromisoformat(value)
            is_fit = not isinstance(value, datetime) or value.tzinfo is not None
        except (ValueError, TypeError):
            is_fit = False
    else:
        is_fit = not isinstance(value, float)
    if not is_fit:
        raise bad_input(f"cursor {cursor[:60]!r} is not one of this list: give a startCursor or endCursor of it")
    return Position(value, source, external_id)


def write_position(position: Position, order: RecordOrder) -> str:
    """Return the cursor of a position."""
    return encode_cursor(f"RECORD_{order}", (_written(position.value), position.source, position.external_id))


def _written(value: OrderValue) -> str | float | None:
    if isinstance(value, datetime):
        return value.isoformat()
    # JSON has no name for what is not finite.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


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
    size, cursor, backward = check_window(given(first), given(after), given(last), given(before))
    words, conditions, of_source = given(search), given(filter), given(source)
    wanted = Wanted(
        source=None if of_source is None else check_text("source", of_source),
        search=None if words is None else check_search(words),
        filter=None if conditions is None else read_filter(conditions),
    )
    position = None if cursor is None else read_position(cursor, order_by)
    page = RecordPage(size, position, backward)
    found, has_more = await records.record_page(info.context.session, wanted, order_by, page)
    entries = [Edge(cursor=write_position(place, order_by), node=row) for row, place in found]
    return RecordConnection(
        count=_Count(info, wanted),
        edges=entries,  # type: ignore[arg-type]
        page_info=page_info(
            [entry.cursor for entry in entries],
            has_next=cursor is not None if backward else has_more,
            has_previous=has_more if backward else cursor is not None,
        ),
    )


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

    data: RecordConnection | None = resolved(
        _data, "Records of all sources, or of one, by filter, words and order, a page at a time."
    )
    record: Record | None = resolved(
        _record, "A record by its id, or by its source and id there; null when there is none."
    )
