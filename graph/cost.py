"""What an operation may cost, told from it and its variables before it runs; docs/limits.md tells the rule to clients.

A field costs 1, an object or an entry of a list 3 more, all of it once for every entry of the lists around it. A list
has as many entries as its `first`, `last` or `ids` asks for; without such an argument of its own, as its parent's
(`entities(first: 10) { edges { … } }`). What is left out counts as the default of a root field, as `NEIGHBOURS` inside
another list. What has no such argument counts as `ASSUMED` says. Each fragment is computed once however often it is
spread.
"""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple, TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NamedTypeNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from db.traversal import MAX_DEPTH as MAX_WALK_DEPTH
from db.traversal import MAX_NODES
from graph.pagination import DEFAULT_PAGE, MAX_PAGE

Variables: TypeAlias = Mapping[str, object]

SIZE_ARGUMENTS = (("first", "last"), ("ids",), ("maxDepth",))
"""What tells how many entries a field brings: the first group of which it has one."""
_SIZING = frozenset(name for group in SIZE_ARGUMENTS for name in group)
LONGEST_NUMBER = 10
LARGEST = 10**9

LEAF = 1
OBJECT = 3
"""What each object costs: to be read and made takes about three times as long as one of its fields."""

WEIGHTS: dict[str, int] = {
    "totalCount": 20,
    "description": 5,
    "definition": 5,
    "attributes": 20,
    "payload": 20,
    "params": 5,
}
"""What fields cost that are counted in the database, or long."""
STATISTIC = 50
"""What each field of `Stats` costs: a count over a table."""

OWN_SIZES: dict[tuple[str, str], float] = {
    ("Lineage", "edges"): 2,
    ("Roadmap", "edges"): 2,
    ("Roadmap", "mermaid"): 2,
}
"""How many entries there are for each one that the parent's argument asks for; 1 where nothing is said."""

ASSUMED: dict[tuple[str, str], float] = {
    ("LearningStep", "concepts"): 1,
    ("LineageEdge", "provenance"): 2,
    ("RoadmapEdge", "provenance"): 2,
    ("InfluenceEdge", "provenance"): 2,
    ("RunReport", "figures"): 100,
    ("__Schema", "types"): 90,
    ("__Schema", "directives"): 6,
    ("__Type", "fields"): 5,
    ("__Type", "inputFields"): 0.5,
    ("__Type", "enumValues"): 2,
    ("__Type", "interfaces"): 0.2,
    ("__Type", "possibleTypes"): 0.2,
    ("__Type", "ofType"): 0.5,
    ("__Field", "args"): 0.5,
    ("__Directive", "args"): 1,
}
"""How many entries a list that no argument sizes has on average; for introspection, in our own schema."""
ASSUMED_ELSEWHERE = 10
NEIGHBOURS = 6
"""How many entries a list inside another has whose size is left out: 5.7 on average in the sample's influences.

Where there are far more, the bound on entries read ends the operation; see graph.dataloaders.
"""


class Part(NamedTuple):
    """The cost of a selection set: of itself, and for each entry that its parent's argument asks for."""

    fixed: float
    per_entry: float


def cost_of(
    schema: GraphQLSchema, document: DocumentNode, operation_name: str | None, variables: Variables | None
) -> int:
    """Return the cost of an operation of a valid document; the variables need not have been checked."""
    definitions = document.definitions
    operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
    named = [node for node in operations if node.name and node.name.value == operation_name]
    operation = (named or operations)[0]
    root = schema.get_root_type(operation.operation)
    if root is None:
        return 0
    fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
    counted = _Counter(schema, fragments, operation, variables or {}).part(root, operation.selection_set)
    return ceil(counted.fixed + counted.per_entry * ASSUMED_ELSEWHERE)


def fields_in(answer: object) -> int:
    """Return what an answer cost, by the same rule but for the weights of single fields."""
    cost = 0
    stack = [answer]
    while stack:
        found = stack.pop()
        if isinstance(found, dict):
            cost += OBJECT + len(found)
            stack.extend(value for value in found.values() if isinstance(value, dict | list))
        elif isinstance(found, list):
            stack.extend(value for value in found if isinstance(value, dict | list))
    return max(cost - OBJECT, 0)


