"""What records must have, as a tree of tests, and its SQL. Whatever a client sent stands in bound parameters only."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, and_, any_, cast, func, literal_column, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import InstrumentedAttribute

from db.lookups import FIXED
from db.models.records import SORTED_CHARACTERS, Record
from db.rows import PARTS, Slot, bound, bound_list


class Operator(StrEnum):
    """How a value is tested."""

    EQ = "eq"
    IN = "in"
    CONTAINS = "contains"
    STARTS_WITH = "startsWith"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IS_NULL = "isNull"
    EXISTS = "exists"


_SIGNS = {Operator.EQ: "=", Operator.LT: "<", Operator.LTE: "<=", Operator.GT: ">", Operator.GTE: ">="}


@dataclass(frozen=True, slots=True)
class ColumnTest:
    """A test of a column of `record`; IN takes a tuple, IS_NULL a boolean."""

    column: str = field(metadata=FIXED)
    operator: Operator
    value: Any

    def sql(self) -> ColumnElement[bool]:
        """Return the SQL of the test."""
        column: InstrumentedAttribute[Any] = getattr(Record, self.column)
        tested = _test_column(column, self.operator, self.value)
        if self.column == "title" and (hint := _on_index(self.operator, self.value)) is not None:
            return and_(hint, tested)
        return tested


@dataclass(frozen=True, slots=True)
class AttributeTest:
    """A test of what stands at a path in the attributes; values are JSON texts, IN takes a tuple of them.

    EXISTS takes a boolean; null counts as existing. Numbers are compared with numbers only, texts with texts.
    """

    path: tuple[str, ...] | Slot
    operator: Operator
    value: Any

    def sql(self) -> ColumnElement[bool]:
        """Return the SQL of the test."""
        found = Record.attributes.op("#>", return_type=JSONB())(bound_list(self.path, Text()))
        if self.operator is Operator.EXISTS:
            return found.is_not(None) if self.value else found.is_(None)
        if self.operator is Operator.IN:
            return found == any_(cast(bound_list(self.value, Text()), ARRAY(JSONB)))
        wanted: ColumnElement[Any] = cast(bound(self.value, Text()), JSONB)
        if self.operator is Operator.EQ:
            return found == wanted
        if self.operator is Operator.CONTAINS:
            return or_(found.bool_op("@>")(wanted), _holds_text(found, wanted))
        is_same_type = func.jsonb_typeof(found) == func.jsonb_typeof(wanted)
        return and_(is_same_type, found.bool_op(_SIGNS[self.operator])(wanted))


@dataclass(frozen=True, slots=True)
class AllOf:
    """All parts must hold; without any, everything does."""

    parts: tuple["RecordFilter", ...] = field(metadata=PARTS)

    def sql(self) -> ColumnElement[bool]:
        """Return the SQL of the whole."""
        return and_(true(), *(part.sql() for part in self.parts))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the parts must hold; there must be one."""

    parts: tuple["RecordFilter", ...] = field(metadata=PARTS)

    def sql(self) -> ColumnElement[bool]:
        """Return the SQL of the whole."""
        return or_(*(part.sql() for part in self.parts))


@dataclass(frozen=True, slots=True)
class Not:
    """The part must not hold: what is unknown does not."""

    part: "RecordFilter"

    def sql(self) -> ColumnElement[bool]:
        """Return the SQL of the opposite."""
        return self.part.sql().is_not(true())


RecordFilter = ColumnTest | AttributeTest | AllOf | AnyOf | Not


def _test_column(column: InstrumentedAttribute[Any], operator: Operator, value: Any) -> ColumnElement[bool]:
    if operator is Operator.IS_NULL:
        return column.is_(None) if value else column.is_not(None)
    if operator is Operator.IN:
        return column == any_(bound_list(value, column.type))
    wanted = bound(value, column.type)
    if operator is Operator.CONTAINS:
        return func.strpos(func.lower(column), func.lower(wanted)) > literal_column("0", Integer)
    if operator is Operator.STARTS_WITH:
        return _begins(column, wanted)
    return column.bool_op(_SIGNS[operator])(wanted)


def _begins(column: InstrumentedAttribute[Any], wanted: ColumnElement[Any]) -> ColumnElement[bool]:
    # Of immutable functions, so that the planner, where it knows the value, finds the range of an index.
    escaped = func.regexp_replace(
        wanted, literal_column(r"'([\\%_])'"), literal_column(r"'\\\1'"), literal_column("'g'")
    )
    return column.bool_op("~~")(escaped.op("||", return_type=Text())(literal_column("'%'")))


def _on_index(operator: Operator, value: Any) -> ColumnElement[bool] | None:
    """Say of a title's first characters, which have an index, what a test of the whole title implies."""
    column: InstrumentedAttribute[Any] = Record.title_sort
    if operator is Operator.IN:
        titles = func.unnest(bound_list(value, Text())).column_valued("title")
        return column == any_(func.array(select(func.left(titles, SORTED_CHARACTERS)).scalar_subquery()))
    if operator is Operator.EQ:
        return column == _beginning(value)
    return _begins(column, _beginning(value)) if operator is Operator.STARTS_WITH else None


def _beginning(title: Any) -> ColumnElement[Any]:
    return func.left(bound(title, Text()), literal_column(str(SORTED_CHARACTERS), Integer))


def _holds_text(found: ColumnElement[Any], wanted: ColumnElement[Any]) -> ColumnElement[bool]:
    """Test, in any case, for a text within a text; `#>> '{}'` is the text without its quotes."""
    nothing = literal_column("'{}'::text[]", ARRAY(Text))
    text, part = (side.op("#>>", return_type=Text())(nothing) for side in (found, wanted))
    both = (func.jsonb_typeof(side) == "string" for side in (found, wanted))
    return and_(*both, func.strpos(func.lower(text), func.lower(part)) > 0)
