"""What an operation selects, as a tree: fragments spread, directives applied, duplicate response keys merged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    Visitor,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_non_null_type,
    visit,
)
from graphql.execution.collect_fields import (
    FieldDetails,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from strawberry.schema.config import StrawberryConfig

from graph.compiled.arguments import Arguments, variables_in
from graph.compiled.mapping import SQL, Mapped, NotCompilableError, Part, Row, Value, own_field

MAX_FIELDS = 300
MAX_DEPTH = 40
MAX_NAME = 63
"""A longer name would be cut by PostgreSQL."""

TYPE_NAME = "__typename"


@dataclass(eq=False, slots=True)
class Field:
    """A field of the response: what it reads, with which request, and what it selects of that."""

    key: str
    name: str
    mapping: Mapped
    request: int | None
    selection: "Selection | None" = None


@dataclass(slots=True)
class Selection:
    """What is selected of an object, by the name of its type; one type where it can be no other."""

    by_type: dict[str, dict[str, Field]] = field(default_factory=dict)


@dataclass(slots=True)
class Tree:
    """An operation's selection, and what makes the requests of its fields from the variables."""

    root: dict[str, Field] = field(default_factory=dict)
    requests: list[Callable[[Mapping[str, Any]], Any]] = field(default_factory=list)
    nodes: dict[str, list[FieldNode]] = field(default_factory=dict)
    is_nullable: bool = True
    """Whether every root field may be null."""


class _Directives(Visitor):
    """Finds the variables that decide what is selected."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        if node.name.value not in ("skip", "include"):
            raise NotCompilableError(f"@{node.name.value} is for the executor")
        self.names.update(variables_in(node))


def deciding_variables(document: DocumentNode) -> tuple[str, ...]:
    """Return the names of the variables in `@skip` and `@include`."""
    finder = _Directives()
    visit(document, finder)
    return tuple(sorted(finder.names))


def _plain(name: str) -> Value:
    """Return the mapping of a field that is the column of its name."""
    return Value(lambda row, _: row[name])


class Selector:
    """Collects what an operation selects, given the variables that decide it."""

    def __init__(self, schema: GraphQLSchema, config: StrawberryConfig, registry: Any, document: DocumentNode) -> None:
        self._schema, self._config, self._registry = schema, config, registry
        self._fragments = {
            node.name.value: FragmentDetails(node)
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._plain: dict[str, Value] = {}

    def roots(self, operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> list[str]:
        """Return the response keys of the root fields, those about the schema left out."""
        found = self._collect(operation, variables)
        return [key for key, details in found.items() if not details[0].node.name.value.startswith("__")]

    def _collect(self, operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> GroupedFieldSet:
        self._operation = operation
        self._variables = VariableValues({}, dict(variables))
        query = self._schema.query_type
        assert query is not None
        return collect_fields(self._schema, self._fragments, self._variables, query, operation).grouped_field_set

    def select(self, operation: OperationDefinitionNode, variables: Mapping[str, Any], root: str | None) -> Tree:
        """Return the tree of all root fields, or of one.

        Raises NotCompilableError when a field has no mapping or the tree is too large.
        """
        found = self._collect(operation, variables)
        self._fields: dict[tuple[Any, ...], Field] = {}
        tree = Tree()
        query = self._schema.query_type
        assert query is not None
        for key, details in found.items():
            if root not in (None, key):
                continue
            tree.root[key] = self._field(tree, query, key, details, 1)
            tree.nodes[key] = [one.node for one in details]
            definition = query.fields.get(details[0].node.name.value)
            tree.is_nullable &= definition is not None and not is_non_null_type(definition.type)
        return tree

    def _field(
        self, tree: Tree, parent: GraphQLObjectType, key: str, details: Sequence[FieldDetails], depth: int
    ) -> Field:
        node = details[0].node
        if len(key) > MAX_NAME or depth > MAX_DEPTH or len(self._fields) >= MAX_FIELDS:
            raise NotCompilableError("the operation is too large")
        mapping, arguments = self._mapping(parent, node)
        identity = (key, mapping, *(id(one.node) for one in details))
        if known := self._fields.get(identity):
            return known
        made = Field(key, node.name.value, mapping, None)
        self._fields[identity] = made
        if arguments is not None:
            made.request = len(tree.requests)
            tree.requests.append(arguments.prepare(self._config, self._registry))
        kind = None if node.name.value == TYPE_NAME else get_named_type(parent.fields[node.name.value].type)
        if kind is not None and not is_leaf_type(kind):
            made.selection = self._selection(tree, kind, details, depth + 1)
        return made

    def _selection(self, tree: Tree, kind: Any, details: Sequence[FieldDetails], depth: int) -> Selection:
        is_abstract = is_abstract_type(kind)
        types = self._schema.get_possible_types(kind) if is_abstract else [kind]
        selection = Selection()
        for one in types:
            found = collect_subfields(
                self._schema, self._fragments, self._variables, self._operation, one, list(details)
            )
            selection.by_type[one.name] = {
                key: self._field(tree, one, key, group, depth) for key, group in found.grouped_field_set.items()
            }
        return selection

    def _mapping(self, parent: GraphQLObjectType, node: FieldNode) -> tuple[Mapped, Arguments | None]:
        if node.name.value == TYPE_NAME:
            return TYPE_NAMES, None
        definition = parent.fields.get(node.name.value)
        own = own_field(definition)
        if definition is None or own is None:
            raise NotCompilableError(f"{node.name.value} is for the executor")
        mapping = own.metadata.get(SQL)
        if mapping is None:
            if own.base_resolver is not None or not is_leaf_type(get_named_type(definition.type)):
                raise NotCompilableError(f"{parent.name}.{node.name.value} has no mapping")
            mapping = self._plain.setdefault(own.python_name, _plain(own.python_name))
        read = None if isinstance(mapping, Part) else mapping.read
        return mapping, None if read is None else Arguments(definition, node, own, read)


def _type_name(_row: Row, _request: Any) -> Any:
    raise NotCompilableError("the builder knows the type")


TYPE_NAMES = Value(_type_name)
"""The mapping of `__typename`."""
