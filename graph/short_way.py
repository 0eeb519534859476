"""The short way of plain GraphQL requests, whose headers ask for nothing but an answer and that come in one piece.

An answer that is in memory is found before ASGI is reached: in a few microseconds, instead of some forty on the way
through uvicorn and Starlette. What is to be computed passes by the middleware that has nothing to do for such a
request. Everything else goes the long way: a token, a deadline, an origin or a condition in the headers, budgets of
callers, traces. Either way leaves the same behind, a request's id, its line in the log and its counts.
"""

import time
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from graph.access import Caller
from graph.answering import Answers
from graph.answers import GRAPHQL_PATH
from graph.endpoint import Endpoint
from graph.logs import REQUEST_ID
from graph.replies import Headers, Reply
from graph.request_ids import NAME, RequestIds, id_of, tell_of
from graph.watch import OK, Watch

UNDERSTOOD = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-length content-type cookie dnt forwarded"
    b" host pragma priority referer sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode"
    b" sec-fetch-site sec-fetch-user sec-gpc user-agent via x-forwarded-for x-forwarded-host x-forwarded-port"
    b" x-forwarded-proto x-real-ip x-request-id".split()
)
"""Headers of a request that are heeded here, or change no answer."""

_PATH = GRAPHQL_PATH.encode()
_ASKING = _PATH + b"?"


class ShortWay:
    """The short way of an application that has neither budgets nor traces, for callers without a token."""

    def __init__(self, app: Starlette, endpoint: Endpoint, route: Route, caller: Caller) -> None:
        self._app = app
        self._endpoint = endpoint
        self._route = route
        self._caller = caller
        watch: Watch = app.state.watch
        self._metrics = watch.metrics
        self._identified = RequestIds(endpoint, watch.metrics)

    def begins(self, method: bytes, url: bytes) -> bool:
        """Tell whether a request that begins like this may go here."""
        if method == b"POST":
            is_graphql = url == _PATH
        else:
            is_graphql = method == b"GET" and url.startswith(_ASKING) and b"#" not in url
        return is_graphql and not self._app.state.is_draining

    def reply(self, method: str, headers: Headers) -> Reply | None:
        """Return what a request is to be answered by; None sends it the long way."""
        reply = Reply({"method": method, "headers": headers}, _nowhere)
        return reply if UNDERSTOOD.issuperset(reply.headers) else None

    def at_hand(
        self, reply: Reply, method: str, url: bytes, headers: Headers, body: bytes
    ) -> tuple[Headers, bytes] | None:
        """Return the headers and the body of an answer with status 200 that need not be waited for."""
        begun = time.perf_counter()
        path, _, query = url.partition(b"?")
        known = self._endpoint.recall(reply, query if reply.is_for_caches else body)
        if known is None or known.asked.tells or (key := known.scoped(self._caller)) is None:
            return None
        answers: Answers = self._app.state.answers
        if (kept := answers.at_hand(key)) is None:
            return None
        request_id = id_of(headers)
        self._metrics.count_request(GRAPHQL_PATH, method, 200)
        self._metrics.count_operation(known.name, OK, time.perf_counter() - begun)
        outside = REQUEST_ID.set(request_id.decode())
        tell_of(method, path, 200, begun)
        REQUEST_ID.reset(outside)
        sent, content = reply.form_kept(kept, key)
        return [*sent, (NAME, request_id)], content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compute an answer, as an application."""
        scope["app"], scope["route"] = self._app, self._route
        scope["state"]["caller"] = self._caller
        await self._identified(scope, receive, send)


async def _nowhere(_: Any) -> None:
    raise NotImplementedError
