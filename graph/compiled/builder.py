"""From a tree of fields to one SELECT: an object is a text joined of its members', a relation a LATERAL join."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, takewhile
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.sql.elements import Grouping

from db.rows import Ordered, Rows, Slot, bound, keys_of, ordered_by
from graph.compiled.mapping import Listed, NotCompilableError, One, Page, Part, Plain, Row, Value, Walked
from graph.compiled.selection import TYPE_NAMES, Field, Selection
from graph.compiled.texts import (
    EMPTY,
    NULL,
    Columns,
    Pieces,
    constant,
    first_text,
    joined,
    list_text,
    members_text,
    value_text,
)

MAX_EXPANDED = 400
"""How many fields a statement may have, after fragments are spread."""

MARK = literal_column("chr(1)", Text)
"""Begins each entry of `cuts`: no name in a path has it, so that a level can put its own steps before all of them."""

_KINDS = {"Agent": "AGENT", "Work": "WORK", "Concept": "CONCEPT"}


@dataclass(slots=True)
class _Level:
    """A SELECT in the making: what is joined to its rows, and what tells of lists cut below it."""

    conditions: tuple[Callable[[], ColumnElement[bool]], ...] = ()
    joins: list[FromClause] = field(default_factory=list)
    cuts: list[ColumnElement[Any]] = field(default_factory=list)
    made: dict[int, Pieces] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows in scope: what is asked for is selected."""

    row: Row
    rows: Ordered

    @property
    def number(self) -> ColumnElement[Any]:
        return self.row["n"]

    @property
    def order(self) -> Columns:
        # PostgreSQL knows by what a SELECT is ordered, not that `n` grows: it would sort by that once more.
        return ordered_by(self.rows.order, self.row.__getitem__) or [self.number]


