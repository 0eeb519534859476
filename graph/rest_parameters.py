"""The parameters of `/data`: read, checked, and told apart from what is no parameter."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import QueryParams

from db.record_filters import Operator
from db.record_keys import RecordOrder
from graph.answers import MAX_SHOWN_CHARACTERS, ParameterError, Problem, problem
from graph.pagination import DEFAULT_PAGE, MAX_PAGE

MAX_ROWS_BY_NUMBER = 10_000

M = TypeVar("M", bound=BaseModel)


def _not_a_number(value: object) -> object:
    # Pydantic would read "2024" as seconds since 1970.
    if isinstance(value, str) and value.strip().lstrip("+-").replace(".", "").isdigit():
        raise ValueError("must be a time in ISO 8601, such as 2024-01-31 or 2024-01-31T12:00:00Z")
    return value


Words = str | None
Size = Annotated[int, Field(ge=1, le=MAX_PAGE)] | None
Number = Annotated[float, Field(allow_inf_nan=False)] | None
Time = Annotated[datetime, BeforeValidator(_not_a_number)] | None


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows: `size` of them after `offset`; `page` is None where a cursor tells the place."""

    size: int
    offset: int
    page: int | None


class DataParameters(BaseModel):
    """What can be asked of `/data`. All tests that are given must hold. Without an offset, times are UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Words = Field(default=None, description="Only records of this source; `/stats` has all sources.")
    search: Words = Field(
        default=None,
        description="Only records whose title and description have all of these words; the last may be begun only.",
    )
    order: RecordOrder = Field(
        default=RecordOrder.ID_ASC, description="How to order them; those without the value come last."
    )
    page: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description=f"The page's number, from 1; pages end at row {MAX_ROWS_BY_NUMBER}, see `cursor`."
    )
    page_size: Size = Field(default=None, description=f"How many records a page has; {DEFAULT_PAGE} when left out.")
    limit: Size = Field(default=None, description="Instead of `page_size`: how many records to give.")
    offset: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="With `limit`, instead of `page`: how many records to skip."
    )
    cursor: Words = Field(
        default=None,
        description="Instead of `page` and `offset`: the `next_cursor` of the page before, with the same order. It"
        " reaches every row at the same cost.",
    )
    source_id: Words = Field(default=None, description="The id in the source is this.")
    title: Words = Field(default=None, description="The title is exactly this.")
    title_contains: Words = Field(default=None, description="The title holds this, in any case.")
    title_starts_with: Words = Field(default=None, description="The title begins exactly so.")
    description_contains: Words = Field(default=None, description="The description holds this, in any case.")
    value: Number = Field(default=None, description="The value is this.")
    value_lt: Number = Field(default=None, description="The value is less than this.")
    value_lte: Number = Field(default=None, description="The value is this or less.")
    value_gt: Number = Field(default=None, description="The value is more than this.")
    value_gte: Number = Field(default=None, description="The value is this or more.")
    created_after: Time = Field(default=None, description="It was created in its source after this time.")
    created_before: Time = Field(default=None, description="It was created in its source before this time.")
    updated_after: Time = Field(default=None, description="It was last updated in its source after this time.")
    updated_before: Time = Field(default=None, description="It was last updated in its source before this time.")

    def window(self) -> Window:
        """Return which rows are asked for; raises ParameterError."""
        by_page, by_offset = self.page is not None, self.offset is not None
        if self.limit is not None and self.page_size is not None:
            raise problem("limit", self.limit, "leave it out, or page_size: both mean the same")
        if sum((by_page, by_offset, self.cursor is not None)) > 1:
            name = "offset" if by_offset else "page"
            raise problem(name, getattr(self, name), "give only one of page, offset and cursor")
        size = self.page_size or self.limit or DEFAULT_PAGE
        if self.cursor is not None:
            return Window(size, 0, None)
        offset = (self.page - 1) * size if self.page is not None else self.offset or 0
        if offset + size > MAX_ROWS_BY_NUMBER:
            name = "page" if by_page else "offset"
            fix = f"rows beyond {MAX_ROWS_BY_NUMBER} are reached by cursor: give the next_cursor of the page before"
            raise problem(name, getattr(self, name), fix)
        return Window(size, offset, offset // size + 1)


TESTS = {
    "source_id": ("external_id", Operator.EQ),
    "title": ("title", Operator.EQ),
    "title_contains": ("title", Operator.CONTAINS),
    "title_starts_with": ("title", Operator.STARTS_WITH),
    "description_contains": ("description", Operator.CONTAINS),
    "value": ("value", Operator.EQ),
    "value_lt": ("value", Operator.LT),
    "value_lte": ("value", Operator.LTE),
    "value_gt": ("value", Operator.GT),
    "value_gte": ("value", Operator.GTE),
    "created_after": ("created_at", Operator.GT),
    "created_before": ("created_at", Operator.LT),
    "updated_after": ("updated_at", Operator.GT),
    "updated_before": ("updated_at", Operator.LT),
}
"""Which test of which column a parameter stands for."""


class NoParameters(BaseModel):
    """Nothing can be asked."""

    model_config = ConfigDict(extra="forbid")


def read_parameters(given: QueryParams, model: type[M]) -> M:
    """Return the parameters of a request; raises ParameterError with everything that is wrong with them."""
    repeated = [Problem(name[:MAX_SHOWN_CHARACTERS], None, "give it once") for name in _repeated(given)]
    if repeated:
        raise ParameterError(repeated)
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise ParameterError([_problem(one, model) for one in error.errors()]) from error


def _repeated(given: QueryParams) -> Iterator[str]:
    return (name for name in given.keys() if len(given.getlist(name)) > 1)  # noqa: SIM118 (these come once each)


def _problem(error: ErrorDetails, model: type[BaseModel]) -> Problem:
    shown: Any = str(error["input"])[:MAX_SHOWN_CHARACTERS]
    if error["type"] == "extra_forbidden":
        names = ", ".join(model.model_fields) or "none"
        fix = f"there is no such parameter: give any of {names}"
    else:
        fix = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return Problem(str(error["loc"][0])[:MAX_SHOWN_CHARACTERS], shown, fix)
