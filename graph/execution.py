"""Operations and their answers: from a compiled statement, or from Strawberry's executor."""

import logging
from collections.abc import Sequence
from enum import Enum
from functools import cached_property
from typing import Any

import asyncpg
import orjson
import strawberry
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, OperationType, execute
from graphql import ExecutionResult as GraphQLExecutionResult
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from db.session import READ_ERRORS, one_line, was_lost
from db.shapes import Recent
from db.statements import Readers
from graph.access import Caller, Permissions
from graph.cache import Answer
from graph.compiled.mapping import NotCompilableError
from graph.compiled.plans import Compiler, Prepared, told
from graph.context import Context
from graph.errors import PASSING, Code, RequestError, bad_input, causes_of, explain, presentable
from graph.executor import MAX_KEPT, Kept, PlainExecutor
from graph.limits import COSTLY, MAX_ANSWER_BYTES, limit_error
from graph.parsed import ParsedDocuments

logger = logging.getLogger(__name__)

# Syntax errors and names that do not exist, too large or complex: whatever the parameters, it will fail again.
_WRONG_STATEMENTS = ("42", "54")


class Compiling(Enum):
    """Which operations are compiled; the others, and those that cannot be, are executed."""

    NEVER = "never"
    SEEN_BEFORE = "seen before"
    """Compiling costs more than it saves on an operation that never comes again."""
    ALWAYS = "always"