class Builder:
    """Builds the statement of an operation; `requests` are those of its fields, with slots for the values."""

    def __init__(self, requests: Sequence[Any]) -> None:
        self._requests = requests
        self._numbers = count(1)
        self._expanded = 0

    def statement(self, root: dict[str, Field]) -> Select[Any]:
        """Return a SELECT of one row: the response's data as UTF-8 bytes, and the lists that were cut or null."""
        level = _Level()
        data = joined(self._object(level, Row({}), Selection({"Query": root})))
        columns = [func.convert_to(data, "UTF8").label("data"), _cuts(level.cuts).label("cuts")]
        return self._joined(select(literal_column("1")).subquery(self._name()), level, columns)

    def _name(self) -> str:
        return f"r{next(self._numbers)}"

    def _request(self, one: Field) -> Any:
        return None if one.request is None else self._requests[one.request]

    def _object(self, level: _Level, row: Row, selection: Selection) -> Pieces:
        variants = {
            name: [(key, self._field(level, row, one, selection)) for key, one in fields.items()]
            for name, fields in selection.by_type.items()
        }
        alike = takewhile(lambda one: len({id(text) for _, text in one}) == 1, zip(*variants.values(), strict=False))
        shared = [first for first, *_ in alike]
        # What begins all variants is written once: a statement must not grow by the number of types at every level.
        own = [
            (row["kind"] == _kind(name), joined(members_text(members[len(shared) :], is_first=not shared)))
            for name, members in variants.items()
            if len(members) > len(shared)
        ]
        return ["{", *members_text(shared), *([case(*own, else_=EMPTY)] if own else []), "}"]

    def _field(self, level: _Level, row: Row, one: Field, within: Selection) -> Pieces:
        if id(one) not in level.made:
            self._expanded += 1
            if self._expanded > MAX_EXPANDED:
                raise NotCompilableError("the operation is too large")
            types = [name for name, fields in within.by_type.items() if fields.get(one.key) is one]
            before = level.conditions
            if one.selection and len(types) < len(within.by_type):
                # Nothing is read for the objects of other types.
                level.conditions += (lambda: or_(*(row["kind"] == _kind(name) for name in types)),)
            level.made[id(one)] = self._made(level, row, one, types)
            level.conditions = before
        return level.made[id(one)]

    def _made(self, level: _Level, row: Row, one: Field, types: Sequence[str]) -> Pieces:
        mapping, request = one.mapping, self._request(one)
        if mapping is TYPE_NAMES:
            return _type_name(row, types)
        if isinstance(mapping, Value):
            return value_text(mapping.sql(row, request))
        assert one.selection is not None
        if isinstance(mapping, Part):
            return self._part(level, row, one, mapping)
        if isinstance(mapping, One):
            return self._one(level, mapping.rows(row, request), one)
        if isinstance(mapping, Listed):
            return self._listed(level, mapping.rows(row, request), one, getattr(request, "first", None))
        if isinstance(mapping, Walked):
            return self._walked(level, one, mapping)
        return self._page(level, row, one, mapping)

    def _part(self, level: _Level, row: Row, one: Field, mapping: Part) -> Pieces:
        assert one.selection is not None
        below = _Level(level.conditions, level.joins)
        made = self._object(below, mapping.row(row), one.selection)
        level.cuts += [_prefixed(cut, constant(f'"{one.key}",')) for cut in below.cuts]
        return made if mapping.exists is None else [case((mapping.exists(row), joined(made)), else_=NULL)]

    def _one(self, level: _Level, rows: Rows, one: Field) -> Pieces:
        selection = one.selection
        assert selection is not None

        def columns(inner: _Level, source: _Source) -> Columns:
            made = joined(self._object(inner, source.row, selection)).label("data")
            cuts = _prefixed(_cuts(inner.cuts), constant(f'"{one.key}",')) if inner.cuts else None
            return [made] if cuts is None else [made, cuts.label("cuts")]

        return self._nested(level, replace(rows, most=1) if rows.order else rows, columns)

    def _listed(self, level: _Level, rows: Ordered, one: Field, first: Any) -> Pieces:
        selection = one.selection
        assert selection is not None
        size = None if first is None else bound(first, BigInteger())

        def columns(inner: _Level, source: _Source) -> Columns:
            inner.conditions = () if size is None else (lambda: source.number <= size,)
            entry = self._object(inner, source.row, selection)
            if isinstance(one.mapping, Listed) and one.mapping.exists is not None:
                entry = [case((one.mapping.exists(source.row), joined(entry)), else_=NULL)]
            below = [_numbered(inner.cuts, source.number, f'"{one.key}",')] if inner.cuts else []
            if size is None:
                return [list_text(entry, source.order).label("data"), *(cuts.label("cuts") for cuts in below)]
            made = first_text(entry, source.order, size).label("data")
            own = case((func.count() > size, _cut(one.key, size)))
            return [made, func.nullif(func.concat(own, *below), constant("")).label("cuts")]

        return self._nested(level, rows, columns, None if first is None else _one_more(first))

    def _walked(self, level: _Level, one: Field, mapping: Walked) -> Pieces:
        request = self._request(one)

        def columns(inner: _Level, outcome: _Source) -> Columns:
            made = self._listed(inner, mapping.rows(outcome.row, request), one, None)
            cuts = mapping.cuts(outcome.row, request)
            told = [case((is_cut, _cut(one.key, bound(limit, BigInteger())))) for is_cut, limit in cuts]
            return [joined(made).label("data"), _cuts([*told, *inner.cuts]).label("cuts")]

        return self._nested(level, mapping.around(request), columns)

    def _page(self, level: _Level, row: Row, one: Field, mapping: Page) -> Pieces:
        assert one.selection is not None
        request = self._request(one)
        (fields,) = one.selection.by_type.values()
        has_info = any(part.name == "pageInfo" for part in fields.values())

        def columns(inner: _Level, source: _Source) -> Columns:
            return self._page_columns(inner, source, one, mapping, has_info) or [func.count().label("nothing")]

        rows = mapping.rows(row, request)
        most = _one_more(request.first) if has_info else bound(request.first, BigInteger())
        page = self._nested_name(level, rows, columns, most)
        shown: dict[str, Pieces] = {}
        for key, part in fields.items():
            if part.mapping is TYPE_NAMES:
                made = _type_name(row, list(one.selection.by_type))
            elif part.name == "totalCount":
                assert mapping.count is not None
                made = value_text(mapping.count(row, request).select(["count"]).scalar_subquery())
            elif part.name == "edges":
                made = [literal_column(f'{page}."list_{key}"', Text)]
            else:
                assert part.selection is not None
                info = Row(_page_info(page, rows, mapping, request))
                made = self._object(_Level((), level.joins), info, part.selection)
            shown[key] = made
        return ["{", *members_text(list(shown.items())), "}"]

    def _page_columns(
        self, level: _Level, source: _Source, one: Field, mapping: Page, has_info: bool
    ) -> list[ColumnElement[Any]]:
        assert one.selection is not None
        request, entry = self._request(one), source.row
        size = bound(request.first, BigInteger())

        def is_within() -> ColumnElement[bool]:
            return source.number <= size

        level.conditions = (is_within,) if has_info else ()
        of_cursor = Row(entry.columns)
        cursor = mapping.cursor(of_cursor, request)
        entry.used.update(of_cursor.used)
        edge = Row({**entry.columns, "edge_cursor": cursor}, entry.used, "edge_")
        found: list[ColumnElement[Any]] = []
        (fields,) = one.selection.by_type.values()
        for key, part in fields.items():
            if part.name != "edges" or part.selection is None:
                continue
            within = _Level(level.conditions, level.joins)
            entries = self._object(within, edge, part.selection)
            if request.is_backward:
                made = list_text(entries, [source.number.desc()], is_within())
            else:
                made = first_text(entries, source.order, size) if has_info else list_text(entries, source.order)
            found.append(made.label(f"list_{key}"))
            if within.cuts and request.is_backward:
                raise NotCompilableError("where a list inside a page read backwards stands is not known in SQL")
            level.cuts += [_numbered([cut], source.number, f'"{one.key}","{key}",') for cut in within.cuts]
        if has_info:
            shown = func.least(func.count(), size)
            found += [(func.count() > size).label("has_more"), (shown > 0).label("has_any")]
            for end, place in (("nearest", literal_column("1", Integer)), ("farthest", shown)):
                found += [_at(entry[name], source.order, place).label(f"{end}_{name}") for name in of_cursor.used]
        return [*found, _cuts(level.cuts).label("cuts")] if level.cuts else found

    def _nested(
        self, level: _Level, rows: Ordered, columns: Callable[[_Level, _Source], Columns], most: Any = None
    ) -> Pieces:
        name = self._nested_name(level, rows, columns, most)
        return [func.coalesce(literal_column(f"{name}.data", Text), NULL)]

    def _nested_name(
        self, level: _Level, rows: Ordered, columns: Callable[[_Level, _Source], Columns], most: Any = None
    ) -> str:
        """Join a SELECT over rows to the level and return its name."""
        source, name = self._name(), self._name()
        offered = {**rows.columns, **keys_of(rows.order), "n": literal_column("n", Integer)}
        row = Row({key: literal_column(f'{source}."{key}"', one.type) for key, one in offered.items()})
        inner = _Level()
        chosen = columns(inner, _Source(row, rows))
        wanted = sorted(row.used & offered.keys()) or list(rows.columns)[:1]
        statement = rows.select(wanted, *(condition() for condition in level.conditions))
        if most is not None:
            statement = statement.limit(most)
        nested = self._joined(statement.subquery(source), inner, chosen)
        level.joins.append(nested.lateral(name))
        if any(column.name == "cuts" for column in chosen):
            level.cuts.append(literal_column(f"{name}.cuts", Text))
        return name

    def _joined(self, source: FromClause, level: _Level, columns: Columns) -> Select[Any]:
        for relation in level.joins:
            source = source.join(relation, true(), isouter=True)
        return select(*columns).select_from(source)


