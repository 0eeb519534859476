"""Strawberry's executor, which reads what is plain at once: no resolver call, path or check for awaitables a field.

Plain are attributes, what a function of the parent alone returns, and objects and lists of nothing else. They are read
in a loop, by readers that are made once an operation. A value that is not as its type says ends that: the executor
then completes the field as ever, and tells what is wrong and where.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLField,
    GraphQLID,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    is_abstract_type,
    is_enum_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Path, Undefined
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

Details = list[FieldDetails]
Read = Callable[[Any], Any]
"""Reads a value, or completes one; raises when that is not as it should be."""

_AS_THEY_ARE: Mapping[Any, type] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool}
"""Scalars, and the type whose values are written as they are."""


class _NotPlainError(Exception):
    """What is selected needs resolvers, or a value is not as it should be."""


class PlainExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes an operation, but for the root fields that its context has answers for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answered: Mapping[str, Any] = self.context_value.answered
        # Extensions that resolve are to see every field.
        self._is_watched = bool(self.middleware_manager and self.middleware_manager.middlewares)
        self._readers: dict[tuple[GraphQLObjectType, int], Read | None] = {}

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Details, path: Path, *further: Any
    ) -> Any:
        """Read what is plain, and leave the rest to Strawberry."""
        if path.prev is None and path.key in self._answered:
            return self._answered[str(path.key)]
        read = self._reader(parent_type, field_details_list)
        if read is not None:
            try:
                return read(source)
            except _NotPlainError:
                self._readers[parent_type, id(field_details_list)] = None
            except Exception:  # noqa: BLE001 - whatever it was, it comes again below, where it is told
                pass
        return super().execute_field(parent_type, source, field_details_list, path, *further)

    def _reader(self, parent: GraphQLObjectType, details: Details) -> Read | None:
        key = (parent, id(details))
        if key not in self._readers:
            try:
                self._readers[key] = None if self._is_watched else self._make_reader(parent, details)
            except _NotPlainError:
                self._readers[key] = None
        return self._readers[key]

    def _make_reader(self, parent: GraphQLObjectType, details: Details) -> Read:
        name = details[0].node.name.value
        if name == "__typename":
            return lambda _: parent.name
        definition = parent.fields.get(name)
        own = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF) if definition else None
        if definition is None or not isinstance(own, StrawberryField):
            raise _NotPlainError
        get, complete = _getter(definition, own), self._completer(definition.type, details)
        named = definition.type.of_type if is_non_null_type(definition.type) else definition.type
        plain = int if getattr(named, "coerce_output_value", None) is int else _AS_THEY_ARE.get(named)
        if plain is None:
            return lambda source: complete(get(source))

        def read(source: Any) -> Any:
            value = get(source)
            return value if type(value) is plain else complete(value)

        return read

    def _completer(self, kind: GraphQLOutputType, details: Details) -> Read:
        if is_non_null_type(kind):
            return _required(self._nullable(kind.of_type, details))
        complete = self._nullable(kind, details)
        return lambda value: None if value is None else complete(value)

    def _nullable(self, kind: Any, details: Details) -> Read:
        """Make what completes a value that is not null."""
        if is_list_type(kind):
            complete = self._completer(kind.of_type, details)
            return lambda value: [complete(one) for one in _a_list(value)]
        if is_leaf_type(kind):
            return _leaf(kind)
        return self._abstract(kind, details) if is_abstract_type(kind) else self._object(kind, details)

    def _abstract(self, kind: Any, details: Details) -> Read:
        resolve, readers = kind.resolve_type, dict[str, Read]()

        def complete(value: Any) -> Any:
            name = resolve(value, None, kind)
            if name not in readers:
                readers[name] = self._object(self.schema.type_map[name], details)
            return readers[name](value)

        return complete

    def _object(self, kind: Any, details: Details) -> Read:
        fields = self.collect_subfields(kind, details).grouped_field_set
        readers = [(key, self._make_reader(kind, group)) for key, group in fields.items()]
        is_type_of = kind.is_type_of

        def complete(value: Any) -> dict[str, Any]:
            if is_type_of is not None and is_type_of(value, None) is not True:
                raise _NotPlainError
            return {key: read(value) for key, read in readers}

        return complete


def _getter(definition: GraphQLField, own: StrawberryField) -> Read:
    """Return what takes a field's value from its parent, when that is all that is needed for it."""
    if definition.args or own.extensions or own.permission_classes:
        raise _NotPlainError
    if own.base_resolver is None:
        return attrgetter(own.python_name)
    resolver = own.base_resolver
    if resolver.is_async or resolver.info_parameter or not resolver.parent_parameter:
        raise _NotPlainError
    return resolver.wrapped_func  # type: ignore[return-value]


def _a_list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise _NotPlainError
    return value


def _required(complete: Read) -> Read:
    def completed(value: Any) -> Any:
        if value is None:
            raise _NotPlainError
        return complete(value)

    return completed


def _leaf(kind: GraphQLLeafType) -> Read:
    if is_enum_type(kind):
        return _enum(kind)
    coerce = kind.coerce_output_value

    def complete(value: Any) -> Any:
        coerced = coerce(value)
        if coerced is None or coerced is Undefined:
            raise _NotPlainError
        return coerced

    return complete


def _enum(kind: Any) -> Read:
    known: dict[Any, Any] = {}

    def complete(value: Any) -> Any:
        if value not in known:
            known[value] = kind.coerce_output_value(value)
        return known[value]

    return complete
