"""The id that joins an answer with what the logs tell of it, and the line that every request leaves there."""

import logging
import re
import secrets
import time
from collections.abc import Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.answers import failure

HEADER = "X-Request-ID"
MAX_PATH_CHARACTERS = 200

_NAME = HEADER.lower().encode()
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")

logger = logging.getLogger(__name__)


class RequestIds:
    """Give every answer an `X-Request-ID`: the request's own when it is sane, else one made here.

    What fails below before an answer was begun is answered here, so that this answer has its id too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = _taken_over(scope["headers"]) or secrets.token_hex(16).encode()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (_NAME, chosen)]}
            await send(message)

        begun = time.perf_counter()
        bound = structlog.contextvars.bind_contextvars(request_id=chosen.decode())
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # Here the server's own answer would be without id and form; an answer half sent cannot be mended.
            if status is not None:
                raise
            await failure(error)(scope, receive, send_with_id)
        finally:
            _tell(scope, status, begun)
            structlog.contextvars.reset_contextvars(**bound)


def _taken_over(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == _NAME:
            return value if _SANE.fullmatch(value) else None
    return None


def _tell(scope: Scope, status: int | None, begun: float) -> None:
    # As sent: percent-encoded, and without the query, which may hold what nobody else should read.
    path = scope.get("raw_path") or scope["path"].encode()
    milliseconds = round((time.perf_counter() - begun) * 1000, 1)
    told = {"method": scope["method"], "path": path[:MAX_PATH_CHARACTERS].decode("latin-1")}
    logger.info("request", extra=told | {"status": status, "ms": milliseconds})
