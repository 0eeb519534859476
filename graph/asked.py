"""What a request asks for, read from its body or its URL: https://graphql.github.io/graphql-over-http/draft/."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from graphql import GraphQLError
from graphql.utilities import strip_ignored_characters
from starlette.exceptions import HTTPException
from strawberry.http.parse_content_type import parse_content_type

from graph.admission import CostAsked
from graph.cache import digest
from graph.documents import MAX_DOCUMENT_LENGTH, SHA256_PREFIX

JSON = "application/json"
EXAMPLE = '{"query": "{ dataVersion { version } }"}'
PERSISTED_VERSION = 1


class Asked(NamedTuple):
    """A request: the document's text or name, what to execute with it, and what to tell beside the answer."""

    query: str | None
    document_name: str | None
    variables: dict[str, Any] | None
    operation_name: str | None
    tells_cache: bool
    cost: CostAsked

    @property
    def tells(self) -> bool:
        """Tell whether the answer is to say something of itself."""
        return self.tells_cache or self.cost is not CostAsked.NOTHING

    def key(self, operation: bytes) -> str | None:
        """Return what tells this request from all others, from the key of its operation; None for an odd one."""
        try:
            variables = orjson.dumps(self.variables or {}, option=orjson.OPT_SORT_KEYS)
        except TypeError:
            # Executing the operation meets the same trouble, and tells it.
            return None
        # All keys of operations are of one length.
        return hashlib.blake2b(operation + variables, digest_size=20).hexdigest()


def key_of(schema: bytes, query: str, name: str | None) -> bytes | None:
    """Return what tells an operation from all others, however its document is laid out; None for an odd one."""
    normalised = normalise(query)
    return None if normalised is None else digest(schema, normalised, (name or "").encode("utf-8", "surrogatepass"))


def normalise(query: str) -> bytes | None:
    """Return a document without comments and blanks, None when it is too long or none."""
    if len(query) > MAX_DOCUMENT_LENGTH:
        return None
    try:
        return strip_ignored_characters(query).encode()
    except (GraphQLError, UnicodeEncodeError):
        return None


def read_body(content_type: str, body: bytes) -> Asked:
    """Read the body of a POST; raises HTTPException."""
    if content_type != JSON:
        _check_media_type(content_type)
    data = _read_json(body)
    if not isinstance(data, dict):
        raise HTTPException(400, 'the body must be a JSON object: {"query": "…", "variables": {…}}')
    return read_members(data)


def read_url(query_string: bytes) -> Asked:
    """Read the parameters of a URL; raises HTTPException."""
    try:
        data: dict[str, Any] = dict(parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict"))
    except ValueError as error:
        raise HTTPException(400, "the URL's parameters are not UTF-8: percent-encode them") from error
    for name in ("variables", "extensions"):
        if name in data:
            data[name] = _read_json(data[name]) if data[name] else None
    return read_members(data)


def read_members(data: Mapping[str, Any]) -> Asked:
    """Read the members of a request; raises HTTPException."""
    query, variables = data.get("query"), data.get("variables")
    if type(query) is str and type(variables) is dict and len(data) == 2:
        # As nearly all requests are.
        return Asked(query, None, variables, None, False, CostAsked.NOTHING)
    extensions = _member(data, "extensions", dict, "an object") or {}
    return Asked(
        query=_member(data, "query", str, "a string"),
        document_name=_document_name(data, extensions),
        variables=_member(data, "variables", dict, "an object"),
        operation_name=_member(data, "operationName", str, "a string") or None,
        tells_cache=extensions.get("cache") is True,
        cost=_cost(extensions.get("cost", "")),
    )


def _cost(value: object) -> CostAsked:
    try:
        return CostAsked(value)
    except ValueError as error:
        raise HTTPException(400, f'extensions.cost is {str(value)[:40]!r}: give "report" or "dry-run"') from error


def _document_name(data: Mapping[str, Any], extensions: Mapping[str, Any]) -> str | None:
    name: str | None = _member(data, "documentId", str, "a string")
    if name is not None:
        return name.removeprefix(SHA256_PREFIX)
    persisted = extensions.get("persistedQuery")
    if persisted is None:
        return None
    sha256 = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(sha256, str) or persisted.get("version") != PERSISTED_VERSION:
        raise HTTPException(400, 'persistedQuery must be {"version": 1, "sha256Hash": "<64 hexadecimal digits>"}')
    return sha256.lower()


def _read_json(text: str | bytes) -> object:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise HTTPException(400, f"the request is not valid JSON in UTF-8: send an object such as {EXAMPLE}") from error


def _check_media_type(content_type: str) -> None:
    media_type, parameters = parse_content_type(content_type) if content_type.strip() else ("", {})
    if media_type.lower() != JSON or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise HTTPException(415, f"the body's Content-Type is {content_type[:60]!r}: send {JSON} in UTF-8")


def _member(data: Mapping[str, Any], name: str, kind: type, wanted: str) -> Any:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise HTTPException(400, f"{name} must be {wanted} or null, not {type(value).__name__}")
    return value
