"""The short way of plain GraphQL requests, whose headers ask for nothing but an answer and that come in one piece.

An answer that is in memory is found before ASGI is reached, and one that a single statement computes is sent when that
ends: without a task of its own, and without the forty microseconds that the way through uvicorn and Starlette takes.
What is computed otherwise passes by the middleware that has nothing to do for such a request. Everything else goes the
long way: a token, a deadline, an origin or a condition in the headers, budgets of callers, traces. Each way leaves the
same behind, a request's id, its line in the log and its counts.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import takewhile
from typing import Any, Protocol

import asyncpg
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from db.errors import OverloadedError
from db.statements import Readers
from graph.access import Caller
from graph.answering import Answers
from graph.answers import GRAPHQL_PATH, STATUSES
from graph.cache import Answer
from graph.deadlines import too_late
from graph.documents import Documents
from graph.endpoint import Endpoint, form
from graph.errors import RequestError
from graph.logs import REQUEST_ID
from graph.replies import Formed, Headers, Reply
from graph.request_ids import CLIENT_CLOSED_REQUEST, NAME, RequestIds, id_of, tell_of
from graph.turns import Turn
from graph.watch import CANCELLED, OK, Watch

UNDERSTOOD = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-length content-type cookie dnt forwarded"
    b" host pragma priority referer sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode"
    b" sec-fetch-site sec-fetch-user sec-gpc user-agent via x-forwarded-for x-forwarded-host x-forwarded-port"
    b" x-forwarded-proto x-real-ip x-request-id".split()
)
"""Headers of a request that are heeded here, or change no answer."""

LOOK_SECONDS = 0.1
"""How often it is looked whether the time of a request is up."""

_PATH = GRAPHQL_PATH.encode()
_ASKING = _PATH + b"?"


class Exchange(Protocol):
    """Where a request waits for its answer."""

    def respond(self, formed: Formed) -> None:
        """Send the answer."""

    def begin(self) -> None:
        """Have the short way compute the answer as an application."""


class ShortWay:
    """The short way of an application that has neither budgets nor traces, for callers without a token."""

    def __init__(self, app: Starlette, endpoint: Endpoint, route: Route, caller: Caller) -> None:
        self.endpoint = endpoint
        self.caller = caller
        self.answers: Answers = app.state.answers
        self.documents: Documents = app.state.documents
        self.readers: Readers = app.state.readers
        self.app = app
        self._route = route
        watch: Watch = app.state.watch
        self._metrics = watch.metrics
        self._identified = RequestIds(endpoint, watch.metrics)
        self._seconds: float = app.state.deadline_seconds
        self._computing: dict[ShortRequest, None] = {}
        self._look: asyncio.TimerHandle | None = None

    def begins(self, method: bytes, url: bytes) -> bool:
        """Tell whether a request that begins like this may go here."""
        if method == b"POST":
            is_graphql = url == _PATH
        else:
            is_graphql = method == b"GET" and url.startswith(_ASKING) and b"#" not in url
        return is_graphql and not self.app.state.is_draining

    def read(self, method: str, url: bytes, headers: Headers, body: bytes) -> "ShortRequest | None":
        """Read a request; None sends it the long way."""
        reply = Reply({"method": method, "headers": headers}, _nowhere)
        return ShortRequest(self, reply, method, url, body) if UNDERSTOOD.issuperset(reply.headers) else None

    def tell(self, request: "ShortRequest", status: int, outcome: str) -> None:
        """Count and log what became of a request."""
        if status != CLIENT_CLOSED_REQUEST:
            self._metrics.count_request(GRAPHQL_PATH, request.method, status)
        self._metrics.count_operation(request.name, outcome, time.perf_counter() - request.begun)
        tell_of(request.id, request.method, request.path, status, request.begun)

    def watch(self, request: "ShortRequest") -> None:
        """Have a request end when its time is up: one timer looks after all of them, who are in the order they came."""
        self._computing[request] = None
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._end_what_is_late)

    def unwatch(self, request: "ShortRequest") -> None:
        """Leave a request alone that has ended."""
        self._computing.pop(request, None)

    def _end_what_is_late(self) -> None:
        due = time.perf_counter() - self._seconds
        for request in takewhile(lambda one: one.begun <= due, list(self._computing)):
            request.end(too_late(self._seconds))
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(LOOK_SECONDS, self._end_what_is_late) if self._computing else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compute an answer, as an application."""
        scope["app"], scope["route"] = self.app, self._route
        scope["state"]["caller"] = self.caller
        await self._identified(scope, receive, send)


