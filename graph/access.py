"""Who may ask for what: roles are declared beside the fields, and checked before anything of an operation runs."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    parse,
    separate_operations,
    visit,
)
from strawberry.schema_directive import Location
from strawberry.types.field import StrawberryField

from graph.compiled.mapping import own_field
from graph.errors import Code, RequestError
from graph.scalars import described

INTROSPECTION = ("__schema", "__type")


class Role(IntEnum):
    """What a caller is; each may do what those before it may."""

    READER = 1
    ANALYST = 2
    OPERATOR = 3
    ADMIN = 4


described(
    Role,
    "Role",
    "Whom a field is for; each role may do what those before it may. It counts where callers are told apart.",
    {
        "READER": "Anyone, also without a token.",
        "ANALYST": "Those who look into rows as their sources gave them.",
        "OPERATOR": "Those who keep the atlas running: they see how runs were made, and what failed in them.",
        "ADMIN": "Those who may do everything.",
    },
)


@strawberry.schema_directive(
    name="needs",
    locations=[Location.FIELD_DEFINITION],
    description="The role that a caller must have for an operation with this field, where callers are told apart.",
)
class Needs:
    """The declaration that `needs` puts on a field."""

    role: Role = strawberry.directive_field(name="role")


def needs(role: Role, field: Any) -> Any:
    """Declare that a field is for callers of a role and above: `error: str = needs(Role.OPERATOR, field(…))`."""
    assert isinstance(field, StrawberryField)
    field.directives = [*field.directives, Needs(role=role)]
    return field


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; `subject` is None for anyone without a token, which holds until `expires_at`, in seconds since 1970."""

    subject: str | None
    role: Role
    may_introspect: bool = True
    expires_at: float = math.inf

    def told(self) -> dict[str, str | None]:
        """Return what logs tell of the caller."""
        return {"subject": self.subject, "role": self.role.name.lower()}


ANONYMOUS = Caller(None, Role.READER)
"""Who has no token where callers are told apart."""

ANYONE = Caller(None, Role.OPERATOR)
"""Whoever calls where callers are not told apart."""


class Permissions:
    """The roles that a schema's fields need."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._roles = dict(_declared_roles(schema))
        self._highest = max(self._roles.values(), default=Role.READER)
        names = sorted({field for _, field in self._roles} | set(INTROSPECTION))
        # GraphQL's names are plain ASCII without escapes: a document that holds none of these asks for no such field.
        self._hint = re.compile(rf"\b(?:{'|'.join(names)})\b", re.ASCII)

    def allow(self, caller: Caller, type_name: str, field: str) -> bool:
        """Tell whether a caller may see a field."""
        return caller.role >= self._roles.get((type_name, field), Role.READER)

    def check(self, caller: Caller, query: str, operation_name: str | None) -> None:
        """Raise a RequestError when an operation asks for more than its caller may."""
        is_free = caller.may_introspect and caller.role >= self._highest
        if is_free or not self._hint.search(query):
            return
        for type_name, field in self._fields(query, operation_name):
            if field in INTROSPECTION and not caller.may_introspect:
                raise RequestError(Code.FORBIDDEN, f"{field}: reading the schema is switched off here")
            if not self.allow(caller, type_name, field):
                raise forbidden(caller, f"{type_name}.{field}", self._roles[type_name, field])

    def _fields(self, query: str, operation_name: str | None) -> Iterable[tuple[str, str]]:
        """Return what an operation asks for, also what it skips in the end."""
        try:
            operation = _operation_of(parse(query, no_location=True), operation_name)
            info = TypeInfo(self._schema)
            asked = _Asked(info)
            visit(operation, TypeInfoVisitor(info, asked))
        except GraphQLError:
            # The executor tells what is wrong with it.
            return ()
        except RecursionError:
            raise RequestError(Code.LIMIT, "the document is nested too deeply: ask in several requests") from None
        return asked.fields


class _Asked(Visitor):
    """Collects the fields of a document, each with the type that has it."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self._info = info
        self.fields: dict[tuple[str, str], None] = {}

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        """Note a field."""
        parent = self._info.get_parent_type()
        if parent is not None:
            self.fields[parent.name, node.name.value] = None


def forbidden(caller: Caller, what: str, role: Role) -> RequestError:
    """Make the error of a caller whose role is too low."""
    fix = "send a bearer token with it" if caller.subject is None else f"yours is {caller.role.name.lower()}"
    return RequestError(Code.FORBIDDEN, f"{what} needs the role {role.name.lower()}: {fix}")


def _operation_of(document: DocumentNode, name: str | None) -> DocumentNode:
    """Return the operation that is meant with its fragments; the whole document when that is not clear."""
    operations = separate_operations(document)
    if name is None and len(operations) == 1:
        return next(iter(operations.values()))
    return operations.get(name or "", document)


def _declared_roles(schema: GraphQLSchema) -> Iterator[tuple[tuple[str, str], Role]]:
    for kind in schema.type_map.values():
        if not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            continue
        owners = [kind]
        if isinstance(kind, GraphQLInterfaceType):
            # Who asks through an interface gets the fields of what implements it.
            owners += schema.get_possible_types(kind)
        for name in kind.fields:
            role = max((_declared_role(owner, name) for owner in owners), default=Role.READER)
            if role > Role.READER:
                yield (kind.name, name), role


def _declared_role(owner: GraphQLObjectType | GraphQLInterfaceType, name: str) -> Role:
    own = own_field(owner.fields[name])
    directives = () if own is None else own.directives
    return max((one.role for one in directives if isinstance(one, Needs)), default=Role.READER)
