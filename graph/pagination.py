"""Keyset pages as Relay connections: a cursor is the position of an entry in its order, so deep pages cost no more."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import orjson
import strawberry
from sqlalchemy import ColumnElement, Text, cast, func, literal_column

from graph.compiled.mapping import SQL, WITHIN_PAGE, Part, Plain, Row, Value, mapped
from graph.context import Info
from graph.errors import RequestError, bad_input
from graph.scalars import BigInt

MAX_PAGE = 100
DEFAULT_PAGE = 20
TOTAL_COUNT = "How many entries there are on all pages. It is counted only when you ask, which takes longer."

PageSize = Annotated[int | None, strawberry.argument(description="The size of a page, up to 100; 20 when left out.")]
After = Annotated[str | None, strawberry.argument(description="The cursor to go on after: an `endCursor`.")]
LastSize = Annotated[
    int | None, strawberry.argument(description="Instead of `first`: the size of a page that ends the list.")
]
Before = Annotated[
    str | None, strawberry.argument(description="With `last`: the cursor to go back from, a `startCursor`.")
]

T = TypeVar("T")
Count = Callable[[], Awaitable[int]]


def resolved(resolver: Callable[..., Any], description: str) -> Any:
    """Make a field whose resolver returns rows of the database where the annotation names their GraphQL type."""
    return strawberry.field(resolver=resolver, description=description)


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Relay's page information."""

    has_next_page: bool = strawberry.field(
        description="Whether more follows: get it with `after: endCursor`. When paging backwards, true before a cursor."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether something precedes: get it with `before: startCursor`. When paging forwards, true after a"
        " cursor."
    )
    start_cursor: str | None = strawberry.field(description="The first entry's cursor; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="The last entry's cursor; null on an empty page.")


def _cursor(root: "strawberry.Parent[Edge[Any]]") -> str:
    return root.cursor_of(root.node)


@strawberry.type(description="An entry of a page.")
class Edge(Generic[T]):
    """Relay's edge."""

    cursor_of: strawberry.Private[Callable[[Any], str]]
    cursor: str = mapped(
        _cursor, "The entry's position: give it as `after` or `before`.", Value(lambda row, _: row["cursor"])
    )
    node: T = strawberry.field(description="The entry itself.", metadata={SQL: Part(Row.whole)})


async def _total_count(root: "strawberry.Parent[Connection[Any]]") -> int:
    return await root.count()


@strawberry.type(description="A page of a list, as Relay's Cursor Connections Specification has it.")
class Connection(Generic[T]):
    """Relay's connection."""

    count: strawberry.Private[Count]
    edges: list[Edge[T]] = strawberry.field(description="The entries with their cursors.", metadata={SQL: WITHIN_PAGE})
    page_info: PageInfo = strawberry.field(
        description="Where the page stands in the list.", metadata={SQL: WITHIN_PAGE}
    )
    total_count: BigInt = mapped(_total_count, TOTAL_COUNT, WITHIN_PAGE)


def connection(
    found: Sequence[T], cursor_of: Callable[[T], str], count: Count, *, has_next: bool, has_previous: bool
) -> Any:
    """Make a page of rows of the database."""
    page = page_info(found, cursor_of, has_next=has_next, has_previous=has_previous)
    return Connection(count=count, edges=edges_of(found, cursor_of), page_info=page)


def edges_of(found: Sequence[T], cursor_of: Callable[[T], str]) -> list[Any]:
    """Make the edges of a page's rows; cursors are not made before they are asked for."""
    return [Edge(cursor_of=cursor_of, node=row) for row in found]


def page_info(found: Sequence[T], cursor_of: Callable[[T], str], *, has_next: bool, has_previous: bool) -> PageInfo:
    """Make the page information of a page's rows."""
    return PageInfo(
        has_next_page=has_next,
        has_previous_page=has_previous,
        start_cursor=cursor_of(found[0]) if found else None,
        end_cursor=cursor_of(found[-1]) if found else None,
    )


def check_first(first: int, name: str = "first") -> int:
    """Return a page size; raises RequestError when it is out of range."""
    if not 0 <= first <= MAX_PAGE:
        raise bad_input(f"{name} is {first}: give 0 to {MAX_PAGE}")
    return first


def check_window(
    first: int | None, after: str | None, last: int | None, before: str | None
) -> tuple[int, str | None, bool]:
    """Return a page's size, the cursor it begins from, and whether it goes backwards; raises RequestError."""
    if (first is not None or after is not None) and (last is not None or before is not None):
        raise bad_input("first and after page forwards, last and before backwards: give only one of the two pairs")
    if last is not None or before is not None:
        return check_first(DEFAULT_PAGE if last is None else last, "last"), before, True
    return check_first(DEFAULT_PAGE if first is None else first), after, False


def cut(info: Info, found: Sequence[T], first: int) -> list[T]:
    """Return the first of a list; when there was one more, the response's extensions tell that it was cut."""
    if len(found) > first:
        info.context.tell_cut(info.path.as_list(), first)
    return list(found[:first])


def encode_cursor(order: str, position: Sequence[object]) -> str:
    """Write a position as opaque text; the order's name keeps it from being used in another one."""
    return base64.urlsafe_b64encode(orjson.dumps([order, *position])).rstrip(b"=").decode()


def cursor_sql(order: str, *position: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the SQL of what `encode_cursor` writes."""
    parts = [part for value in position for part in (",", func.coalesce(cast(func.to_json(value), Text), "null"))]
    written = func.concat(literal_column(f"'[\"{order}\"'"), *parts, "]")
    encoded = func.encode(func.convert_to(written, "UTF8"), "base64")
    # PostgreSQL breaks long lines.
    return func.translate(encoded, "+/\n=", "-_", type_=Plain())


def decode_cursor(text: str, order: str, *types: type | tuple[type, ...]) -> tuple[Any, ...]:
    """Read a position whose parts have the types; raises RequestError when the cursor is not one of this order."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        found = None
    if isinstance(found, list) and len(found) == len(types) + 1 and found[0] == order:
        position = tuple(found[1:])
        if all(_fits(part, kind) for part, kind in zip(position, types, strict=True)):
            return position
    raise refused_cursor(text)


def refused_cursor(text: str) -> RequestError:
    """Return the error for a cursor of another list."""
    return bad_input(
        f"cursor {text[:60]!r} is not one of this list: give a startCursor or endCursor of the same field and order"
    )


def _fits(part: object, kind: type | tuple[type, ...]) -> bool:
    if isinstance(part, bool):
        return False
    if isinstance(part, int) and not -(2**63) <= part < 2**63:
        return False
    return isinstance(part, kind) and not (isinstance(part, str) and "\0" in part)
