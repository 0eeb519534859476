"""Strawberry's executor, which reads what is plain at once: no resolver call, path or check for awaitables a field.

Plain are attributes, what a function of the parent alone returns, and objects and lists of nothing else. They are read
by columns: a field of all objects of a list, then the next one, which leaves the loops to the interpreter's own code.
What reads them is kept for the operations of a document. A value that is not as its type says ends that: the executor
then completes the field as ever, and tells what is wrong and where.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice, repeat
from math import isfinite
from operator import attrgetter
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
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

from db.shapes import Recent
from graph.compiled.mapping import NotCompilableError
from graph.compiled.selection import deciding_variables

MAX_KEPT = 512
"""Documents whose readers are kept; as many selections of each as variables can choose."""

Details = list[FieldDetails]
Get = Callable[[Any], Any]
Read = Callable[[Sequence[Any]], Sequence[Any]]
"""Reads a field of each of some parents, or completes values; raises when one of them is not as it should be."""
Reads = dict[tuple[GraphQLObjectType, tuple[int, ...]], Read | None]
"""By the type and the nodes of a field; None where it is not plain."""


def _fits(values: Sequence[int]) -> bool:
    return min(values) >= -(2**31) and max(values) < 2**31


def _are_finite(values: Sequence[float]) -> bool:
    return all(map(isfinite, values))


_AS_THEY_ARE: Mapping[Any, tuple[type, Callable[[Any], bool] | None]] = {
    GraphQLString: (str, None),
    GraphQLID: (str, None),
    GraphQLBoolean: (bool, None),
    GraphQLInt: (int, _fits),
    GraphQLFloat: (float, _are_finite),
}
"""Scalars, the type whose values are written as they are, and which of them."""


class _NotPlainError(Exception):
    """What is selected needs resolvers, or a value is not as it should be."""


class _Document(NamedTuple):
    """The nodes of an operation, which must not go while their readers are kept, and what decides its selection."""

    nodes: DocumentNode
    deciding: tuple[str, ...]
    reads: Recent[tuple[Any, ...], Reads]


class KeptReads:
    """The readers of the operations that were executed last."""

    def __init__(self) -> None:
        self._documents: Recent[int, _Document] = Recent(MAX_KEPT)

    def of(self, executor: "PlainExecutor") -> Reads:
        """Return those of an operation and the variables that decide what it selects."""
        operation = executor.operation
        known = self._documents.find(id(operation))
        if known is None:
            nodes = DocumentNode(definitions=(operation, *executor.fragment_definitions.values()))
            try:
                known = _Document(nodes, deciding_variables(nodes), Recent(MAX_KEPT))
            except NotCompilableError:
                return {}
            self._documents.keep(id(operation), known)
        decided = tuple([executor.variable_values.coerced.get(name) for name in known.deciding])
        reads = known.reads.find(decided)
        return known.reads.keep(decided, {}) if reads is None else reads


class PlainExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes an operation, but for the root fields that its context has answers for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answered: Mapping[str, Any] = self.context_value.answered
        # Extensions that resolve are to see every field.
        self._is_watched = bool(self.middleware_manager and self.middleware_manager.middlewares)
        self._reads: Reads = self.schema.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].kept_reads.of(self)

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Details, path: Path, *further: Any
    ) -> Any:
        """Read what is plain, and leave the rest to Strawberry."""
        if path.prev is None and path.key in self._answered:
            return self._answered[str(path.key)]
        read = None if self._is_watched else self._reader(parent_type, field_details_list)
        if read is not None:
            try:
                return read((source,))[0]
            except Exception:  # noqa: BLE001 - whatever it was, it comes again below, where it is told
                pass
        return super().execute_field(parent_type, source, field_details_list, path, *further)

    def _reader(self, parent: GraphQLObjectType, details: Details) -> Read | None:
        key = (parent, tuple([id(one.node) for one in details]))
        if key not in self._reads:
            try:
                self._reads[key] = self._make_reader(parent, details)
            except _NotPlainError:
                self._reads[key] = None
        return self._reads[key]

    def _make_reader(self, parent: GraphQLObjectType, details: Details) -> Read:
        # What it returns is kept: it must hold nothing of this one operation.
        name = details[0].node.name.value
        if name == "__typename":
            type_name = parent.name
            return lambda sources: [type_name] * len(sources)
        definition = parent.fields.get(name)
        own = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF) if definition else None
        if definition is None or not isinstance(own, StrawberryField):
            raise _NotPlainError
        get, complete = _getter(definition, own), self._completer(definition.type, details)
        return lambda sources: complete(list(map(get, sources)))

    def _completer(self, kind: GraphQLOutputType, details: Details) -> Read:
        is_required = is_non_null_type(kind)
        named: Any = kind.of_type if is_non_null_type(kind) else kind
        if is_leaf_type(named):
            return _leaves(named, is_required)
        complete = self._composite(named, details)
        return _required(complete) if is_required else _optional(complete)

    def _composite(self, kind: Any, details: Details) -> Read:
        """Make what completes lists and objects, none of which is null."""
        if is_list_type(kind):
            return _lists(self._completer(kind.of_type, details))
        if not is_abstract_type(kind):
            complete, is_type_of = self._object(kind, details), kind.is_type_of
            return complete if is_type_of is None else _checked(complete, is_type_of)
        types = self.schema.get_possible_types(kind)
        return _abstract(kind, {one.name: self._object(one, details) for one in types})

    def _object(self, kind: Any, details: Details) -> Read:
        fields = self.collect_subfields(kind, details).grouped_field_set
        keys, reads = list(fields), [self._make_reader(kind, group) for group in fields.values()]

        # All may be skipped.
        if not keys:
            return lambda values: [{} for _ in values]

        def complete(values: Sequence[Any]) -> list[Any]:
            columns = [read(values) for read in reads]
            return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]

        return complete


def _getter(definition: GraphQLField, own: StrawberryField) -> Get:
    """Return what takes a field's value from its parent, when that is all that is needed for it."""
    if definition.args or own.extensions or own.permission_classes:
        raise _NotPlainError
    if own.base_resolver is None:
        return attrgetter(own.python_name)
    resolver = own.base_resolver
    if resolver.is_async or resolver.info_parameter or not resolver.parent_parameter:
        raise _NotPlainError
    return resolver.wrapped_func  # type: ignore[return-value]


