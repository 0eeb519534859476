"""Documents read once: parsed, held to the bounds and validated; those used last are kept for whoever asks again."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    print_ast,
    separate_operations,
    specified_rules,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from graph.cost import cost_of, size_variables
from graph.errors import RequestError
from graph.limits import (
    MAX_COMPARISONS,
    MAX_COST,
    MAX_VALIDATION_ERRORS,
    check_variables,
    limit_error,
    parse_document,
)

MAX_KEPT_CHARACTERS = 256 * 1024
"""A parsed document takes up to 400 bytes a character: this is 100 MB at most, and far less in practice."""
MAX_KEPT_COSTS = 64

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)

# How graphql-core wants its own bound to be set: read whenever a validation begins.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = MAX_COMPARISONS


@dataclass(slots=True)
class ParsedDocument:
    """A document within the bounds, with what is wrong with it; costs can be told when nothing is."""

    schema: GraphQLSchema
    node: DocumentNode
    errors: list[GraphQLError]
    sized_by: tuple[str, ...]
    """The variables that a cost depends on."""
    costs: dict[Hashable, int] = field(default_factory=dict)
    """By operation, with the values of those variables if there are any."""

    def cost(self, operation_name: str | None, variables: Mapping[str, object] | None) -> int:
        """Return what an operation may cost; see graph.cost."""
        given = variables or {}
        key: Hashable = operation_name
        if self.sized_by:
            key = (operation_name, *[_key(given, name) for name in self.sized_by])
        cost = self.costs.get(key)
        if cost is None:
            cost = cost_of(self.schema, self.node, operation_name, given)
            if len(self.costs) < MAX_KEPT_COSTS:
                self.costs[key] = cost
        return cost


class ParsedDocuments:
    """The documents of a schema, those used last kept."""

    def __init__(self, schema: GraphQLSchema, *, hide_suggestions: bool = False) -> None:
        self._schema = schema
        self._hide_suggestions = hide_suggestions
        self._kept: OrderedDict[str, ParsedDocument | GraphQLError] = OrderedDict()
        self._characters = 0

    def read(self, text: str) -> ParsedDocument:
        """Return a document; raises a RequestError beyond the bounds, a GraphQLSyntaxError for what is none."""
        found = self._kept.get(text)
        if found is None:
            found = self._keep(text, self._read(text))
        else:
            self._kept.move_to_end(text)
        if isinstance(found, GraphQLError):
            raise _again(found)
        return found

    def cost(self, text: str, variables: Mapping[str, object] | None, operation_name: str | None) -> int | None:
        """Return what an operation may cost, None when its document is not valid.

        Raises a RequestError for a document or variables beyond the bounds.
        """
        # Nearly all are kept, valid and simple: for those, each further call would be a large part of what this takes.
        document = self._kept.get(text)
        if type(document) is ParsedDocument:
            self._kept.move_to_end(text)
        else:
            try:
                document = self.read(text)
            except GraphQLSyntaxError:
                return None
        if document.errors:
            return None
        for value in (variables or {}).values():
            if type(value) is list or type(value) is dict:
                check_variables(variables)
                break
        return document.costs.get(operation_name) or document.cost(operation_name, variables)

    def is_readable(self, text: str) -> bool:
        """Tell whether a text is a document within the bounds."""
        try:
            self.read(text)
        except GraphQLError:
            return False
        return True

    def as_query(self, text: str, operation_name: str | None) -> str | None:
        """Return a subscription as the query of the same fields; None of another operation or a wrong document."""
        try:
            document = self.read(text)
        except GraphQLError:
            return None
        operations = separate_operations(document.node)
        name = operation_name if operation_name is not None or len(operations) != 1 else next(iter(operations))
        if document.errors or name not in operations:
            return None
        meant = operations[name]
        as_queries = [
            _as_query(one)
            if isinstance(one, OperationDefinitionNode) and one.operation is OperationType.SUBSCRIPTION
            else one
            for one in meant.definitions
        ]
        return None if as_queries == list(meant.definitions) else print_ast(DocumentNode(definitions=tuple(as_queries)))

    @staticmethod
    def check_cost(cost: int) -> None:
        """Refuse a cost beyond the limit; raises a RequestError."""
        if cost > MAX_COST:
            raise limit_error(
                f"the operation costs {cost}: it may cost {MAX_COST}; ask for smaller pages, or fewer fields and"
                ' levels. With "extensions": {"cost": "dry-run"} a request tells only what it costs'
            )

    def _read(self, text: str) -> ParsedDocument | GraphQLError:
        try:
            node = parse_document(text)
        except GraphQLError as error:
            return error.with_traceback(None)
        errors = validate(
            self._schema, node, RULES, max_errors=MAX_VALIDATION_ERRORS, hide_suggestions=self._hide_suggestions
        )
        return ParsedDocument(self._schema, node, [_bounded(error) for error in errors], size_variables(node))

    def _keep(self, text: str, found: ParsedDocument | GraphQLError) -> ParsedDocument | GraphQLError:
        self._kept[text] = found
        self._characters += len(text)
        while self._characters > MAX_KEPT_CHARACTERS:
            dropped, _ = self._kept.popitem(last=False)
            self._characters -= len(dropped)
        return found


def _as_query(node: OperationDefinitionNode) -> OperationDefinitionNode:
    return OperationDefinitionNode(
        operation=OperationType.QUERY,
        name=node.name,
        variable_definitions=node.variable_definitions,
        directives=node.directives,
        selection_set=node.selection_set,
    )


def _again(error: GraphQLError) -> GraphQLError:
    """Return an error to raise for one that is kept: raised itself, it would keep a request's frames."""
    if isinstance(error, RequestError):
        return limit_error(error.message)
    assert error.source is not None
    assert error.positions is not None
    return GraphQLSyntaxError(error.source, next(iter(error.positions)), error.message.removeprefix("Syntax Error: "))


def _key(given: Mapping[str, object], name: str) -> Hashable:
    value = given.get(name, ...)
    if isinstance(value, list):
        return ("list", len(value))
    return None if isinstance(value, dict) else (type(value), value)


def _bounded(error: GraphQLError) -> GraphQLError:
    """Tell what validation gave up on, unless it merely found enough errors."""
    if isinstance(error, ValidationAbortedError) and "Too many" not in error.message:
        return limit_error("the document names the same fields too often to be compared: name each once")
    return error
