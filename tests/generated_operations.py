"""Random operations over the schema, valid as documents; their arguments are good, at the edge, or bad."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from graph.pagination import encode_cursor

MAX_DEPTH = 6
LEFT_OUT = object()

Random = random.Random

_VALUES: dict[str, list[Any]] = {
    "JSON": [0, 3, 1.5, "Rome", "er", "t1", True, [], ["a"], ["t1"], {"city": "Rome"}, {"a": []}],
    "Float": [0.5, 1.5, 2.5, -1.0, 1e300, 500.0],
    "DateTime": [
        *(f"2024-01-0{day}T00:00:00{rest}" for day in range(1, 9) for rest in ("", "Z", ".000001+00:00")),
        "2010-05-01T08:30:00+02:00",
    ],
}


@dataclass(slots=True)
class Material:
    """What arguments are made of: keys, names and places in lists that the data has, by order or field."""

    keys: Sequence[str]
    names: Sequence[str]
    positions: Mapping[str, Sequence[tuple[Any, ...]]]
    roots: Sequence[str]
    sources: Sequence[str] = ()
    titles: Sequence[str] = ()


@dataclass(slots=True)
class Operation:
    """A document with its variables, and other variables to give it then."""

    document: str
    variables: dict[str, Any]
    others: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Written:
    """What was declared so far: variables by name with their type, default and what draws a value; fragments."""

    variables: dict[str, tuple[str, str | None, Callable[[], Any]]] = field(default_factory=dict)
    fragments: dict[str, str] = field(default_factory=dict)
    used: int = 0


class Generator:
    """Writes operations."""

    def __init__(self, schema: GraphQLSchema, material: Material) -> None:
        self._schema = schema
        self._material = material

    def operation(self, chance: Random) -> Operation:
        """Write one."""
        written = _Written()
        query = self._schema.query_type
        assert query is not None
        names = [chance.choice(self._material.roots) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
        fields = [
            self._field(chance, written, query, name, 1, alias=f"root{n}" if n else None)
            for n, name in enumerate(names)
        ]
        declared = ", ".join(
            f"${name}: {kind}" + ("" if default is None else f" = {default}")
            for name, (kind, default, _) in written.variables.items()
        )
        head = f"query Generated({declared})" if declared else "query Generated"
        document = "\n".join([f"{head} {{ {' '.join(fields)} }}", *written.fragments.values()])
        drawn = [
            {name: value for name, (_, _, draw) in written.variables.items() if (value := draw()) is not LEFT_OUT}
            for _ in range(3 if written.variables else 1)
        ]
        return Operation(document, drawn[0], drawn[1:])

    def _field(
        self, chance: Random, written: _Written, parent: Any, name: str, depth: int, alias: str | None = None
    ) -> str:
        definition = parent.fields[name]
        arguments = self._arguments(chance, written, name, definition)
        text = f"{alias}: {name}" if alias else name
        text += f"({', '.join(arguments)})" if arguments else ""
        text += self._directive(chance, written)
        kind = get_named_type(definition.type)
        if is_leaf_type(kind):
            return text
        selection = self._selection(chance, written, kind, depth + 1)
        if chance.random() < 0.05:
            # The same field again, to be merged; its arguments must be the same.
            return f"{text} {{ {selection} }} {text} {{ {self._selection(chance, written, kind, depth + 1)} }}"
        return f"{text} {{ {selection} }}"

    def _selection(self, chance: Random, written: _Written, kind: Any, depth: int) -> str:
        parts = []
        for _ in range(chance.choice([1, 2, 2, 3, 4])):
            written.used += 1
            roll = chance.random()
            if roll < 0.08:
                parts.append(chance.choice(["__typename", f"kind{written.used}: __typename"]))
            elif roll < 0.2 and depth < MAX_DEPTH:
                parts.append(self._fragment(chance, written, kind, depth))
            elif names := self._names(kind, depth, written):
                # An alias of its own, mostly, since two fields of one key must be the same.
                alias = None if chance.random() < 0.02 else f"{chance.choice('abcdefgh')}{written.used}"
                name = chance.choice(names)
                if alias is None and (
                    kind.fields[name].args or not is_leaf_type(get_named_type(kind.fields[name].type))
                ):
                    alias = f"z{written.used}"
                parts.append(self._field(chance, written, kind, name, depth, alias))
        return " ".join(parts) or "__typename"

    def _names(self, kind: Any, depth: int, written: _Written) -> list[str]:
        is_small = depth < MAX_DEPTH and written.used < 25
        return [name for name, one in kind.fields.items() if is_leaf_type(get_named_type(one.type)) or is_small]

    def _fragment(self, chance: Random, written: _Written, kind: Any, depth: int) -> str:
        on = kind
        if isinstance(kind, GraphQLInterfaceType):
            on = chance.choice([kind, *self._schema.get_possible_types(kind)])
        elif isinstance(kind, GraphQLObjectType) and kind.interfaces and chance.random() < 0.5:
            on = chance.choice(kind.interfaces)
        selection = self._selection(chance, written, on, depth + 1)
        directive = self._directive(chance, written)
        if chance.random() < 0.5:
            return f"...{'' if on is kind and chance.random() < 0.3 else f' on {on.name}'}{directive} {{ {selection} }}"
        name = f"F{len(written.fragments)}"
        written.fragments[name] = f"fragment {name} on {on.name} {{ {selection} }}"
        return f"...{name}{directive}"

    def _directive(self, chance: Random, written: _Written) -> str:
        if chance.random() > 0.06:
            return ""
        value = chance.random() < 0.5
        text = str(value).lower()
        if chance.random() < 0.7:
            default = "true" if chance.random() < 0.3 else None
            text = self._variable(chance, written, "Boolean!", default, lambda: chance.random() < 0.5)
        return f" @{chance.choice(['include', 'skip'])}(if: {text})"

    def _variable(
        self, chance: Random, written: _Written, kind: str, default: str | None, draw: Callable[[], Any]
    ) -> str:
        name = f"v{len(written.variables)}"
        may_miss = default is not None
        written.variables[name] = (kind, default, lambda: LEFT_OUT if may_miss and chance.random() < 0.4 else draw())
        return f"${name}"

    def _arguments(self, chance: Random, written: _Written, field_name: str, definition: GraphQLField) -> list[str]:
        found = []
        order = self._order(chance, field_name)
        for name, argument in definition.args.items():
            if not is_required_argument(argument) and chance.random() < 0.5 and name != "orderBy":
                continue
            if name in ("last", "before") and chance.random() < 0.6:
                continue
            draw = partial(self._value, chance, name, argument.type, order)
            found.append(f"{name}: {self._passed(chance, written, argument, draw)}")
        return found

    def _order(self, chance: Random, field_name: str) -> str:
        """Choose the list that cursors are of."""
        if field_name not in ("entities", "data"):
            return "INFLUENCES"
        orders = [name for name in self._material.positions if name != "INFLUENCES"]
        return chance.choice([name for name in orders if name.startswith("RECORD") == (field_name == "data")])

    def _passed(self, chance: Random, written: _Written, argument: GraphQLArgument, draw: Callable[[], Any]) -> str:
        """Write a value where it stands, or as a variable."""
        literal = _literal(draw(), argument.type)
        roll = chance.random()
        if roll < 0.5:
            return literal
        kind = argument.type
        if isinstance(kind, GraphQLNonNull):
            if argument.default is not None and roll < 0.6:
                # A nullable variable may stand for an argument that has a default.
                missing = partial(_one_of, chance, [LEFT_OUT, LEFT_OUT, None], draw)
                return self._variable(chance, written, str(kind.of_type), None, missing)
            return self._variable(chance, written, str(kind), literal if roll < 0.7 else None, draw)
        optional = partial(_one_of, chance, [None, LEFT_OUT], draw)
        return self._variable(chance, written, str(kind), literal if roll < 0.6 else None, optional)

    def _value(self, chance: Random, name: str, kind: Any, order: str) -> Any:
        if isinstance(kind, GraphQLNonNull):
            return self._value(chance, name, kind.of_type, order)
        if isinstance(kind, GraphQLList):
            count = 2 if name == "yearRange" else chance.choice([0, 1, 1, 2, 3])
            values = [self._value(chance, name, kind.of_type, order) for _ in range(count)]
            return sorted(values) if name == "yearRange" else values
        if name == "orderBy":
            return order.removeprefix("RECORD_")
        if isinstance(kind, GraphQLEnumType):
            return chance.choice(list(kind.values))
        if isinstance(kind, GraphQLInputObjectType):
            return self._object(chance, kind, order)
        return self._scalar(chance, name, kind.name, order)

    def _object(self, chance: Random, kind: GraphQLInputObjectType, order: str) -> dict[str, Any]:
        if kind.name == "YearRange":
            first = chance.randrange(-700, 2000)
            return {"from": first, "to": first + chance.choice([0, 10, 100, 500, -1])}
        share = 0.5 if kind.name != "RecordFilter" and "Entity" not in kind.name else 0.2
        chosen = [name for name, one in kind.fields.items() if chance.random() < share or is_required_input_field(one)]
        return {name: self._value(chance, name, kind.fields[name].type, order) for name in chosen}

    def _scalar(self, chance: Random, name: str, kind: str, order: str) -> Any:
        if kind == "ID":
            return (
                chance.choice(self._material.keys or ["Q1"]) if chance.random() < 0.95 else chance.choice(["Q999", "x"])
            )
        if kind == "Boolean":
            return chance.random() < 0.5
        if kind in _VALUES:
            return chance.choice(_VALUES[kind])
        if name in ("after", "before"):
            if chance.random() < 0.05 or not self._material.positions[order]:
                return chance.choice(["", "x", encode_cursor("NAME_ASC", ("a", 1))])
            return encode_cursor(order, chance.choice(self._material.positions[order]))
        if name == "maxDepth":
            return chance.choice([0, 1, 2, 3, 8, 33])
        if name in ("first", "last"):
            return chance.choice([0, 1, 2, 3, 5, 20, 100, 100, 101])
        if kind in ("Int", "Year"):
            return chance.choice([-500, -384, 0, 1, 65, 1600, 1844, 1900, 2026])
        return self._text(chance, name)

    def _text(self, chance: Random, name: str) -> str:
        if name == "path":
            return chance.choice(
                ["n", "address.city", "address", "tags", "tags.0", "null", "a\\.b", "size.width", "x..y"]
            )
        if name == "source":
            return chance.choice([*self._material.sources, "none"])
        if name in ("eq", "in", "contains", "startsWith", "search"):
            found = chance.choice([*self._material.titles, "Number 1.", "00", "%"])
            return found[: chance.randrange(1, 9)] if chance.random() < 0.6 else found
        if name == "language":
            return chance.choice(["en", "de", "ja", "xx", 'a"\\b'])
        if name in ("nameStartsWith", "query"):
            found = chance.choice(self._material.names or ["a"])
            return found[: chance.randrange(1, 4)] if chance.random() < 0.8 else chance.choice(["%", "_a", "\\", "É"])
        return chance.choice(["philosophy", "Philosophy", "logic", "mathematics", "sample", "wikidata", "it's"])


def _one_of(chance: Random, instead: Sequence[Any], draw: Callable[[], Any]) -> Any:
    return chance.choice(instead) if chance.random() < 0.4 else draw()


def _literal(value: Any, kind: Any) -> str:
    """Write a value as it stands in a document."""
    if isinstance(kind, GraphQLNonNull):
        return _literal(value, kind.of_type)
    if value is None:
        return "null"
    if str(kind) == "JSON":
        return _json_literal(value)
    if isinstance(kind, GraphQLList):
        return f"[{', '.join(_literal(one, kind.of_type) for one in value)}]"
    if isinstance(kind, GraphQLInputObjectType):
        parts = (f"{name}: {_literal(one, kind.fields[name].type)}" for name, one in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(kind, GraphQLEnumType) or isinstance(value, int | float):
        return str(value)
    assert isinstance(value, str)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json_literal(value: Any) -> str:
    """Write JSON as a value of the scalar JSON, whose names have no quotes."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_json_literal(one)}' for name, one in value.items())}}}"
    return f"[{', '.join(map(_json_literal, value))}]" if isinstance(value, list) else json.dumps(value)
