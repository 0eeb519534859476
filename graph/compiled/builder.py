"""From a tree of fields to one SELECT: an object is a row turned into JSON, a relation a LATERAL join of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.sql.elements import Grouping

from db.rows import Rows, Sequel, bound, limited
from graph.compiled.mapping import Listed, NotCompilableError, One, Page, Part, Row, Value, Walked
from graph.compiled.selection import TYPE_NAMES, Field, Selection

MAX_EXPANDED = 400
"""How many fields a statement may have, after fragments are spread."""

MARK = literal_column("chr(1)", Text)
"""Begins each entry of `cuts`: no name in a path has it, so that a level can put its own steps before all of them."""

Columns = Sequence[ColumnElement[Any]]
_KINDS = {"Agent": "AGENT", "Work": "WORK", "Concept": "CONCEPT"}


@dataclass(slots=True)
class _Level:
    """A SELECT in the making: what is joined to its rows, and what tells of lists cut below it."""

    condition: ColumnElement[bool] | None = None
    joins: list[tuple[FromClause, bool]] = field(default_factory=list)
    cuts: list[ColumnElement[Any]] = field(default_factory=list)
    made: dict[int, ColumnElement[Any]] = field(default_factory=dict)


class Builder:
    """Builds the statement of an operation; `requests` are those of its fields, with slots for the values."""

    def __init__(self, requests: Sequence[Any]) -> None:
        self._requests = requests
        self._numbers = count(1)
        self._expanded = 0

    def statement(self, root: dict[str, Field]) -> Select[Any]:
        """Return a SELECT of one row: the response's data as UTF-8 bytes, and the lists that were cut or null."""
        level = _Level()
        data = self._object(level, Row({}), Selection({"Query": root}))
        columns = [func.convert_to(cast(data, Text), "UTF8").label("data"), _cuts(level.cuts).label("cuts")]
        return self._joined(select(literal_column("1")).subquery(self._name()), level, columns)

    def _name(self) -> str:
        return f"r{next(self._numbers)}"

    def _request(self, one: Field) -> Any:
        return None if one.request is None else self._requests[one.request]

    def _object(self, level: _Level, row: Row, selection: Selection) -> ColumnElement[Any]:
        variants = {
            name: [self._field(level, row, one, selection) for one in fields.values()]
            for name, fields in selection.by_type.items()
        }
        first, *others = variants.values()
        if all([id(one) for one in first] == [id(one) for one in other] for other in others):
            return self._row_object(level, first)
        return case(
            *((row["kind"] == _kind(name), self._row_object(level, columns)) for name, columns in variants.items())
        )

    def _row_object(self, level: _Level, columns: Columns) -> ColumnElement[Any]:
        name = self._name()
        # PostgreSQL pulls this up: it costs nothing but gives the row's fields their names.
        level.joins.append((select(*columns).lateral(name), False))
        return literal_column(f"row_to_json({name}.*)", JSON)

    def _field(self, level: _Level, row: Row, one: Field, within: Selection) -> ColumnElement[Any]:
        if id(one) not in level.made:
            self._expanded += 1
            if self._expanded > MAX_EXPANDED:
                raise NotCompilableError("the operation is too large")
            types = [name for name, fields in within.by_type.items() if fields.get(one.key) is one]
            before = level.condition
            if one.selection and len(types) < len(within.by_type):
                # Nothing is read for the objects of other types.
                of_types = or_(*(row["kind"] == _kind(name) for name in types))
                level.condition = of_types if before is None else and_(before, of_types)
            level.made[id(one)] = self._made(level, row, one, types).label(one.key)
            level.condition = before
        return level.made[id(one)]

    def _made(self, level: _Level, row: Row, one: Field, types: Sequence[str]) -> ColumnElement[Any]:
        mapping, request = one.mapping, self._request(one)
        if mapping is TYPE_NAMES:
            return _type_name(row, types)
        if isinstance(mapping, Value):
            return mapping.sql(row, request)
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

    def _part(self, level: _Level, row: Row, one: Field, mapping: Part) -> ColumnElement[Any]:
        assert one.selection is not None
        below = _Level(level.condition, level.joins)
        made = self._object(below, mapping.row(row), one.selection)
        level.cuts += [_prefixed(cut, _text(f'"{one.key}",')) for cut in below.cuts]
        return made if mapping.exists is None else case((mapping.exists(row), made), else_=null())

    def _one(self, level: _Level, rows: Rows, one: Field) -> ColumnElement[Any]:
        selection = one.selection
        assert selection is not None

        def columns(inner: _Level, row: Row) -> Columns:
            made = self._object(inner, row, selection).label("data")
            cuts = _prefixed(_cuts(inner.cuts), _text(f'"{one.key}",')) if inner.cuts else None
            return [made] if cuts is None else [made, cuts.label("cuts")]

        return self._nested(level, replace(rows, most=1) if rows.order else rows, columns)

    def _listed(self, level: _Level, rows: Rows, one: Field, first: Any) -> ColumnElement[Any]:
        selection = one.selection
        assert selection is not None
        size = None if first is None else bound(first, BigInteger())

        def columns(inner: _Level, row: Row) -> Columns:
            number = row["n"]
            inner.condition = None if size is None else number <= size
            entry = self._object(inner, row, selection)
            if isinstance(one.mapping, Listed) and one.mapping.exists is not None:
                entry = case((one.mapping.exists(row), entry))
            made = _list(entry, number, inner.condition).label("data")
            below = [_numbered(inner.cuts, number, f'"{one.key}",')] if inner.cuts else []
            if size is None:
                return [made, *(cuts.label("cuts") for cuts in below)]
            own = case((func.count() > size, _cut(one.key, size)))
            return [made, func.nullif(func.concat(own, *below), _text("")).label("cuts")]

        return self._nested(level, rows, columns, first)

    def _walked(self, level: _Level, one: Field, mapping: Walked) -> ColumnElement[Any]:
        request = self._request(one)

        def columns(inner: _Level, outcome: Row) -> Columns:
            made = self._listed(inner, mapping.rows(outcome, request), one, None)
            told = [
                case(
                    (is_cut, func.concat(MARK, _text(f'"{one.key}"],"limit":'), bound(limit, BigInteger()), _text("}")))
                )
                for is_cut, limit in mapping.cuts(outcome, request)
            ]
            return [made.label("data"), _cuts([*told, *inner.cuts]).label("cuts")]

        return self._nested(level, mapping.around(request), columns)

    def _page(self, level: _Level, row: Row, one: Field, mapping: Page) -> ColumnElement[Any]:
        assert one.selection is not None
        request = self._request(one)
        (fields,) = one.selection.by_type.values()

        def columns(inner: _Level, entry: Row) -> Columns:
            return self._page_columns(inner, entry, one, mapping) or [func.count().label("nothing")]

        rows = mapping.rows(row, request)
        page = self._nested_name(level, rows, columns, request.first)
        shown: list[ColumnElement[Any]] = []
        for key, part in fields.items():
            if part.mapping is TYPE_NAMES:
                made = _type_name(row, list(one.selection.by_type))
            elif part.name == "totalCount":
                assert mapping.count is not None
                made = mapping.count(row, request).select(["count"]).scalar_subquery()
            elif part.name == "edges":
                made = literal_column(f'{page}."list_{key}"', JSON)
            else:
                assert part.selection is not None
                last = {name: literal_column(f'{page}."last_{name}"', made.type) for name, made in rows.columns.items()}
                farthest = case((literal_column(f"{page}.has_last", Boolean), mapping.cursor(Row(last), request)))
                info = Row(_page_info(page, farthest, request))
                made = self._object(_Level(None, level.joins), info, part.selection)
            shown.append(made.label(key))
        return self._row_object(level, shown)

    def _page_columns(self, level: _Level, entry: Row, one: Field, mapping: Page) -> Columns:
        assert one.selection is not None
        request, number = self._request(one), entry["n"]
        size = bound(request.first, BigInteger())
        level.condition = number <= size
        of_cursor = Row(entry.columns)
        cursor = mapping.cursor(of_cursor, request)
        entry.used.update(of_cursor.used)
        edge = Row({**entry.columns, "edge_cursor": cursor}, entry.used, "edge_")
        order = number.desc() if request.is_backward else number
        found: list[ColumnElement[Any]] = []
        (fields,) = one.selection.by_type.values()
        for key, part in fields.items():
            if part.name != "edges" or part.selection is None:
                continue
            within = _Level(level.condition, level.joins)
            entries = self._object(within, edge, part.selection)
            found.append(_list(entries, order, level.condition).label(f"list_{key}"))
            if within.cuts and request.is_backward:
                raise NotCompilableError("where a list inside a page read backwards stands is not known in SQL")
            level.cuts += [_numbered([cut], number, f'"{one.key}","{key}",') for cut in within.cuts]
        if any(part.name == "pageInfo" for part in fields.values()):
            found += [
                (func.count() > size).label("has_more"),
                func.max(cursor).filter(and_(number == 1, number <= size)).label("nearest"),
                (func.least(func.count(), size) > 0).label("has_last"),
            ]
            found += [_last(entry[name], number, order, size, request).label(f"last_{name}") for name in of_cursor.used]
        return [*found, _cuts(level.cuts).label("cuts")] if level.cuts else found

    def _nested(
        self, level: _Level, rows: Rows | Sequel, columns: Callable[[_Level, Row], Columns], first: Any = None
    ) -> ColumnElement[Any]:
        name = self._nested_name(level, rows, columns, first)
        return literal_column(f"{name}.data", JSON)

    def _nested_name(
        self, level: _Level, rows: Rows | Sequel, columns: Callable[[_Level, Row], Columns], first: Any = None
    ) -> str:
        """Join a SELECT over rows to the level and return its name."""
        source, name = self._name(), self._name()
        offered = {**rows.columns, "n": literal_column("n", Integer)}
        row = Row({key: literal_column(f'{source}."{key}"', one.type) for key, one in offered.items()})
        inner = _Level()
        chosen = columns(inner, row)
        wanted = sorted(row.used & rows.columns.keys()) or list(rows.columns)[:1]
        guards = [] if level.condition is None else [level.condition]
        statement = rows.select(wanted, *guards)
        if first is not None:
            statement = limited(statement, first)
        joined = self._joined(statement.subquery(source), inner, chosen)
        level.joins.append((joined.lateral(name), True))
        if any(column.name == "cuts" for column in chosen):
            level.cuts.append(literal_column(f"{name}.cuts", Text))
        return name

    def _joined(self, source: FromClause, level: _Level, columns: Columns) -> Select[Any]:
        for joined, is_outer in level.joins:
            source = source.join(joined, true(), isouter=is_outer)
        return select(*columns).select_from(source)


