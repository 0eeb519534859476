"""From a document's text to a prepared statement: what was seen before costs two look-ups and its parameters."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, NamedTuple, TypeVar

import strawberry
from graphql import DocumentNode, FieldNode, GraphQLError, OperationDefinitionNode, OperationType
from sqlalchemy import BindParameter, Select
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.visitors import iterate

from graph.compiled.arguments import Variables, fill, request_of, split
from graph.compiled.builder import Builder
from graph.compiled.mapping import NotCompilableError
from graph.compiled.selection import Selector, Tree, deciding_variables
from graph.parsed import ParsedDocuments

SLOT = "given_"
MARK = "\x01"
"""See graph.compiled.builder."""
MAX_PLANS = 512
MAX_TREES = 32
MAX_DOCUMENT_LENGTH = 50_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]


class _Recent(OrderedDict[K, V], Generic[K, V]):
    """What was used last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def find(self, key: K) -> V | None:
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def keep(self, key: K, value: V) -> V:
        self[key] = value
        if len(self) > self._size:
            self.popitem(last=False)
        return value


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement without any value of a client; its parameters are the values in these places."""

    sql: str
    places: tuple[int, ...]


class Prepared(NamedTuple):
    """A statement with its parameters, and what its root fields are."""

    key: Hashable
    sql: str
    arguments: list[Any]
    roots: dict[str, list[FieldNode]]
    is_nullable: bool

    def body(self, data: bytes, cuts: str | None) -> bytes:
        """Return the response's body for the statement's row."""
        if not cuts:
            return b'{"data":%b}' % data
        return b'{"data":%b,"extensions":{"truncated":%b}}' % (data, told(cuts))

    def value(self, data: bytes) -> bytes:
        """Return the value of the only root field, for the statement's row."""
        (key,) = self.roots
        return data.removeprefix(b'{"%b":' % key.encode()).removesuffix(b"}")


def told(cuts: str) -> bytes:
    """Write the lists that were cut as JSON."""
    return b"[%b]" % cuts.replace(MARK, ',{"path":[').removeprefix(",").encode()


@dataclass(slots=True)
class _Operation:
    node: OperationDefinitionNode
    variables: Variables
    deciding: tuple[str, ...]
    selector: Selector
    trees: _Recent[tuple[object, ...], Tree | Exception]