class AtlasSchema(strawberry.Schema):
    """The schema whose errors are all fit for clients."""

    def __init__(
        self, *args: Any, compiling: Compiling = Compiling.SEEN_BEFORE, suggestions: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.execution_context_class = PlainExecutor
        self.executed: Recent[int, Kept] = Recent(MAX_KEPT)
        self._compiling = compiling
        self._suggestions = suggestions
        self.parsed = ParsedDocuments(self._schema, hide_suggestions=not suggestions)
        self.compiler = Compiler(self, patience=0 if compiling is Compiling.ALWAYS else 1, parsed=self.parsed)

    async def answer(
        self,
        readers: Readers,
        context: Context,
        query: str,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> Answer:
        """Compute the answer to an operation; never raises for what a client sent."""
        try:
            cost = self._checked(context.caller, query, variables, operation_name)
        except RequestError as refusal:
            return _refused(refusal)
        is_costly = cost is not None and cost >= COSTLY
        compiled = await self._compiled(readers, query, variables, operation_name, is_costly)
        if compiled is not None:
            return compiled
        context.prepared = self._parts(query, variables, operation_name, is_costly)
        result = await self._execute(context, query, variables, operation_name)
        return _bounded(_answered(result, context.ttl_seconds))

    def statement(
        self, caller: Caller, query: str, variables: dict[str, Any] | None, operation_name: str | None
    ) -> Prepared | None:
        """Return the statement that answers an operation by itself, if it was compiled before and may be run."""
        if self._compiling is Compiling.NEVER:
            return None
        try:
            if self._checked(caller, query, variables, operation_name) is None:
                return None
            return self.compiler.prepare_again(query, operation_name, variables or {})
        except (RequestError, NotCompilableError):
            return None

    @staticmethod
    def answer_from(prepared: Prepared, row: "asyncpg.Record | None", error: Exception | None) -> Answer | None:
        """Return the answer from a statement's row or its error; None when the executor must answer."""
        if row is not None:
            return _bounded(Answer(prepared.body(row["data"], row["cuts"])))
        if error is None or (known := explain(error)) is None or known[0] not in PASSING:
            return None
        return _answered(_failed(prepared, error), 0)

    def _checked(
        self, caller: Caller, query: str, variables: dict[str, Any] | None, operation_name: str | None
    ) -> int | None:
        """Return what an operation may cost, None when its document is not valid; raises a RequestError."""
        cost = self.parsed.cost(query, variables, operation_name)
        if cost is not None:
            self.parsed.check_cost(cost)
        self.permissions.check(caller, query, operation_name)
        return cost

    @cached_property
    def permissions(self) -> Permissions:
        """The roles that fields need."""
        return Permissions(self._schema)

    async def _compiled(
        self, readers: Readers, query: str, variables: dict[str, Any] | None, name: str | None, is_costly: bool
    ) -> Answer | None:
        """Return the answer of a compiled operation, None when the executor must answer."""
        if self._compiling is Compiling.NEVER:
            return None
        try:
            prepared = self.compiler.prepare(query, name, variables or {}, is_costly=is_costly)
        except NotCompilableError:
            return None
        try:
            row = await readers.row(prepared.sql, prepared.arguments)
        except READ_ERRORS as error:
            if (answer := self.answer_from(prepared, None, error)) is None:
                self.note_failure(prepared, error)
            return answer
        return self.answer_from(prepared, row, None)

    def _parts(
        self, query: str, variables: dict[str, Any] | None, name: str | None, is_costly: bool
    ) -> dict[str, Prepared]:
        if self._compiling is Compiling.NEVER:
            return {}
        return self.compiler.prepare_parts(query, name, variables or {}, is_costly=is_costly)

    def note_failure(self, prepared: Prepared, error: Exception) -> None:
        """Log that a compiled statement failed, and compile it no more when it always will."""
        if explain(error) is None:
            logger.error("a compiled operation failed, the executor answers: %s", one_line(error))
        if str(getattr(error, "sqlstate", "")).startswith(_WRONG_STATEMENTS):
            self.compiler.refuse(prepared)

    async def _execute(
        self, context: Context, query: str, variables: dict[str, Any] | None, name: str | None
    ) -> ExecutionResult:
        """Execute an operation; never raises for what a client sent."""
        try:
            node = self._read(query, name)
        except GraphQLError as error:
            return _not_executed([error])
        if errors := self.parsed.read(query).errors:
            return _not_executed(errors)
        result = await self._run(context.fresh(), node, variables, name)
        if any(was_lost(cause) for error in result.errors or () for cause in causes_of(error)):
            # All of it, since the snapshot is lost too.
            result = await self._run(context.fresh(), node, variables, name)
        if result.errors:
            result.errors = presentable(result.errors, is_before_execution=False)
        return result

    def _read(self, query: str, name: str | None) -> DocumentNode:
        """Return a document, one query of which is meant; raises GraphQLError."""
        if not query:
            raise bad_input("the request has no query: give a GraphQL document as `query`")
        document = self.parsed.read(query).node
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if len(operations) > 1 and name is None:
            names = ", ".join(node.name.value for node in operations if node.name)
            raise bad_input(f"the document has {len(operations)} operations: give operationName, one of {names}")
        chosen = next((node for node in operations if name is None or (node.name and node.name.value == name)), None)
        if chosen is None:
            raise bad_input(_no_operation(name))
        if chosen.operation is not OperationType.QUERY:
            raise RequestError(Code.VALIDATION, f"a {chosen.operation.value} cannot be run here: send a query")
        return document

    async def _run(
        self, context: Context, document: DocumentNode, variables: dict[str, Any] | None, name: str | None
    ) -> ExecutionResult:
        """Execute an operation in a context of its own, which is closed also on errors and cancellation."""
        try:
            await self._answer_parts(context)
            found: Any = execute(
                self._schema,
                document,
                context_value=context,
                variable_values=variables,
                operation_name=name,
                executor_class=self.execution_context_class,
                hide_suggestions=not self._suggestions,
            )
            if not isinstance(found, GraphQLExecutionResult):
                found = await found
        finally:
            await context.close()
        # Those lists that were cut and that no error has made null.
        truncated = [cut for cut in context.truncated if _is_there(found.data, cut["path"])]
        extensions = {"truncated": truncated} if truncated else None
        return ExecutionResult(data=found.data, errors=found.errors, extensions=extensions)

    async def _answer_parts(self, context: Context) -> None:
        """Answer the root fields that are compiled, from the snapshot that the executor reads for the others."""
        for key, prepared in context.prepared.items():
            try:
                row = await context.session.row(prepared.sql, prepared.arguments)
            except READ_ERRORS as error:
                self.note_failure(prepared, error)
                # All from one snapshot: after a failure there is another.
                await context.session.restart()
                context.answered.clear()
                context.truncated.clear()
                return
            context.answered[key] = orjson.Fragment(prepared.value(row["data"]))
            if row["cuts"]:
                context.truncated += orjson.loads(told(row["cuts"]))


def _is_there(data: Any, path: Sequence[str | int]) -> bool:
    for step in path:
        if data is None or isinstance(data, orjson.Fragment):
            break
        data = data[step]
    return data is not None


def _failed(prepared: Prepared, error: Exception) -> ExecutionResult:
    """Return the result of an operation that the database did not finish: every root field has failed."""
    errors = [
        GraphQLError(str(error), nodes=nodes, path=[key], original_error=error) for key, nodes in prepared.roots.items()
    ]
    data = dict.fromkeys(prepared.roots) if prepared.is_nullable else None
    return ExecutionResult(data=data, errors=presentable(errors, is_before_execution=False))


def _refused(refusal: RequestError) -> Answer:
    return _answered(_not_executed([refusal]), 0)


def _not_executed(errors: list[GraphQLError]) -> PreExecutionError:
    return PreExecutionError(data=None, errors=presentable(errors, is_before_execution=True))


def _bounded(answer: Answer) -> Answer:
    return answer if len(answer.body) <= MAX_ANSWER_BYTES else _refused(_too_long(len(answer.body)))


def _too_long(length: int) -> RequestError:
    return limit_error(
        f"the answer has {length} bytes: it may have {MAX_ANSWER_BYTES}; ask for smaller pages or fewer fields"
    )


def _answered(result: ExecutionResult, ttl_seconds: float) -> Answer:
    if not result.errors:
        return Answer(_written(result), ttl_seconds=ttl_seconds)
    outcome = (result.errors[0].extensions or {})["code"]
    has_failed = outcome in PASSING and not any((result.data or {}).values())
    was_executed = not isinstance(result, PreExecutionError) and not has_failed
    return Answer(_written(result), was_executed, outcome, ttl_seconds=0)


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