def _required(complete: Read) -> Read:
    def completed(values: Sequence[Any]) -> Sequence[Any]:
        if None in values:
            raise _NotPlainError
        return complete(values)

    return completed


def _optional(complete: Read) -> Read:
    def completed(values: Sequence[Any]) -> Sequence[Any]:
        if None not in values:
            return complete(values)
        rest = iter(complete([value for value in values if value is not None]))
        return [None if value is None else next(rest) for value in values]

    return completed


def _lists(complete: Read) -> Read:
    def completed(lists: Sequence[Any]) -> Sequence[Any]:
        if not all(isinstance(one, list | tuple) for one in lists):
            raise _NotPlainError
        if len(lists) == 1:
            return [complete(lists[0])]
        entries = iter(complete(list(chain.from_iterable(lists))))
        return [list(islice(entries, len(one))) for one in lists]

    return completed


def _checked(complete: Read, is_type_of: Callable[[Any, Any], Any]) -> Read:
    def completed(values: Sequence[Any]) -> Sequence[Any]:
        if not all(map(is_type_of, values, repeat(None))):
            raise _NotPlainError
        return complete(values)

    return completed


def _abstract(kind: Any, by_name: Mapping[str, Read]) -> Read:
    resolve = kind.resolve_type

    def completed(values: Sequence[Any]) -> Sequence[Any]:
        names = [resolve(value, None, kind) for value in values]
        done = {
            name: iter(by_name[name]([value for value, own in zip(values, names, strict=True) if own == name]))
            for name in set(names)
        }
        return [next(done[name]) for name in names]

    return completed


def _leaves(kind: GraphQLLeafType, is_required: bool) -> Read:
    one_by_one = (_required if is_required else _optional)(_coerced(kind))
    plain, are_right = _AS_THEY_ARE.get(kind, (None, None))
    if getattr(kind, "coerce_output_value", None) is int:
        plain = int
    if plain is None:
        return one_by_one
    allowed = {plain} if is_required or are_right else {plain, type(None)}

    def completed(values: Sequence[Any]) -> Sequence[Any]:
        is_as_it_is = set(map(type, values)) <= allowed and (are_right is None or not values or are_right(values))
        return values if is_as_it_is else one_by_one(values)

    return completed


def _coerced(kind: GraphQLLeafType) -> Read:
    coerce: Get = _Names(kind).__getitem__ if is_enum_type(kind) else kind.coerce_output_value

    def completed(values: Sequence[Any]) -> Sequence[Any]:
        coerced = list(map(coerce, values))
        if any(one is None or one is Undefined for one in coerced):
            raise _NotPlainError
        return coerced

    return completed


class _Names(dict[Any, str]):
    """The names of an enum's values, those known that were met."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, value: Any) -> str:
        name: str = self._kind.coerce_output_value(value)
        self[value] = name
        return name
