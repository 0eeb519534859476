"""The rows as their sources gave them."""

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db.models.operations import EtlRun as RunModel
from db.models.records import RawRecord as RawModel
from db.operations import RawFilter, count_raw, raw_page
from graph.access import Role, needs
from graph.context import Info
from graph.errors import check_text
from graph.pagination import Connection, check_first, connection, decode_cursor, encode_cursor, resolved
from graph.passed_on import passed_on
from graph.runs import EtlRun
from graph.scalars import given

CURSOR = "RAW"

ARow = strawberry.Parent[RawModel]


def _id(root: ARow) -> str:
    return f"{root.kind}/{root.source}/{root.external_id}"


def _payload(root: ARow) -> object:
    return passed_on(root.payload)


def _content_hash(root: ARow) -> str:
    return root.content_hash.hex


async def _run(root: ARow, info: Info) -> RunModel | None:
    return await info.context.loaders.runs_by_id.load(root.run_id)


@strawberry.type(description="A row as its source gave it, before anything was made of it.")
class RawRecord:
    """GraphQL's view of a row of `raw_record`."""

    id: strawberry.ID = resolved(_id, "The row's id: its kind of source, its source and its id there.")
    source: str = strawberry.field(description='Where it came from: "shop", "sample/people".')
    external_id: str = strawberry.field(name="sourceId", description="Its id there.")
    kind: str = strawberry.field(description='The kind of source: "rest", "csv", "jsonl", or "atlas" for the graph\'s.')
    payload: JSON = resolved(_payload, "What the source said, as JSON, with every digit; a string when it is no JSON.")
    content_hash: str = resolved(_content_hash, "The MD5 of what the source said: it changes when that changes.")
    is_processed: bool = strawberry.field(
        description="Whether something was made of it; a row of which nothing was made is in quarantine."
    )
    received_at: datetime = strawberry.field(description="When it was received last.")
    run: EtlRun | None = resolved(_run, "The run that received it last.")


async def _raw_records(
    info: Info,
    source: Annotated[
        str | None,
        strawberry.argument(description='Only rows of this source or of its parts: "sample" has "sample/people".'),
    ] = strawberry.UNSET,
    search: Annotated[
        str | None,
        strawberry.argument(description="Only rows whose text holds this, in any case. Give a source to be quick."),
    ] = strawberry.UNSET,
    first: Annotated[int, strawberry.argument(description="The size of a page, up to 100.")] = 20,
    after: Annotated[str | None, strawberry.argument(description="The cursor to go on after.")] = strawberry.UNSET,
) -> object:
    info.context.may_change()
    wanted = RawFilter(source=given(source), search=given(search))
    check_text("source", wanted.source or "")
    check_text("search", wanted.search or "")
    cursor = given(after)
    position = None if cursor is None else decode_cursor(cursor, CURSOR, str, str, str)
    session = info.context.session
    after_row = (position[0], position[1], position[2]) if position else None
    found, has_more = await raw_page(session, wanted, check_first(first), after_row)
    return connection(
        found,
        lambda row: encode_cursor(CURSOR, (row.source, row.external_id, row.kind)),
        lambda: count_raw(session, wanted),
        has_next=has_more,
        has_previous=position is not None,
    )


@strawberry.type
class RawRecordQuery:
    """Root fields about raw rows."""

    raw_records: Connection[RawRecord] | None = needs(
        Role.ANALYST,
        resolved(_raw_records, "The rows as their sources gave them, by source and id, a page at a time."),
    )
