"""The rows as their sources gave them."""

import json
from datetime import datetime
from typing import Annotated

import orjson
import strawberry
from strawberry.scalars import JSON

from db.models.operations import EtlRun as RunModel
from db.models.records import RawRecord
from db.operations import RawFilter, count_raw, raw_page
from graph.context import Info
from graph.errors import check_text
from graph.operations import EtlRun
from graph.pagination import Connection, check_first, connection, decode_cursor, encode_cursor, resolved
from graph.scalars import given

CURSOR = "DATA"

ARecord = strawberry.Parent[RawRecord]


def _id(root: ARecord) -> str:
    return f"{root.source}/{root.external_id}"


def _attributes(root: ARecord) -> object:
    """Pass JSON on as it is: parsing would bend numbers beyond 64 bits. What is not JSON is given as a string."""
    try:
        json.loads(root.payload, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return root.payload
    return orjson.Fragment(root.payload)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


async def _run(root: ARecord, info: Info) -> RunModel | None:
    return await info.context.loaders.runs_by_id.load(root.run_id)


@strawberry.type(description="A row as its source gave it, before anything was made of it.")
class DataRecord:
    """GraphQL's view of a row of `raw_record`."""

    id: strawberry.ID = resolved(_id, "The record's id: its source and its id there.")
    source: str = strawberry.field(description='Where it came from: "sample/people".')
    external_id: str = strawberry.field(name="sourceId", description="Its id there.")
    attributes: JSON = resolved(_attributes, "What the source said, as JSON.")
    received_at: datetime = strawberry.field(description="When it was received last.")
    run: EtlRun | None = resolved(_run, "The run that received it last.")


async def _data(
    info: Info,
    source: Annotated[
        str | None,
        strawberry.argument(description='Only records of this source or of its parts: "sample" has "sample/people".'),
    ] = strawberry.UNSET,
    search: Annotated[
        str | None,
        strawberry.argument(description="Only records whose text holds this, in any case. Give a source to be quick."),
    ] = strawberry.UNSET,
    first: Annotated[int, strawberry.argument(description="The size of a page, up to 100.")] = 20,
    after: Annotated[str | None, strawberry.argument(description="The cursor to go on after.")] = strawberry.UNSET,
) -> object:
    info.context.may_change()
    wanted = RawFilter(source=given(source), search=given(search))
    check_text("source", wanted.source or "")
    check_text("search", wanted.search or "")
    cursor = given(after)
    position = None if cursor is None else decode_cursor(cursor, CURSOR, str, str)
    session = info.context.session
    found, has_more = await raw_page(
        session, wanted, check_first(first), (position[0], position[1]) if position else None
    )
    return connection(
        [(encode_cursor(CURSOR, (record.source, record.external_id)), record) for record in found],
        lambda: count_raw(session, wanted),
        has_next=has_more,
        has_previous=position is not None,
    )


@strawberry.type
class RecordQuery:
    """Root fields about raw rows."""

    data: Connection[DataRecord] | None = resolved(
        _data, "The rows as their sources gave them, by source and id, a page at a time."
    )
