"""JSON made by joining texts: PostgreSQL's functions for objects and lists of JSON take half as long again.

A text is a sequence of pieces: constants, and expressions of text that are never null, since a null in a text that is
joined makes all of it null.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import groupby
from typing import Any

from sqlalchemy import JSON, Boolean, ColumnElement, Enum, Float, Integer, Text, cast, func, literal_column
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.sql.elements import Grouping

from graph.compiled.mapping import Plain

Columns = Sequence[ColumnElement[Any]]
Pieces = Sequence[str | ColumnElement[Any]]


def constant(value: str) -> ColumnElement[Any]:
    """Write a text of ours into the statement."""
    assert "'" not in value
    return literal_column(f"'{value}'::text", Text)


COMMA, EMPTY, NULL = (constant(one) for one in (",", "", "null"))


def value_text(column: ColumnElement[Any]) -> Pieces:
    """Return the JSON of a value; numbers must be finite."""
    if isinstance(column.type, Plain | Enum):
        made = constant('"').concat(cast(column, Text)).concat(constant('"'))
    elif isinstance(column.type, Integer | Boolean | Float | JSON):
        made = cast(column, Text)
    else:
        made = cast(func.to_json(column), Text)
    return [func.coalesce(made, NULL)]


def members_text(members: Sequence[tuple[str, Pieces]], *, is_first: bool = True) -> Pieces:
    """Return what stands between an object's braces, of the JSON of its members; with a comma before unless first.

    GraphQL's grammar keeps their names to letters and digits.
    """
    pieces = [piece for key, value in members for piece in (f',"{key}":', *value)]
    return [str(pieces[0]).removeprefix(","), *pieces[1:]] if pieces and is_first else pieces


def list_text(entry: Pieces, order: Columns, condition: ColumnElement[bool] | None = None) -> ColumnElement[Any]:
    """Return the JSON of a list of the JSON of its entries, an aggregate over rows."""
    listed: Any = func.string_agg(joined(entry), aggregate_order_by(COMMA, *order))
    return _in_brackets(listed if condition is None else listed.filter(condition))


def first_text(entry: Pieces, order: Columns, size: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the same of the first entries; to number the rows would take PostgreSQL far longer than a slice does."""
    listed: Any = func.array_agg(aggregate_order_by(joined(entry), *order), type_=ARRAY(Text))
    return _in_brackets(func.array_to_string(Grouping(listed)[1:size], COMMA))


def _in_brackets(entries: ColumnElement[Any]) -> ColumnElement[Any]:
    return joined(["[", func.coalesce(entries, EMPTY), "]"])


def joined(pieces: Pieces) -> ColumnElement[Any]:
    """Return the expression of a text."""
    parts: list[ColumnElement[Any]] = []
    for is_constant, run in groupby(pieces, lambda piece: isinstance(piece, str)):
        together = list(run)
        parts += [constant("".join(together))] if is_constant else together  # type: ignore[arg-type]
    return reduce(lambda one, other: one.concat(other), parts)