def _last(
    column: ColumnElement[Any],
    number: ColumnElement[Any],
    order: ColumnElement[Any],
    size: ColumnElement[Any],
    request: Any,
) -> ColumnElement[Any]:
    """Return a column of the row farthest from where the page begins: to make every row's cursor is dear."""
    # In the order of the list itself, so that PostgreSQL sorts once.
    listed: Any = func.array_agg(aggregate_order_by(column, order), type_=ARRAY(column.type))
    place = literal_column("1", Integer) if request.is_backward else func.least(func.count(), size)
    return Grouping(listed.filter(number <= size))[place]


def _page_info(page: str, farthest: ColumnElement[Any], request: Any) -> dict[str, ColumnElement[Any]]:
    has_more, nearest = literal_column(f"{page}.has_more", Boolean), literal_column(f"{page}.nearest", Text)
    has_cursor = literal_column("true" if request.has_cursor else "false", Boolean)
    names = ("has_next_page", "has_previous_page", "start_cursor", "end_cursor")
    ends: Columns = (has_more, has_cursor, nearest, farthest)
    if request.is_backward:
        ends = (has_cursor, has_more, farthest, nearest)
    return dict(zip(names, ends, strict=True))


def _list(
    entry: ColumnElement[Any], order: ColumnElement[Any], condition: ColumnElement[bool] | None
) -> ColumnElement[Any]:
    listed: Any = func.json_agg(aggregate_order_by(entry, order))
    if condition is not None:
        listed = listed.filter(condition)
    return func.coalesce(listed, literal_column("'[]'::json", JSON))


