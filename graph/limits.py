"""The bounds of every request, and what refuses a document or its variables beyond them; told in docs/limits.md.

All of it runs before validation, on the parsed document: each definition is read once, and what a fragment holds is
computed once however often it is spread. So the work is linear in the document, which is bounded itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    ValueNode,
    parse,
)

from graph.errors import Code, RequestError

MAX_URL_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 256 * 1024

MAX_SOCKETS = 1_000
"""Of a process."""
MAX_SOCKET_OPERATIONS = 20
"""Of a socket at the same time, subscriptions counted."""
MAX_SOCKET_SECONDS = 3_600
"""A socket is closed then, and its client connects anew, to a process that is there."""
SOCKET_INIT_SECONDS = 10
MAX_FRAGMENTS = 1_000
"""Of a message."""
MAX_OPERATION_ID_LENGTH = 100

MAX_TOKENS = 2_000
MAX_DEPTH = 12
MAX_INTROSPECTION_DEPTH = 15
"""As deep as the query that tools send: a list of lists and non-nulls, nine wrappings inside an argument's type."""
MAX_NESTING = 40
"""Levels of selections, those of fragments counted too: what recurses through them stays far from the stack's end."""
MAX_ROOT_FIELDS = 20
MAX_ALIASES = 15
MAX_DIRECTIVES = 50
MAX_LIST_ITEMS = 250
MAX_INPUT_FIELDS = 50
"""Of an object in the document or in variables: what is wrong with each is told with the whole object."""
MAX_DIGITS = 400
"""Of a number in a document, as many as the largest double has and some: Python refuses to read thousands."""

MAX_COST = 100_000
COSTLY = 5_000
"""From here on an operation is compiled when it comes first: the executor would take longer than that does."""
MAX_ENTRIES = 25_000
"""What the lists of one operation may hold together when it turns out larger than its cost said."""
REFUSED_COST = 100
"""What a caller is charged for a document that is refused, since reading it took work."""

MAX_COMPARISONS = 50_000
"""Of fields that may be the same, in graphql-core's units: 40 ms at most. Ordinary documents take a hundred."""
MAX_VALIDATION_ERRORS = 20

MAX_ANSWER_BYTES = 2 * 1024 * 1024

_INTROSPECTION = frozenset({"__schema", "__type"})
_PARSER_BOUNDS = ("Document contains more than", "Document is nested too deeply")


def limit_error(message: str) -> RequestError:
    """Make the error of a request that is beyond a bound."""
    return RequestError(Code.LIMIT, message)


def parse_document(text: str) -> DocumentNode:
    """Parse and check a document; raises a RequestError beyond a bound, a GraphQLSyntaxError for what is none."""
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except GraphQLSyntaxError as error:
        if any(bound in error.message for bound in _PARSER_BOUNDS):
            raise limit_error(
                f"the document has more than {MAX_TOKENS} tokens or is nested too deeply: ask in several requests, and"
                " give long values as variables"
            ) from error
        raise
    check_document(document)
    return document


class Place(NamedTuple):
    """Where a selection stands in its definition: under how many fields, and in how many selection sets."""

    depth: int
    nesting: int
    is_introspection: bool


@dataclass(slots=True)
class Tally:
    """What a definition holds, first without its fragments and then with them."""

    depth: int = 0
    introspection_depth: int = 0
    nesting: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    spreads: list[tuple[str, Place]] = field(default_factory=list)

    def add(self, place: Place, fragment: "Tally") -> None:
        """Count in a fragment, as often as it stands somewhere."""
        self.aliases += fragment.aliases
        self.directives += fragment.directives
        self.nesting = max(self.nesting, place.nesting + fragment.nesting)
        if place.depth == 0:
            self.root_fields += fragment.root_fields
        if place.is_introspection:
            deepest = max(fragment.depth, fragment.introspection_depth)
            self.introspection_depth = max(self.introspection_depth, place.depth + deepest)
        else:
            self.depth = max(self.depth, place.depth + fragment.depth)
            self.introspection_depth = max(self.introspection_depth, place.depth + fragment.introspection_depth)


def check_document(document: DocumentNode) -> None:
    """Refuse a document beyond a bound; raises a RequestError.

    What makes it invalid otherwise, such as fragments that are unknown or spread themselves, is validation's to tell.
    """
    fragments: dict[str, Tally] = {}
    operations: list[Tally] = []
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            fragments[definition.name.value] = _tally(definition)
        elif isinstance(definition, OperationDefinitionNode):
            operations.append(_tally(definition))
    for name in _inside_out(fragments):
        _add_fragments(fragments[name], fragments)
    for operation in operations:
        _add_fragments(operation, fragments)
        _check(operation)