def size_variables(document: DocumentNode) -> tuple[str, ...]:
    """Return the names of the variables that sizes in a document depend on."""
    names: set[str] = set()
    stack: list[SelectionSetNode] = [
        node.selection_set
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    while stack:
        for node in stack.pop().selections:
            if isinstance(node, FieldNode):
                values = [argument.value for argument in node.arguments or () if argument.name.value in _SIZING]
                names.update(value.name.value for value in values if isinstance(value, VariableNode))
            if isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set:
                stack.append(node.selection_set)
    return tuple(sorted(names))


class _Counter:
    """Counts an operation, each of its fragments once."""

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        operation: OperationDefinitionNode,
        variables: Variables,
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._defaults = {node.variable.name.value: node.default_value for node in operation.variable_definitions or ()}
        self._parts: dict[str, Part] = {}

    def part(self, parent: GraphQLCompositeType, selections: SelectionSetNode) -> Part:
        """Count a selection set; its depth is bounded, so recursion is."""
        parts = [self._selection(parent, node) for node in selections.selections]
        return Part(sum(part.fixed for part in parts), sum(part.per_entry for part in parts))

    def _selection(self, parent: GraphQLCompositeType, node: SelectionNode) -> Part:
        if isinstance(node, FieldNode):
            definition = self._schema.get_field(parent, node.name.value)
            return self._field(parent, node, definition) if definition else Part(LEAF, 0)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value)
        assert isinstance(node, InlineFragmentNode)
        return self.part(self._type(node.type_condition) or parent, node.selection_set)

    def _fragment(self, name: str) -> Part:
        if name not in self._parts:
            fragment = self._fragments[name]
            on = self._type(fragment.type_condition)
            self._parts[name] = self.part(on, fragment.selection_set) if on else Part(0, 0)
        return self._parts[name]

    def _type(self, condition: NamedTypeNode | None) -> GraphQLCompositeType | None:
        found = self._schema.get_type(condition.name.value) if condition else None
        return found if is_composite_type(found) else None

    def _field(self, parent: GraphQLCompositeType, node: FieldNode, definition: GraphQLField) -> Part:
        place = (parent.name, node.name.value)
        named = get_named_type(definition.type)
        if not is_composite_type(named) or node.selection_set is None:
            return Part(_weight(place), OWN_SIZES.get(place, 0))
        size = self._size(parent, node, definition)
        inner = self.part(named, node.selection_set)
        if not is_list_type(get_nullable_type(definition.type)):
            walked = OBJECT * (size or 0) if "maxDepth" in definition.args else 0
            entries = ASSUMED_ELSEWHERE if size is None else size
            return Part(_weight(place) + OBJECT + walked + inner.fixed + inner.per_entry * entries, 0)
        entry = OBJECT + inner.fixed + inner.per_entry * ASSUMED_ELSEWHERE
        if size is None and place not in ASSUMED:
            return Part(_weight(place), entry * OWN_SIZES.get(place, 1))
        return Part(_weight(place) + entry * (ASSUMED[place] if size is None else size), 0)

    def _size(self, parent: GraphQLCompositeType, node: FieldNode, definition: GraphQLField) -> int | None:
        """Return how many entries a field asks for; what its resolver will refuse counts as the most it may ask."""
        names = next((group for group in SIZE_ARGUMENTS if group[0] in definition.args), ())
        most = MAX_NODES if "maxDepth" in definition.args else MAX_PAGE
        for name in names:
            argument = next((argument for argument in node.arguments or () if argument.name.value == name), None)
            value = self._value(argument.value) if argument else None
            if value is not None:
                return _size_of(name, value, most)
        if not names:
            return None
        if parent is not self._schema.query_type:
            return NEIGHBOURS
        default = definition.args[names[0]].default_value
        return default if isinstance(default, int) else DEFAULT_PAGE

    def _value(self, node: ValueNode | None) -> object:
        if isinstance(node, VariableNode):
            name = node.name.value
            return self._variables[name] if name in self._variables else self._value(self._defaults.get(name))
        if isinstance(node, IntValueNode):
            return int(node.value) if len(node.value) < LONGEST_NUMBER else LARGEST
        if isinstance(node, ListValueNode):
            return list(node.values)
        return None if node is None or isinstance(node, NullValueNode) else LARGEST


def _size_of(name: str, value: object, most: int) -> int:
    if name == "ids":
        return min(len(value), MAX_PAGE) if isinstance(value, list) else 1
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    given = value if isinstance(value, int) and not isinstance(value, bool) else LARGEST
    if name == "maxDepth":
        return min(given, MAX_WALK_DEPTH) + 1 if given >= 0 else MAX_WALK_DEPTH + 1
    return given if 0 <= given <= most else most


def _weight(place: tuple[str, str]) -> int:
    return STATISTIC if place[0] == "Stats" else WEIGHTS.get(place[1], LEAF)
