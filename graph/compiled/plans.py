"""From a document's text to a prepared statement: what was seen before costs two look-ups and its parameters."""

from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import strawberry
from graphql import DocumentNode, FieldNode, GraphQLError, OperationDefinitionNode, OperationType
from sqlalchemy.exc import SQLAlchemyError

from db.shapes import MAX_PLANS, Plan, Recent, fill, plan_of, slots, split
from graph.compiled.arguments import Variables, request_of
from graph.compiled.builder import Builder
from graph.compiled.mapping import NotCompilableError
from graph.compiled.selection import Selector, Tree, deciding_variables
from graph.parsed import ParsedDocuments

MARK = "\x01"
"""See graph.compiled.builder."""
MAX_TREES = 32
MAX_DOCUMENT_LENGTH = 50_000


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
    trees: Recent[tuple[object, ...], Tree | Exception]


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
        self._seen: Recent[Hashable, int] = Recent(most)
        self._operations: Recent[tuple[str, str | None], _Operation | Exception] = Recent(most)
        self._plans: Recent[Hashable, Plan | Exception] = Recent(most)

    def prepare(self, query: str, name: str | None, given: Mapping[str, Any], *, is_costly: bool = False) -> Prepared:
        """Return a statement and its parameters; raises NotCompilableError when the executor must answer.

        What is costly is compiled when it comes first.
        """
        operation = self._operation(query, name)
        return self._prepare((query, name), operation, operation.variables.coerce(given), None, is_costly)

    def prepare_again(self, query: str, name: str | None, given: Mapping[str, Any]) -> Prepared:
        """Return what was prepared before, with these values; raises NotCompilableError, and counts nothing as seen."""
        operation = self._operation(query, name)
        return self._prepare((query, name), operation, operation.variables.coerce(given), None, None)

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
        is_costly: bool | None,
    ) -> Prepared:
        decided = (root, *[variables.get(one) for one in operation.deciding])
        tree = operation.trees.find(decided) or operation.trees.keep(decided, _tree(operation, variables, root))
        if isinstance(tree, Exception):
            raise NotCompilableError(*tree.args)
        values: list[Any] = []
        requests, shapes = [], []
        for make in tree.requests:
            requests.append(request := request_of(make, variables))
            shapes.append(split(request, values))
        key = (named, decided, tuple(shapes))
        plan = self._plans.find(key) or self._new_plan(key, tree, requests, is_costly)
        if isinstance(plan, Exception):
            raise NotCompilableError(*plan.args)
        return Prepared(key, plan.sql, plan.arguments(values), tree.nodes, tree.is_nullable)

    def refuse(self, prepared: Prepared) -> None:
        """Have the executor answer what was prepared, from now on: its statement fails."""
        self._plans.keep(prepared.key, NotCompilableError("its statement failed"))

    def _new_plan(self, key: Hashable, tree: Tree, requests: list[Any], is_costly: bool | None) -> Plan | Exception:
        if is_costly is None:
            raise NotCompilableError("it was not prepared before")
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
            return _Operation(node, variables, deciding, selector, Recent(MAX_TREES))
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
    names = slots()
    try:
        filled = [fill(request, names) for request in requests]
        return plan_of(Builder(filled).statement(tree.root))
    except (NotCompilableError, RecursionError, SQLAlchemyError) as reason:
        return NotCompilableError(str(reason))
