"""Operations and their answers: from the cache, from a compiled statement, or from Strawberry's executor."""

import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import asyncpg
import orjson
import strawberry
from graphql import GraphQLError, OperationDefinitionNode
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError

from db.session import one_line
from db.statements import Readers
from graph.access import Permissions
from graph.cache import LARGEST_ANSWER_BYTES, NewestVersion, answer_key
from graph.compiled.mapping import NotCompilableError
from graph.compiled.plans import Compiler, Prepared
from graph.context import Context
from graph.errors import Code, RequestError, bad_input, explain, presentable
from graph.watch import OK

logger = logging.getLogger(__name__)

# Syntax errors and names that do not exist, too large or complex: whatever the parameters, it will fail again.
_WRONG_STATEMENTS = ("42", "54")


class Compiling(Enum):
    """Which operations are compiled; the others, and those that cannot be, are executed."""

    NEVER = "never"
    SEEN_BEFORE = "seen before"
    """Compiling costs more than it saves on an operation that never comes again."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a response, whether anything was executed for it, and "ok" or the code of its first error."""

    body: bytes
    was_executed: bool = True
    outcome: str = OK


class Source:
    """Where the answers of a database come from: connections for compiled operations, and the data's version."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.readers = Readers(engine)
        self.newest = NewestVersion(self.readers)


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

    def __init__(self, *args: Any, compiling: Compiling = Compiling.SEEN_BEFORE, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._compiling = compiling
        self.compiler = Compiler(self, patience=0 if compiling is Compiling.ALWAYS else 1)

    async def answer(
        self,
        source: Source,
        context: Context,
        query: str | None,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> Answer:
        """Answer an operation; never raises for what a client sent."""
        with context.watch.operation(context.caller, query, operation_name) as seen:
            try:
                # Before the cache: an answer made for one caller is not for every other.
                self.permissions.check(context.caller, query or "", operation_name)
            except RequestError as refusal:
                errors = presentable([refusal], is_before_execution=True)
                answer = _answered(PreExecutionError(data=None, errors=errors))
            else:
                answer = await self._answer(source, context, query, variables, operation_name)
            seen.outcome = answer.outcome
            return answer

    async def _answer(
        self,
        source: Source,
        context: Context,
        query: str | None,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> Answer:
        scope = context.caller.role.name
        key = await self._key(source, query, variables, operation_name, scope) if query else None
        if key and (kept := await self._kept(context, key)) is not None:
            return Answer(kept)
        made = await self._compiled(source, query, variables, operation_name) if query else None
        if made is None:
            made = await self.execute(
                query, variable_values=variables, context_value=context, operation_name=operation_name
            )
        if isinstance(made, ExecutionResult):
            answer = _answered(made)
            if made.errors or not context.is_lasting:
                return answer
        else:
            answer = Answer(made)
        if key and len(answer.body) <= LARGEST_ANSWER_BYTES:
            await context.cache.set(key, answer.body)
        return answer

    async def _kept(self, context: Context, key: str) -> bytes | None:
        kept = await context.cache.get(key)
        context.watch.metrics.count_cache_read(context.cache.level, is_hit=kept is not None)
        return kept

    @cached_property
    def permissions(self) -> Permissions:
        """The roles that fields need."""
        return Permissions(self._schema)

    async def _key(
        self, source: Source, query: str, variables: dict[str, Any] | None, name: str | None, scope: str
    ) -> str | None:
        """Return the operation's key at the newest data version, or None when that cannot be told."""
        version = await source.newest.get()
        try:
            return None if version is None else answer_key(version, self._digest, query, variables, name, scope)
        except TypeError:
            # Executing the operation meets the same trouble, and tells it.
            return None

    @cached_property
    def _digest(self) -> str:
        return hashlib.blake2b(self.as_str().encode(), digest_size=20).hexdigest()

    async def _compiled(
        self, source: Source, query: str, variables: dict[str, Any] | None, name: str | None
    ) -> bytes | ExecutionResult | None:
        """Return the body of a compiled operation's response, its failure, or None when the executor must answer."""
        if self._compiling is Compiling.NEVER:
            return None
        try:
            prepared = self.compiler.prepare(query, name, variables or {})
        except NotCompilableError:
            return None
        try:
            row = await source.readers.row(prepared.sql, prepared.arguments)
        except (asyncpg.QueryCanceledError, PoolTimeoutError) as error:
            return _failed(prepared, error)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, OSError) as error:
            if explain(error) is None:
                logger.error("a compiled operation failed, the executor answers: %s", one_line(error))
            if str(getattr(error, "sqlstate", "")).startswith(_WRONG_STATEMENTS):
                self.compiler.refuse(prepared)
            return None
        return prepared.body(row["data"], row["cuts"])

    async def execute(self, query: str | None, *args: Any, **kwargs: Any) -> ExecutionResult:
        """Execute an operation; never raises for what a client sent."""
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


def _failed(prepared: Prepared, error: Exception) -> ExecutionResult:
    """Return the result of an operation that the database did not finish: every root field has failed."""
    errors = [
        GraphQLError(str(error), nodes=nodes, path=[key], original_error=error) for key, nodes in prepared.roots.items()
    ]
    data = dict.fromkeys(prepared.roots) if prepared.is_nullable else None
    return ExecutionResult(data=data, errors=presentable(errors, is_before_execution=False))


def _answered(result: ExecutionResult) -> Answer:
    outcome = (result.errors[0].extensions or {})["code"] if result.errors else OK
    return Answer(_written(result), not isinstance(result, PreExecutionError), outcome)


def _written(result: ExecutionResult) -> bytes:
    """Write a result as the body of a response; `data` is missing when nothing was executed."""
    response: dict[str, Any] = {}
    if result.errors:
        response["errors"] = [error.formatted for error in result.errors]
    if not isinstance(result, PreExecutionError):
        response["data"] = result.data
    if result.extensions:
        response["extensions"] = result.extensions
    return orjson.dumps(response)


def _no_operation(name: str | None) -> str:
    if name is None:
        return "the document has no operation: give a query"
    return f"there is no operation {name!r} in the document: give one of its operations' names"
