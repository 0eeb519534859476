"""From a request's variables to a statement's shape and parameters, without looking at the document again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLSchema,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    is_non_null_type,
    type_from_ast,
    visit,
)
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.field import StrawberryField
from strawberry.types.unset import UNSET

from db.errors import AtlasError
from graph.compiled.mapping import NotCompilableError, Read

Convert = Callable[[object, StrawberryArgument], object]


def _is_int(value: object) -> bool:
    return type(value) is int and -(2**31) <= value < 2**31


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_truth(value: object) -> bool:
    return type(value) is bool


_AS_THEY_ARE: dict[str, Callable[[object], bool]] = {
    "Int": _is_int,
    "String": _is_text,
    "ID": _is_text,
    "Boolean": _is_truth,
}
"""Scalars, and the values of them that coercion leaves as they are."""


class Variables:
    """Coerces the variables of an operation: by a look at their types where that is enough."""

    def __init__(self, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode]) -> None:
        self._schema = schema
        self._definitions = definitions
        self._checks: list[tuple[str, Callable[[object], bool] | None, bool, Mapping[str, Any] | None]] = []
        for node in definitions:
            name, kind = node.variable.name.value, type_from_ast(schema, node.type)
            is_required = is_non_null_type(kind)
            named = kind.of_type if is_non_null_type(kind) else kind
            left_out = get_variable_values(schema, [node], {})
            absent = left_out.coerced if isinstance(left_out, VariableValues) else None
            self._checks.append((name, _AS_THEY_ARE.get(str(named)), is_required, absent))

    def coerce(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values by name; raises NotCompilableError when a value is no good."""
        coerced: dict[str, Any] = {}
        for name, is_right, is_required, absent in self._checks:
            if name not in given:
                if absent is None:
                    raise NotCompilableError(f"${name} is missing")
                coerced.update(absent)
                continue
            value = given[name]
            if (value is None and not is_required) or (is_right is not None and is_right(value)):
                coerced[name] = value
            else:
                return self._coerce_all(given)
        return coerced

    def _coerce_all(self, given: Mapping[str, Any]) -> dict[str, Any]:
        values = get_variable_values(self._schema, self._definitions, dict(given))
        if isinstance(values, VariableValues):
            return dict(values.coerced)
        raise NotCompilableError("a variable is no good")


@dataclass(frozen=True, slots=True)
class _Source:
    """Where an argument's value comes from: a variable, else what stands in the document or is the default."""

    name: str
    variable: str | None
    constant: object
    is_required: bool
    convert: Callable[[object], object] | None


class Arguments:
    """Makes the request of a field that stands in a document."""

    def __init__(self, definition: GraphQLField, node: FieldNode, field: StrawberryField, read: Read) -> None:
        self._definition, self._node, self._field, self._read = definition, node, field, read
        self._nodes = {argument.name.value: argument.value for argument in node.arguments or ()}
        self._has_nested = any(_has_variable_inside(value) for value in self._nodes.values())
        self.is_constant = not any(True for value in self._nodes.values() for _ in variables_in(value))

    def prepare(self, config: StrawberryConfig, registry: Any) -> Callable[[Mapping[str, Any]], Any]:
        """Return what makes the request of coerced variables."""

        def convert(value: object, argument: StrawberryArgument) -> object:
            return convert_argument(value, argument.type, registry, config)

        names = {config.name_converter.from_argument(argument): argument for argument in self._field.arguments}

        def from_all(values: Mapping[str, Any]) -> Any:
            given = get_argument_values(self._definition, self._node, VariableValues({}, dict(values)))
            defaults = {argument.python_name: argument.default for argument in names.values()}
            found = {names[name].python_name: convert(value, names[name]) for name, value in given.items()}
            return self._read(**defaults | found)

        if self.is_constant:
            request = request_of(from_all, {})
            return lambda _: request
        if self._has_nested:
            return from_all
        sources = [self._source(name, argument, convert) for name, argument in names.items()]
        return lambda values: self._read(**_values(sources, values))

    def _source(self, name: str, argument: StrawberryArgument, convert: Convert) -> _Source:
        definition, node = self._definition.args[name], self._nodes.get(name)
        variable = node.name.value if isinstance(node, VariableNode) else None
        # Without its variable, the argument has its default; a literal is read as the executor does.
        nodes = [] if variable else [one for one in self._node.arguments or () if one.name.value == name]
        alone = GraphQLField(self._definition.type, args={name: definition})
        if variable and is_non_null_type(definition.type) and definition.default is None:
            constant: object = UNSET
        else:
            given = get_argument_values(alone, FieldNode(name=self._node.name, arguments=tuple(nodes)), None)
            constant = convert(given[name], argument) if name in given else argument.default
        return _Source(
            argument.python_name,
            variable,
            constant,
            is_non_null_type(definition.type),
            None if _is_plain(definition.type) else lambda value: convert(value, argument),
        )


def _values(sources: Sequence[_Source], variables: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in sources:
        if source.variable is None or source.variable not in variables:
            if source.constant is UNSET and source.is_required:
                raise NotCompilableError(f"{source.name} is missing")
            found[source.name] = source.constant
            continue
        value = variables[source.variable]
        if value is None and source.is_required:
            raise NotCompilableError(f"{source.name} is null")
        found[source.name] = value if source.convert is None else source.convert(value)
    return found


def _is_plain(kind: Any) -> bool:
    return str(kind).rstrip("!") in _AS_THEY_ARE


class _VariableFinder(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.found.append(node.name.value)


def variables_in(node: Any) -> list[str]:
    """Return the names of the variables in a node."""
    finder = _VariableFinder()
    visit(node, finder)
    return finder.found


def _has_variable_inside(value: Any) -> bool:
    return not isinstance(value, VariableNode) and bool(variables_in(value))


def request_of(make: Callable[[Mapping[str, Any]], Any], variables: Mapping[str, Any]) -> Any:
    """Make a request; raises NotCompilableError for whatever the executor refuses."""
    try:
        return make(variables)
    except (GraphQLError, AtlasError, ValueError, TypeError) as error:
        raise NotCompilableError(str(error)) from error
