"""The gate before every route: who calls, and may a browser's WebSocket come from there."""

import logging
from collections.abc import Awaitable, Callable, Collection

from starlette import status
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from graph.access import Caller, Role, forbidden
from graph.answers import GRAPHQL_PATH, STATUSES, error_answer, refused_at
from graph.errors import Code
from graph.tokens import KEYS_ABSENT_SECONDS, KeysUnavailableError, TokenError, Tokens

REALM = 'Bearer realm="chronos-atlas"'

Endpoint = Callable[[Request], Awaitable[Response]]

audit = logging.getLogger("graph.audit")


class Gate:
    """Middleware that puts the caller into the request's state; a token that does not hold is answered with 401."""

    def __init__(self, app: ASGIApp, tokens: Tokens, origins: Collection[str]) -> None:
        self._app = app
        self._tokens = tokens
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal: Response | None = None
        try:
            caller = await self._tokens.caller(_authorization(scope))
            scope.setdefault("state", {})["caller"] = caller
            # Operations have lines of their own, which tell more.
            if caller.subject is not None and scope["path"] != GRAPHQL_PATH:
                audit.info("request", extra=caller.told() | {"path": scope["path"]})
        except (TokenError, KeysUnavailableError) as error:
            refusal = _refusal(error, scope["path"])
        if scope["type"] == "websocket" and (refusal or not self._may_connect(Headers(scope=scope))):
            # Before it is accepted, this is answered with 403.
            await send({"type": "websocket.close", "code": status.WS_1008_POLICY_VIOLATION})
        else:
            await (refusal or self._app)(scope, receive, send)

    def _may_connect(self, headers: Headers) -> bool:
        """Tell whether a WebSocket is from no browser, from our own pages or from an origin of the settings."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        return origin.partition("://")[2] == headers.get("host")


def _authorization(scope: Scope) -> str | None:
    # Of several, the first, as Starlette's Headers have it; making those for every request takes longer.
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), None)


def caller_of(request: Request) -> Caller:
    """Return who sent a request."""
    caller: Caller = request.state.caller
    return caller


def restricted(role: Role, endpoint: Endpoint) -> Endpoint:
    """Make an endpoint that is for callers of a role and above."""

    async def checked(request: Request) -> Response:
        caller = caller_of(request)
        if caller.role >= role:
            return await endpoint(request)
        error = forbidden(caller, f"{request.method} {request.url.path}", role)
        if caller.subject is None:
            return error_answer(error.message, Code.UNAUTHENTICATED, 401, headers={"www-authenticate": REALM})
        challenge = f'{REALM}, error="insufficient_scope"'
        return error_answer(error.message, Code.FORBIDDEN, 403, headers={"www-authenticate": challenge})

    return checked


def _refusal(error: TokenError | KeysUnavailableError, path: str) -> Response:
    if isinstance(error, KeysUnavailableError):
        code, message = Code.UNAVAILABLE, "Tokens cannot be checked at the moment: try again shortly, or without one."
        headers = {"retry-after": str(KEYS_ABSENT_SECONDS)}
    else:
        code, message = Code.UNAUTHENTICATED, str(error)
        headers = {"www-authenticate": f'{REALM}, error="invalid_token", error_description="{message}"'}
    return refused_at(path, message, code, STATUSES[code], headers)
