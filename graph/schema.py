"""The schema, composed of each dataset's root fields; `python -m graph.schema` writes schema.graphql."""

from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import strawberry
from graphql import GraphQLError, OperationDefinitionNode
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError

from db.models.operations import DataVersion
from db.session import ReadSession
from graph.atlas import Agent, AtlasQuery, Concept, Work
from graph.cache import LARGEST_ANSWER_BYTES, Version, answer_key
from graph.context import Context
from graph.cycles import CycleQuery
from graph.errors import Code, RequestError, bad_input, presentable
from graph.lineage import LineageQuery
from graph.listings import ListingQuery
from graph.operations import OperationsQuery
from graph.raw_records import RawRecordQuery
from graph.records import RecordQuery
from graph.roadmap import RoadmapQuery
from graph.runs import RunQuery
from graph.scalars import SCALARS

FILE = Path(__file__).parent.parent / "schema.graphql"


@strawberry.type(description="Where every query begins.")
class Query(
    RoadmapQuery,
    AtlasQuery,
    ListingQuery,
    LineageQuery,
    CycleQuery,
    RecordQuery,
    RawRecordQuery,
    RunQuery,
    OperationsQuery,
):
    """The root fields of all datasets."""


class OperationScope(SchemaExtension):
    """Give each operation its own snapshot and loaders, and take them away at its end, whatever the transport."""

    async def on_operation(self) -> AsyncIterator[None]:
        """Make the context; close it also on errors and cancellation."""
        context: Context = self.execution_context.context.fresh()
        self.execution_context.context = context
        try:
            yield
        finally:
            await context.close()

    def on_parse(self) -> Iterator[None]:
        """Refuse a document whose operation is not clear, which would silently run its first one."""
        yield
        document = self.execution_context.graphql_document
        definitions = document.definitions if document else ()
        operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
        if len(operations) > 1 and self.execution_context._provided_operation_name is None:
            names = ", ".join(node.name.value for node in operations if node.name)
            raise bad_input(f"the document has {len(operations)} operations: give operationName, one of {names}")

    def get_results(self) -> dict[str, Any]:
        """Tell which lists were cut."""
        truncated = self.execution_context.context.truncated
        return {"truncated": truncated} if truncated else {}


class AtlasSchema(strawberry.Schema):
    """The schema whose errors are all fit for clients."""

    async def execute(self, query: str | None, *args: Any, **kwargs: Any) -> ExecutionResult:
        """Execute an operation, or give the answer kept of it; never raises for what a client sent."""
        context: Context | None = kwargs.get("context_value")
        key = await self._key(context, query, kwargs) if context and query else None
        if context and key and (kept := await context.cache.get(key)) is not None:
            return _unpack(kept)
        result = await self._execute(query, *args, **kwargs)
        if context and context.is_lasting and key and not result.errors:
            packed = orjson.dumps((result.data, result.extensions))
            if len(packed) <= LARGEST_ANSWER_BYTES:
                await context.cache.set(key, packed)
        return result

    async def _key(self, context: Context, query: str, arguments: dict[str, Any]) -> str | None:
        """Return the operation's key at the newest data version, or None when that cannot be told."""
        session = ReadSession(context.engine)
        try:
            row = (await session.rows(select(DataVersion.version, DataVersion.raised_at)))[0]
            variables, name = arguments.get("variable_values"), arguments.get("operation_name")
            return answer_key(Version(row.version, row.raised_at), self._sdl, query, variables, name)
        except (SQLAlchemyError, OSError, TimeoutError, TypeError, IndexError):
            # Executing the operation meets the same trouble, and tells it.
            return None
        finally:
            await session.close()

    @cached_property
    def _sdl(self) -> str:
        return self.as_str()

    async def _execute(self, query: str | None, *args: Any, **kwargs: Any) -> ExecutionResult:
        try:
            result = await super().execute(query, *args, **kwargs)
        except MissingQueryError:
            error: GraphQLError = bad_input("the request has no query: give a GraphQL document as `query`")
            return PreExecutionError(data=None, errors=[error])
        except CannotGetOperationTypeError as unknown:
            error = bad_input(_no_operation(unknown.operation_name))
            return PreExecutionError(data=None, errors=[error])
        except InvalidOperationTypeError as refused:
            kind = refused.operation_type.value
            error = RequestError(Code.VALIDATION, f"a {kind} cannot be run here: there are only queries")
            return PreExecutionError(data=None, errors=[error])
        is_before_execution = isinstance(result, PreExecutionError)
        if result.errors:
            result.errors = presentable(result.errors, is_before_execution=is_before_execution)
        return result

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Leave logging to `presentable`, which knows what is worth it."""


def _unpack(kept: bytes) -> ExecutionResult:
    data, extensions = orjson.loads(kept)
    return ExecutionResult(data=data, errors=None, extensions=extensions)


def _no_operation(name: str | None) -> str:
    if name is None:
        return "the document has no operation: give a query"
    return f"there is no operation {name!r} in the document: give one of its operations' names"


def build(extensions: Iterable[type[SchemaExtension]] = ()) -> AtlasSchema:
    """Build the schema, with further extensions inside the standing ones."""
    return AtlasSchema(
        Query,
        types=[Agent, Work, Concept],
        extensions=[OperationScope, ParserCache, ValidationCache, *extensions],
        config=StrawberryConfig(scalar_map=SCALARS),
    )


schema = build()

if __name__ == "__main__":
    FILE.write_text(schema.as_str() + "\n", encoding="utf-8")
