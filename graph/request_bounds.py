"""The bounds of a request's head and body; that the head is no flood is for graph.http_protocol to see to."""

from collections.abc import Sequence
from itertools import chain

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.answers import refused_at
from graph.errors import Code
from graph.limits import MAX_BODY_BYTES, MAX_DIGITS, MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES

BODILESS = ("GET", "HEAD")
CONTENT_TOO_LARGE = 413
URI_TOO_LONG = 414
HEADERS_TOO_LARGE = 431


class _TooLargeError(Exception):
    """The body has grown beyond its bound."""


class RequestBounds:
    """Middleware that refuses requests beyond the bounds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, its body counted while it is read, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size, length = _measure(scope["headers"])
        if refused := _refused(scope, size, length):
            await _response(scope, *refused)(scope, receive, send)
        elif length is not None or scope["method"] in BODILESS:
            # The server holds a body to the length that was told.
            await self._app(scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive)
        answer = _Answer(send)
        try:
            await self._app(scope, body.receive, answer.send)
        except _TooLargeError:
            if answer.has_begun:
                raise
            await _response(scope, *_body_refused(body.length))(scope, receive, send)


class _Body:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.length = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.length += len(message.get("body", b""))
        if self.length > MAX_BODY_BYTES:
            raise _TooLargeError
        return message


class _Answer:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def send(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


def _measure(headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, int | None]:
    """Return the bytes of the headers, and the length that they tell of the body."""
    size = sum(map(len, chain.from_iterable(headers)))
    length = next((value for name, value in headers if name == b"content-length"), b"")
    return size, int(length[:MAX_DIGITS]) if length.isdigit() else None


def _refused(scope: Scope, size: int, length: int | None) -> tuple[int, str] | None:
    """Return the status and the reason of a refusal; None for a request within the bounds."""
    url = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if url > MAX_URL_BYTES:
        return URI_TOO_LONG, f"the URL has {url} bytes: give at most {MAX_URL_BYTES}, or send a POST"
    count = len(scope["headers"])
    if count > MAX_HEADERS or size > MAX_HEADER_BYTES:
        given = f"the request has {count} headers of {size} bytes"
        return HEADERS_TOO_LARGE, f"{given}: send at most {MAX_HEADERS}, of {MAX_HEADER_BYTES} bytes together"
    return _body_refused(length) if length is not None and length > MAX_BODY_BYTES else None


def _body_refused(length: int) -> tuple[int, str]:
    return CONTENT_TOO_LARGE, f"the body has {length} bytes or more: send at most {MAX_BODY_BYTES}"


def _response(scope: Scope, status: int, message: str) -> Response:
    """Answer in the route's own form, and have the connection closed: the rest of the body is not waited for."""
    return refused_at(scope["path"], message, Code.LIMIT, status, {"connection": "close"})
