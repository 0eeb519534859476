"""The bounds of a request's head and body; that the head is no flood is for graph.http_protocol to see to."""

from collections.abc import Awaitable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.answers import refused_at
from graph.errors import Code
from graph.limits import MAX_BODY_BYTES, MAX_DIGITS, MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES

REQUESTS = ("http", "websocket")
BODILESS = ("GET", "HEAD")
CONTENT_TOO_LARGE = 413
URI_TOO_LONG = 414
HEADERS_TOO_LARGE = 431


class _TooLargeError(Exception):
    """The body has grown beyond its bound."""


class RequestBounds:
    """Middleware that refuses requests beyond the bounds, those for WebSockets too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    # Not a coroutine: one more around the request would take as long as the bounds.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let a request in, its body counted while it is read, or refuse it."""
        if scope["type"] not in REQUESTS:
            return self._app(scope, receive, send)
        headers = scope["headers"]
        size = 0
        told = b""
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"content-length":
                told = value
        length = int(told[:MAX_DIGITS]) if told.isdigit() else None
        url = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if url > MAX_URL_BYTES:
            refused = URI_TOO_LONG, f"the URL has {url} bytes: give at most {MAX_URL_BYTES}, or send a POST"
        elif size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
            refused = HEADERS_TOO_LARGE, _too_large(len(headers), size)
        elif length is not None and length > MAX_BODY_BYTES:
            refused = CONTENT_TOO_LARGE, _body_too_large(length)
        # The server holds a body to the length that was told.
        elif length is not None or scope.get("method", "GET") in BODILESS:
            return self._app(scope, receive, send)
        else:
            return self._counted(scope, receive, send)
        return _response(scope, *refused)(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive)
        answer = _Answer(send)
        try:
            await self._app(scope, body.receive, answer.send)
        except _TooLargeError:
            if answer.has_begun:
                raise
            await _response(scope, CONTENT_TOO_LARGE, _body_too_large(body.length))(scope, receive, send)


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


def _too_large(count: int, size: int) -> str:
    return (
        f"the request has {count} headers of {size} bytes: send at most {MAX_HEADERS}, of {MAX_HEADER_BYTES} bytes"
        " together"
    )


def _body_too_large(length: int) -> str:
    return f"the body has {length} bytes or more: send at most {MAX_BODY_BYTES}"


def _response(scope: Scope, status: int, message: str) -> Response:
    """Answer in the route's own form, and have the connection closed: the rest of the body is not waited for."""
    return refused_at(scope["path"], message, Code.LIMIT, status, {"connection": "close"})
