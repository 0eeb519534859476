"""How an answer is sent: its media type, what caches may do with it, and whether it is compressed."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import msgspec
import orjson
from starlette.types import Scope, Send

from graph.answers import STATUSES, graphql_error
from graph.asked import JSON
from graph.cache import Kept, digest
from graph.errors import PASSING, RETRY_SECONDS, Code
from graph.packing import SMALLEST_BYTES, pack, quality_of, takes_gzip

GRAPHQL_JSON = "application/graphql-response+json"

METHODS = ("GET", "HEAD", "POST")
FRESH_SECONDS = 5
STALE_SECONDS = 30
"""How long caches on the way may give out an answer that stands with the data: without asking, and while asking."""

_CONTENT_TYPES = {one: f"{one}; charset=utf-8".encode() for one in (JSON, GRAPHQL_JSON)}
_VARY = (b"vary", b"accept, accept-encoding, authorization")
_GZIP = (b"content-encoding", b"gzip")
_ALLOW = (b"allow", ", ".join(METHODS).encode())
_NO_STORE = b"no-store"
_PRIVATE = b"private, no-cache"
_LASTING = f"public, max-age={FRESH_SECONDS}, stale-while-revalidate={STALE_SECONDS}".encode()

RETRY = [(b"retry-after", b"%d" % RETRY_SECONDS)]

Headers = list[tuple[bytes, bytes]]
Raws = dict[str, msgspec.Raw]


class Formed(NamedTuple):
    """An answer as it is sent."""

    status: int
    headers: Headers
    body: bytes


class Reply:
    """Sends the answer to a request in the form that its headers ask for; `more` are headers of every answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.media_type = accepted_media_type(self.headers.get(b"accept", b""))
        self.more: Headers = []
        self._send = send
        self._method: str = scope["method"]

    @property
    def is_for_caches(self) -> bool:
        """Tell whether caches on the way may keep the answer: they know only what is got."""
        return self._method != "POST"

    @property
    def is_for_a_person(self) -> bool:
        """Tell whether a browser opens the page, if the request has no document."""
        return self.is_for_caches and b"text/html" in self.headers.get(b"accept", b"")

    @property
    def is_conditional(self) -> bool:
        """Tell whether the client has an answer already, and asks whether it is right."""
        return b"if-none-match" in self.headers and self.is_for_caches

    def has(self, etag: bytes) -> bool:
        """Tell whether the answer that the client has is the one of an ETag."""
        return etag in self.headers.get(b"if-none-match", b"")

    def form_kept(self, kept: Kept, key: str) -> Formed:
        """Form an answer that is kept for a request's key."""
        if not self.is_for_caches:
            return self._form(200, kept.body, kept.packed, [])
        etag = _etag_of_kept(kept, key)
        if self.is_conditional and self.has(etag):
            return self.form_unchanged(etag)
        return self._form(200, kept.body, kept.packed, self._caching(etag, kept))

    def form_unchanged(self, etag: bytes) -> Formed:
        """Form what tells that the client has the answer."""
        headers = [*self.more, _VARY, (b"etag", etag), (b"cache-control", self._private or _LASTING)]
        return Formed(304, headers, b"")

    def form_once(self, body: bytes, was_executed: bool, outcome: str) -> Formed:
        """Form an answer that is good for this request alone; see `Answer`."""
        if not was_executed and outcome in PASSING:
            return self._form_once(STATUSES[Code(outcome)], body, RETRY)
        status = 200
        # Only for GraphQL's own media type: clients of plain JSON look for errors in the body.
        if not was_executed and self.media_type == GRAPHQL_JSON:
            status = STATUSES[Code.FORBIDDEN] if outcome == Code.FORBIDDEN else 400
        return self._form_once(status, body)

    async def refuse(self, message: str, code: Code, status: int) -> None:
        """Send an error."""
        await self.send(self.form_refusal(message, code, status))

    def form_refusal(self, message: str, code: Code, status: int) -> Formed:
        """Form an error."""
        headers = RETRY if code in PASSING else [_ALLOW] if status == 405 else []
        return self._form_once(status, orjson.dumps(graphql_error(message, code)), headers)

    def _form_once(self, status: int, body: bytes, headers: Headers | None = None) -> Formed:
        caching = [(b"cache-control", _NO_STORE)] if self.is_for_caches else []
        return self._form(status, body, lambda: pack(body), [*(headers or ()), *caching])

    @property
    def _private(self) -> bytes | None:
        return _PRIVATE if b"authorization" in self.headers else None

    def _caching(self, etag: bytes, kept: Kept) -> Headers:
        control = _LASTING if kept.is_lasting else b"public, max-age=%d" % kept.ttl_seconds
        return [(b"etag", etag), (b"cache-control", self._private or control)]

    def _form(self, status: int, body: bytes, packed: Callable[[], bytes], headers: Headers) -> Formed:
        sent = [(b"content-type", _CONTENT_TYPES[self.media_type]), _VARY, *self.more, *headers]
        if len(body) >= SMALLEST_BYTES and takes_gzip(self.headers.get(b"accept-encoding", b"")):
            body = packed()
            sent.append(_GZIP)
        sent.append((b"content-length", b"%d" % len(body)))
        return Formed(status, sent, b"" if self._method == "HEAD" else body)

    async def send(self, formed: Formed) -> None:
        """Send an answer that was formed."""
        await self._send({"type": "http.response.start", "status": formed.status, "headers": formed.headers})
        await self._send({"type": "http.response.body", "body": formed.body})


def _etag_of_kept(kept: Kept, key: str) -> bytes:
    return etag_of(key, kept.version) if kept.is_lasting else _etag(kept.body)


def etag_of(key: str, version: str) -> bytes:
    """Return the ETag of a lasting answer, which its request and the data version tell before it is there."""
    return _etag(key.encode(), version.encode())


def _etag(*parts: bytes) -> bytes:
    # Weak: it is the same for the compressed body, and for both media types.
    return b'W/"%b"' % digest(*parts).hex().encode()


def with_extension(body: bytes, name: str, value: object) -> bytes:
    """Return a response with a further extension; all else stays as it was written."""
    response = msgspec.json.decode(body, type=Raws)
    extensions = msgspec.json.decode(response.get("extensions", b"{}"), type=Raws)
    extensions[name] = msgspec.Raw(orjson.dumps(value))
    response["extensions"] = msgspec.Raw(msgspec.json.encode(extensions))
    return msgspec.json.encode(response)


@lru_cache(maxsize=256)
def accepted_media_type(accept: bytes) -> str:
    """Return the one of GraphQL's two media types that an Accept header prefers; JSON when it names none."""
    best, best_quality = JSON, 0.0
    for part in accept.decode("latin-1").split(","):
        name, _, parameters = part.partition(";")
        quality = quality_of(parameters)
        if name.strip().lower() in (JSON, GRAPHQL_JSON) and quality > best_quality:
            best, best_quality = name.strip().lower(), quality
    return best