class Compiler:
    """Compiles the operations of a schema, and remembers those used last."""

    def __init__(
        self,
        schema: strawberry.Schema,
        patience: int = 0,
        most: int = MAX_PLANS,
        parsed: ParsedDocuments | None = None,
    ) -> None:
        """Compile an operation when it has come `patience` times with the same shape; keep `most` plans."""
        self._schema = schema
        self._parsed = parsed or ParsedDocuments(schema._schema)
        self._patience = patience
        self._seen: _Recent[Hashable, int] = _Recent(most)
        self._operations: _Recent[tuple[str, str | None], _Operation | Exception] = _Recent(most)
        self._plans: _Recent[Hashable, Plan | Exception] = _Recent(most)

    def prepare(self, query: str, name: str | None, given: Mapping[str, Any], *, is_costly: bool = False) -> Prepared:
        """Return a statement and its parameters; raises NotCompilableError when the executor must answer.

        What is costly is compiled when it comes first.
        """
        operation = self._operation(query, name)
        return self._prepare((query, name), operation, operation.variables.coerce(given), None, is_costly)

    def prepare_parts(
        self, query: str, name: str | None, given: Mapping[str, Any], *, is_costly: bool = False
    ) -> dict[str, Prepared]:
        """Return a statement for each root field that can be compiled by itself, where there are several."""
        found: dict[str, Prepared] = {}
        with suppress(NotCompilableError):
            operation = self._operation(query, name)
            variables = operation.variables.coerce(given)
            keys = operation.selector.roots(operation.node, variables)
            for key in keys if len(keys) > 1 else ():
                with suppress(NotCompilableError):
                    found[key] = self._prepare((query, name), operation, variables, key, is_costly)
        return found

    def _prepare(
        self,
        named: tuple[str, str | None],
        operation: _Operation,
        variables: Mapping[str, Any],
        root: str | None,
        is_costly: bool,
    ) -> Prepared:
        decided = (root, *[variables.get(one) for one in operation.deciding])
        tree = operation.trees.find(decided) or operation.trees.keep(decided, _tree(operation, variables, root))
        if isinstance(tree, Exception):
            raise NotCompilableError(*tree.args)
        values: list[Any] = []
        requests = [request_of(make, variables) for make in tree.requests]
        key = (named, decided, tuple([split(request, values) for request in requests]))
        plan = self._plans.find(key) or self._new_plan(key, tree, requests, is_costly)
        if isinstance(plan, Exception):
            raise NotCompilableError(*plan.args)
        return Prepared(key, plan.sql, [values[place] for place in plan.places], tree.nodes, tree.is_nullable)

    def refuse(self, prepared: Prepared) -> None:
        """Have the executor answer what was prepared, from now on: its statement fails."""
        self._plans.keep(prepared.key, NotCompilableError("its statement failed"))

    def _new_plan(self, key: Hashable, tree: Tree, requests: list[Any], is_costly: bool) -> Plan | Exception:
        times = (self._seen.find(key) or 0) + 1
        self._seen.keep(key, times)
        if times <= self._patience and not is_costly:
            raise NotCompilableError("it may never come again")
        return self._plans.keep(key, _plan(tree, requests))

    def _operation(self, query: str, name: str | None) -> _Operation:
        found = self._operations.find((query, name))
        if found is None:
            found = self._operations.keep((query, name), self._read(query, name))
        if isinstance(found, Exception):
            raise NotCompilableError(*found.args)
        return found

    def _read(self, query: str, name: str | None) -> _Operation | Exception:
        try:
            if len(query) > MAX_DOCUMENT_LENGTH:
                raise NotCompilableError("the document is too long")
            parsed = self._parsed.read(query)
            if parsed.errors:
                raise NotCompilableError("the document is not valid")
            document = parsed.node
            deciding = deciding_variables(document)
            node = _operation(document, name)
            variables = Variables(self._schema._schema, node.variable_definitions or ())
            converter = self._schema.schema_converter
            selector = Selector(self._schema._schema, self._schema.config, converter.scalar_registry, document)
            return _Operation(node, variables, deciding, selector, _Recent(MAX_TREES))
        except (GraphQLError, NotCompilableError, RecursionError) as reason:
            return NotCompilableError(str(reason))


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    found = [
        node
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode) and (name is None or (node.name and node.name.value == name))
    ]
    if len(found) != 1 or found[0].operation is not OperationType.QUERY:
        raise NotCompilableError("which operation is meant is for the executor to tell")
    return found[0]


def _tree(operation: _Operation, variables: Mapping[str, Any], root: str | None) -> Tree | Exception:
    try:
        return operation.selector.select(operation.node, variables, root)
    except (GraphQLError, NotCompilableError, RecursionError) as reason:
        return NotCompilableError(str(reason))


def _plan(tree: Tree, requests: list[Any]) -> Plan | Exception:
    slots = (f"{SLOT}{number}" for number in count())
    try:
        filled = [fill(request, slots) for request in requests]
        return plan_of(Builder(filled).statement(tree.root))
    except (NotCompilableError, RecursionError, SQLAlchemyError) as reason:
        return NotCompilableError(str(reason))


def plan_of(statement: Select[Any]) -> Plan:
    """Write a statement as PostgreSQL prepares it; the code's constants stand in it, where the planner sees them."""
    for part in iterate(statement):
        if isinstance(part, BindParameter) and not part.key.startswith(SLOT):
            part.literal_execute = True
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return Plan(str(compiled), tuple([int(name.removeprefix(SLOT)) for name in compiled.positiontup or ()]))
