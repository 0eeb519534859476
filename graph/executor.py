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
    FieldNode,
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
    is_interface_type,
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
from graph.columns import wanted_by
from graph.compiled.mapping import ONCE, NotCompilableError, own_field
from graph.compiled.selection import deciding_variables
from graph.context import Context

MAX_KEPT = 512
"""Operations whose readers are kept, and selections of each that variables can choose."""

Details = list[FieldDetails]
Fields = dict[str, Details]
Get = Callable[[Any], Any]
Read = Callable[[Sequence[Any]], Sequence[Any]]
"""Reads a field of each of some parents, or completes values; raises when one of them is not as it should be."""
Reads = dict[tuple[Any, tuple[int, ...]], Read | None]
"""By the nodes of a field, and the type that it is read from or that its value has; None where it is not plain."""


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


class Kept(NamedTuple):
    """What is kept of an operation: its nodes, without which the readers' keys mean nothing, and their readers."""

    nodes: DocumentNode
    deciding: tuple[str, ...] | None
    """The variables that decide what it selects; None when something else does, too."""
    wanted: frozenset[str] | None
    """The columns that its fields read; None when all may be."""
    reads: Recent[tuple[Any, ...], Reads]

    @classmethod
    def of(cls, executor: "PlainExecutor") -> "Kept":
        """Look at the operation that is being executed."""
        nodes = DocumentNode(definitions=(executor.operation, *executor.fragment_definitions.values()))
        try:
            deciding = deciding_variables(nodes)
        except NotCompilableError:
            deciding = None
        return cls(nodes, deciding, wanted_by(executor.schema, nodes), Recent(MAX_KEPT))


class PlainExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes an operation, but for the root fields that its context has answers for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        context: Context = self.context_value
        self._answered = context.answered
        operations = self.schema.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].executed
        kept = operations.find(id(self.operation)) or operations.keep(id(self.operation), Kept.of(self))
        context.session.wanted = kept.wanted
        self._reads: Reads = {}
        if kept.deciding is not None:
            decided = tuple([self.variable_values.coerced.get(name) for name in kept.deciding])
            reads = kept.reads.find(decided)
            self._reads = kept.reads.keep(decided, {}) if reads is None else reads

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Details, path: Path, *further: Any
    ) -> Any:
        """Read what is plain, and leave the rest to Strawberry."""
        if path.prev is None:
            if path.key in self._answered:
                return self._answered[str(path.key)]
            self.context_value.session.reads_once = self._reads_once(parent_type, field_details_list)
        read = self._kept(parent_type, field_details_list, self._make_reader)
        if read is not None:
            try:
                return read((source,))[0]
            except Exception:  # noqa: BLE001 - whatever it was, it comes again below, where it is told
                pass
        return super().execute_field(parent_type, source, field_details_list, path, *further)

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: Details,
        info: Any,
        path: Path,
        result: Any,
        *rest: Any,
    ) -> Any:
        """Complete what a resolver returned at once, when nothing below it needs a resolver."""
        complete = self._kept(return_type, field_details_list, self._completer)
        if complete is not None:
            try:
                return complete((result,))[0]
            except Exception:  # noqa: BLE001 - see above
                pass
        return super().complete_value(return_type, field_details_list, info, path, result, *rest)

    def _reads_once(self, parent: GraphQLObjectType, details: Details) -> bool:
        """Tell whether a root field is alone and one statement reads all of it."""
        selected = self.operation.selection_set.selections
        own = own_field(parent.fields.get(details[0].node.name.value))
        if len(selected) > 1 or not isinstance(selected[0], FieldNode) or own is None or not own.metadata.get(ONCE):
            return False
        kind = parent.fields[details[0].node.name.value].type
        return self._kept(kind, details, self._completer) is not None

    def _kept(self, kind: Any, details: Details, make: Callable[[Any, Details], Read]) -> Read | None:
        """Return what reads a field of a type, or completes its value; None where it is not plain."""
        key = (kind, tuple([id(one.node) for one in details]))
        if key not in self._reads:
            try:
                self._reads[key] = make(kind, details)
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
        own = own_field(definition)
        if definition is None or own is None:
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
            complete, is_type_of = self._object(kind, self._fields(kind, details)), kind.is_type_of
            return complete if is_type_of is None else _checked(complete, is_type_of)
        by_type = {one: self._fields(one, details) for one in self.schema.get_possible_types(kind)}
        if _are_of_interface(kind, by_type):
            return self._object(kind, next(iter(by_type.values())))
        return _abstract(kind, {one.name: self._object(one, fields) for one, fields in by_type.items()})

    def _fields(self, kind: GraphQLObjectType, details: Details) -> Fields:
        return self.collect_subfields(kind, details).grouped_field_set

    def _object(self, kind: Any, fields: Fields) -> Read:
        keys, reads = list(fields), [self._make_reader(kind, group) for group in fields.values()]
        # All may be skipped.
        if not keys:
            return lambda values: [{} for _ in values]
        if len(keys) == 1:
            ((key,), (read,)) = keys, reads
            return lambda values: [{key: value} for value in read(values)]

        def complete(values: Sequence[Any]) -> list[Any]:
            columns = [read(values) for read in reads]
            return list(map(dict, map(zip, repeat(keys), zip(*columns, strict=True))))

        return complete


def _are_of_interface(kind: Any, by_type: Mapping[GraphQLObjectType, Fields]) -> bool:
    """Tell whether what is selected of every type are the fields of their interface, as that has them."""
    first, *others = by_type.values()
    if not is_interface_type(kind) or any(_nodes(first) != _nodes(other) for other in others):
        return False
    names = [group[0].node.name.value for group in first.values()]
    types: list[Any] = [kind, *by_type]
    own = [[_reading(one.fields.get(name)) for name in names] for one in types]
    return all(name in kind.fields for name in names) and all(one == own[0] for one in own)


def _nodes(fields: Fields) -> list[tuple[str, list[int]]]:
    return [(key, [id(one.node) for one in group]) for key, group in fields.items()]


def _reading(definition: GraphQLField | None) -> object:
    """Return what two fields have in common that are read alike."""
    own = own_field(definition)
    if definition is None or own is None:
        return None
    return str(definition.type), own.python_name, own.base_resolver and own.base_resolver.wrapped_func


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
        # Of edges, many have the same end.
        keys = list(map(id, values))
        distinct = dict(zip(keys, values, strict=True))
        if not all(map(is_type_of, distinct.values(), repeat(None))):
            raise _NotPlainError
        done = dict(zip(distinct, complete(list(distinct.values())), strict=True))
        return list(map(done.__getitem__, keys))

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
    if is_enum_type(kind):
        names = _Names(kind)
        return lambda values: list(map(names.__getitem__, values))
    coerce = kind.coerce_output_value

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
