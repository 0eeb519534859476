"""Records of any source: pages of them, single ones, their raw rows, and how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Executable,
    Select,
    Text,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler

from db.lookups import is_any
from db.models.records import RawRecord, Record
from db.reading import ReadSession
from db.record_keys import RECORD, RECORD_COLUMNS, Position, RecordPage, Wanted
from db.rows import Found, bound_list, limited

EXACT_UP_TO = 10_000
"""So many records are counted one by one; of more, the planner's estimate is told."""

RecordKey = tuple[str, str]
"""A record's source and its id there."""


class RecordRow(Found):
    """A record; `attributes` is JSON text, since parsing would bend large numbers."""

    __slots__ = ()
    SELDOM = frozenset({"description", "attributes"})

    source: str
    external_id: str
    title: str | None
    value: float | None
    description: str | None
    created_at: datetime | None
    updated_at: datetime | None
    attributes: str
    run_id: int


def _columns(source: Any) -> list[Any]:
    return [
        cast(source[name], Text).label(name) if name == "attributes" else source[name]
        for name in RecordRow.__annotations__
    ]


@dataclass(frozen=True, slots=True)
class Total:
    """How many records there are, counted or estimated."""

    count: int
    is_exact: bool


async def record_page(session: ReadSession, page: RecordPage) -> tuple[list[RecordRow], bool]:
    """Return a page in the list's own order, and whether there is more beyond it in the direction of paging."""
    assert isinstance(page.first, int)
    rows = await session.load(_page, page, RecordRow)
    found = rows[: page.first]
    return (found[::-1] if page.is_backward else found), len(rows) > page.first


def _page(page: RecordPage) -> Select[Any]:
    near = limited(page.rows().select([*RECORD_COLUMNS, "order_value", "n"]), page.first).subquery("near")
    return select(*_columns(near.c), near.c.order_value).order_by(near.c.n)


def position_of(row: RecordRow) -> Position:
    """Return the place of a page's record in its list."""
    return Position(row["order_value"], row.source, row.external_id)


async def records_by_key(session: ReadSession, keys: Sequence[RecordKey]) -> dict[RecordKey, RecordRow]:
    """Return the records that exist among the keys."""
    rows = await session.load(_records, _Keys.of(keys), RecordRow)
    return {(row.source, row.external_id): row for row in rows}


def _records(keys: "_Keys") -> Select[Any]:
    return select(*_columns(RECORD.c)).where(_is_one_of((Record.source, Record.external_id), keys))


async def raw_by_key(session: ReadSession, keys: Sequence[RecordKey]) -> dict[RecordKey, RawRecord]:
    """Return the raw rows of records; of a source that changed its kind, the one that came last."""
    statement = select(RawRecord).where(_is_one_of((RawRecord.source, RawRecord.external_id), _Keys.of(keys)))
    found = await session.scalars(statement.order_by(RawRecord.received_at))
    return {(raw.source, raw.external_id): raw for raw in found}


async def count_records(session: ReadSession, wanted: Wanted) -> Total:
    """Return how many records there are: exactly up to EXACT_UP_TO, else by the planner's estimate."""
    matching: Select[Any] = select(literal_column("1")).select_from(Record).where(*wanted.all_conditions())
    some = matching.limit(EXACT_UP_TO + 1).subquery()
    count = await session.scalar(select(func.count()).select_from(some)) or 0
    if count <= EXACT_UP_TO:
        return Total(count, is_exact=True)
    plan = (await session.rows(_Explain(matching)))[0][0][0]["Plan"]
    return Total(max(count, int(plan["Plan Rows"])), is_exact=False)


async def counts_by_source(session: ReadSession, sources: Sequence[str]) -> dict[str, int]:
    """Return how many records the sources have."""
    statement = select(Record.source, func.count()).where(is_any(Record.source, sources))
    return dict(await session.rows(statement.group_by(Record.source)))


class _Keys(NamedTuple):
    sources: Any
    ids: Any

    @classmethod
    def of(cls, keys: Sequence[RecordKey]) -> "_Keys":
        return cls(tuple([source for source, _ in keys]), tuple([one for _, one in keys]))


def _is_one_of(columns: Sequence[InstrumentedAttribute[str]], keys: _Keys) -> ColumnElement[bool]:
    """Compare with a list in two parameters, so that lists of every length share one prepared statement."""
    wanted = (
        func.unnest(*(bound_list(one, Text()) for one in keys)).table_valued("source", "external_id").render_derived()
    )
    return tuple_(*columns).in_(select(wanted.c.source, wanted.c.external_id))


class _Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, as JSON."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement


@compiles(_Explain)
def _explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"
