"""Which columns the fields of an operation read, as their mappings tell: what is loaded for them has no others."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from graphql import DocumentNode, GraphQLSchema, TypeInfo, TypeInfoVisitor, Visitor, visit
from sqlalchemy import ColumnElement, literal_column
from strawberry.types.field import StrawberryField

from db.models.atlas import DATE_PARTS
from graph.compiled.mapping import SQL, Part, Row, Value, Walked, own_field

_DATES = {side: {f"{side}_{part}" for part in DATE_PARTS} for side in ("start", "end")}
"""The columns of a date, all of which are read for it."""


class _AnyColumn(dict[str, ColumnElement[Any]]):
    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> ColumnElement[Any]:
        return literal_column(name)


def wanted_by(schema: GraphQLSchema, nodes: DocumentNode) -> frozenset[str] | None:
    """Return the columns that the fields of a document read, whatever the table; None when that cannot be told."""
    fields = _Fields(TypeInfo(schema))
    visit(nodes, TypeInfoVisitor(fields.types, fields))
    wanted = [_read_by(own) for own in fields.found]
    known = [one for one in wanted if one is not None]
    return frozenset().union(*known) if len(known) == len(wanted) else None


class _Fields(Visitor):
    """Finds the fields of a document, but for those of the root, which have no row to read from."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self.types = types
        self.found: list[StrawberryField] = []

    def enter_field(self, *_: Any) -> None:
        own = own_field(self.types.get_field_def())
        if own is not None and self.types.get_parent_type() is not self.types._schema.query_type:
            self.found.append(own)


def _read_by(own: StrawberryField) -> set[str] | None:
    mapping = own.metadata.get(SQL)
    if mapping is None:
        # Nobody knows what a resolver without a mapping reads.
        return {own.python_name} if own.base_resolver is None else None
    row = Row(_AnyColumn())
    if isinstance(mapping, Part):
        return _DATES.get(mapping.row(row).prefix.removesuffix("_"), set())
    if isinstance(mapping, Walked):
        return set()
    told: Callable[[Row, Any], Any] = mapping.sql if isinstance(mapping, Value) else mapping.rows
    # What needs its arguments fails: relations are those of the row's id then.
    with suppress(AttributeError):
        told(row, None)
        return row.used.union(*(columns for columns in _DATES.values() if columns & row.used))
    return None if isinstance(mapping, Value) else set()