def check_variables(variables: Mapping[str, object] | None) -> None:
    """Refuse variables with a list or an object beyond the bounds; raises a RequestError."""
    for name, value in (variables or {}).items():
        # A union of the two, `dict | list`, would be made anew each time.
        if not isinstance(value, list) and not isinstance(value, dict):
            continue
        stack: list[object] = [value]
        while stack:
            found = stack.pop()
            if isinstance(found, dict):
                _check_object(f"the variable {name[:40]!r}", len(found))
                stack.extend(found.values())
            elif isinstance(found, list):
                _check_list(f"the variable {name[:40]!r}", len(found))
                stack.extend(found)


def _tally(definition: OperationDefinitionNode | FragmentDefinitionNode) -> Tally:
    """Count what a definition itself holds, without recursion: nothing a client sends can exhaust the stack."""
    tally = Tally(directives=len(definition.directives or ()))
    _check_values(directive.arguments for directive in definition.directives or ())
    for variable in definition.variable_definitions or ():
        tally.directives += len(variable.directives or ())
        _check_value(variable.default_value)
    stack: list[tuple[SelectionNode, Place]] = []
    stack.extend((node, Place(0, 1, False)) for node in definition.selection_set.selections)
    while stack:
        node, place = stack.pop()
        tally.directives += len(node.directives or ())
        _check_values(directive.arguments for directive in node.directives or ())
        if isinstance(node, FragmentSpreadNode):
            tally.spreads.append((node.name.value, place))
            continue
        assert isinstance(node, FieldNode | InlineFragmentNode)
        inside = place._replace(nesting=place.nesting + 1)
        if isinstance(node, FieldNode):
            inside = Place(place.depth + 1, inside.nesting, place.is_introspection or node.name.value in _INTROSPECTION)
            _count_field(tally, node, inside)
        tally.nesting = max(tally.nesting, place.nesting)
        if node.selection_set:
            stack.extend((child, inside) for child in node.selection_set.selections)
    return tally


def _count_field(tally: Tally, node: FieldNode, inside: Place) -> None:
    tally.aliases += node.alias is not None
    tally.root_fields += inside.depth == 1
    if inside.is_introspection:
        tally.introspection_depth = max(tally.introspection_depth, inside.depth)
    else:
        tally.depth = max(tally.depth, inside.depth)
    _check_values([node.arguments])


def _inside_out(fragments: Mapping[str, Tally]) -> Iterator[str]:
    """Yield each fragment after those that it spreads; a circle is cut where it closes."""
    begun: set[str] = set()
    for start in fragments:
        path = [(start, iter(fragments[start].spreads))] if start not in begun else []
        begun.add(start)
        while path:
            outer, spreads = path[-1]
            inner = next((name for name, _ in spreads if name in fragments and name not in begun), None)
            if inner is None:
                path.pop()
                yield outer
            else:
                begun.add(inner)
                path.append((inner, iter(fragments[inner].spreads)))


def _add_fragments(tally: Tally, fragments: Mapping[str, Tally]) -> None:
    for name, place in tally.spreads:
        if name in fragments:
            tally.add(place, fragments[name])


def _check(operation: Tally) -> None:
    for value, bound, what, fix in (
        (operation.depth, MAX_DEPTH, "levels of fields", "ask for what lies deeper in a request of its own"),
        (
            operation.introspection_depth,
            MAX_INTROSPECTION_DEPTH,
            "levels of introspection",
            "ask for types by name, with __type",
        ),
        (operation.nesting, MAX_NESTING, "levels of selections and fragments", "nest fewer fragments"),
        (operation.root_fields, MAX_ROOT_FIELDS, "root fields", "ask in several requests"),
        (operation.aliases, MAX_ALIASES, "aliases, each spread of a fragment counted", "ask in several requests"),
        (operation.directives, MAX_DIRECTIVES, "directives, each spread of a fragment counted", "use fewer"),
    ):
        if value > bound:
            shown = str(value) if value < 10**6 else "over a million"
            raise limit_error(f"the operation has {shown} {what}: give at most {bound}; {fix}")


def _check_values(arguments: Iterable[Sequence[ArgumentNode] | None]) -> None:
    for group in arguments:
        for argument in group or ():
            _check_value(argument.value)


def _check_value(value: ValueNode | None) -> None:
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, ListValueNode):
            _check_list("an argument", len(node.values))
            stack.extend(node.values)
        elif isinstance(node, ObjectValueNode):
            _check_object("an argument", len(node.fields))
            stack.extend(member.value for member in node.fields)
        elif isinstance(node, IntValueNode | FloatValueNode) and len(node.value) > MAX_DIGITS:
            raise limit_error(f"a number has {len(node.value)} digits: give at most {MAX_DIGITS}")


def _check_object(where: str, length: int) -> None:
    if length > MAX_INPUT_FIELDS:
        raise limit_error(f"{where} has an object of {length} fields: give at most {MAX_INPUT_FIELDS}")


def _check_list(where: str, length: int) -> None:
    if length > MAX_LIST_ITEMS:
        raise limit_error(f"{where} has a list of {length} items: give at most {MAX_LIST_ITEMS}, in several requests")