def _one_more(first: int | Slot) -> ColumnElement[Any]:
    """Return how many rows to read, to know whether there are more than asked for."""
    return bound(first, BigInteger()) + literal_column("1", Integer)


def _at(column: ColumnElement[Any], order: Columns, place: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column of the row at a place: to make every row's cursor is dear."""
    listed: Any = func.array_agg(aggregate_order_by(column, *order), type_=ARRAY(column.type))
    return Grouping(listed)[place]


def _page_info(page: str, rows: Ordered, mapping: Page, request: Any) -> dict[str, ColumnElement[Any]]:
    has_any, has_more = (literal_column(f"{page}.{name}", Boolean) for name in ("has_any", "has_more"))
    has_cursor = literal_column("true" if request.has_cursor else "false", Boolean)
    names = ("has_next_page", "has_previous_page", "start_cursor", "end_cursor")
    cursors = []
    for end in ("nearest", "farthest"):
        entry = {name: literal_column(f'{page}."{end}_{name}"', one.type) for name, one in rows.columns.items()}
        cursors.append(case((has_any, mapping.cursor(Row(entry), request))))
    ends: Columns = (has_more, has_cursor, *cursors)
    if request.is_backward:
        ends = (has_cursor, has_more, *reversed(cursors))
    return dict(zip(names, ends, strict=True))


def _kind(name: str) -> ColumnElement[Any]:
    if name not in _KINDS:
        raise NotCompilableError(f"{name} is not a kind of entity")
    return literal_column(f"'{_KINDS[name]}'::entity_kind")


def _type_name(row: Row, types: Sequence[str]) -> Pieces:
    if len(types) == 1:
        return [f'"{types[0]}"']
    return value_text(func.initcap(cast(row["kind"], Text), type_=Plain()))


def _cut(key: str, limit: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.concat(MARK, constant(f'"{key}"],"limit":'), limit, constant("}"))


def _prefixed(cuts: ColumnElement[Any], steps: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.replace(cuts, MARK, func.concat(MARK, steps))


def _numbered(cuts: Sequence[ColumnElement[Any]], number: ColumnElement[Any], steps: str) -> ColumnElement[Any]:
    position = number - literal_column("1", Integer)
    return func.string_agg(_prefixed(_cuts(cuts), func.concat(constant(steps), position, constant(","))), constant(""))


def _cuts(cuts: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    if not cuts:
        return literal_column("NULL::text", Text)
    return cuts[0] if len(cuts) == 1 else func.nullif(func.concat(*cuts), constant(""))