class ShortRequest:
    """A request on the short way."""

    __slots__ = (
        "_exchange",
        "_flight",
        "_job",
        "_key",
        "_known",
        "_prepared",
        "_reply",
        "_way",
        "begun",
        "id",
        "method",
        "path",
    )

    def __init__(self, way: ShortWay, reply: Reply, method: str, url: bytes, body: bytes) -> None:
        self.begun = time.perf_counter()
        self.method = method
        self.id = id_of(reply.headers.get(NAME))
        reply.more = [(NAME, self.id)]
        self.path, _, query = url.partition(b"?")
        self._way = way
        self._reply = reply
        self._exchange: Exchange | None = None
        text = query if reply.is_for_caches else body
        try:
            self._known = way.endpoint.read_at_once(way.documents, reply, text)
        except HTTPException:
            self._known = None
        known = self._known
        self._key = None if known is None or known.asked.tells else known.scoped(way.caller)

    @property
    def name(self) -> str | None:
        """The operation's name."""
        return None if self._known is None else self._known.name

    def at_hand(self) -> Formed | None:
        """Return the answer if it is in memory."""
        if self._key is None or (kept := self._way.answers.at_hand(self._key)) is None:
            return None
        formed = self._reply.form_kept(kept, self._key)
        self._way.tell(self, formed.status, OK)
        return formed

    def compute(self, exchange: Exchange) -> bool:
        """Have the answer computed by a statement, if there is one for it."""
        known, way = self._known, self._way
        if known is None or self._key is None or not known.query or known.is_to_be_remembered:
            return False
        asked = known.asked
        schema = way.endpoint.schema
        prepared = schema.statement(way.caller, known.query, asked.variables, asked.operation_name)
        if prepared is None or (flight := way.answers.lead(self._key)) is None:
            return False
        self._exchange, self._prepared, self._flight = exchange, prepared, flight
        try:
            self._job = way.readers.submit(prepared.sql, prepared.arguments, self._done)
        except OverloadedError:
            way.answers.abandon(flight, self._make)
            return False
        way.watch(self)
        return True

    def leave(self) -> None:
        """End what is computed for a client that has left, unless others wait for it too."""
        self._stop()
        self._way.tell(self, CLIENT_CLOSED_REQUEST, CANCELLED)

    def end(self, error: RequestError) -> None:
        """Answer now, with the last answer or the error, and go on computing only for others."""
        exchange, known, key = self._exchange, self._known, self._key
        assert exchange is not None
        assert known is not None
        assert key is not None
        self._stop()
        if (outdated := self._way.answers.outdated(key)) is not None:
            formed, outcome = form(self._reply, known, key, outdated, None), outdated.outcome
        else:
            with self._told():
                formed, outcome = self._reply.form_refusal(error.message, error.code, STATUSES[error.code]), error.code
        self._way.tell(self, formed.status, outcome)
        exchange.respond(formed)

    def _stop(self) -> None:
        self._exchange = None
        self._way.unwatch(self)
        self._way.answers.leave(self._flight, self._job)

    def _done(self, row: "asyncpg.Record | None", error: Exception | None) -> None:
        answers, exchange = self._way.answers, self._exchange
        with nullcontext() if error is None else self._told():
            answer = self._way.endpoint.schema.answer_from(self._prepared, row, error)
        if answer is None:
            # The executor tells what is wrong.
            answers.abandon(self._flight, self._make)
            self._way.unwatch(self)
            if exchange is not None:
                exchange.begin()
            return
        found = answers.land(self._flight, answer)
        self._way.unwatch(self)
        if exchange is not None:
            assert self._known is not None
            formed = form(self._reply, self._known, self._key, found, None)
            self._way.tell(self, formed.status, found.outcome)
            exchange.respond(formed)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Have errors, and what is logged of them, tell the request's id."""
        outside = REQUEST_ID.set(self.id.decode())
        yield
        REQUEST_ID.reset(outside)

    async def _make(self) -> Answer:
        known = self._known
        assert known is not None
        assert known.query is not None
        endpoint = self._way.endpoint
        return await endpoint.make(self._way.app.state, self._way.caller, known, known.query, Turn(endpoint.turns))


async def _nowhere(_: Any) -> None:
    raise NotImplementedError