def _kind(name: str) -> ColumnElement[Any]:
    if name not in _KINDS:
        raise NotCompilableError(f"{name} is not a kind of entity")
    return literal_column(f"'{_KINDS[name]}'::entity_kind")


def _type_name(row: Row, types: Sequence[str]) -> ColumnElement[Any]:
    if len(types) == 1:
        return _text(types[0])
    return func.initcap(cast(row["kind"], Text))


def _text(value: str) -> ColumnElement[Any]:
    """Write a text of ours into the statement: response keys, which GraphQL's grammar keeps to letters and digits."""
    assert "'" not in value
    return literal_column(f"'{value}'::text", Text)


def _cut(key: str, limit: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.concat(MARK, _text(f'"{key}"],"limit":'), limit, _text("}"))


def _prefixed(cuts: ColumnElement[Any], steps: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.replace(cuts, MARK, func.concat(MARK, steps))


def _numbered(cuts: Sequence[ColumnElement[Any]], number: ColumnElement[Any], steps: str) -> ColumnElement[Any]:
    position = number - literal_column("1", Integer)
    return func.string_agg(_prefixed(_cuts(cuts), func.concat(_text(steps), position, _text(","))), _text(""))


def _cuts(cuts: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    if not cuts:
        return literal_column("NULL::text", Text)
    return cuts[0] if len(cuts) == 1 else func.nullif(func.concat(*cuts), _text(""))
